// Verilator's waveform writer includes zlib. Every Debian has the library, few have its header: these are the parts of its
// stable interface that the writer uses.
#pragma once
#if __has_include_next(<zlib.h>)
#include_next <zlib.h>
#else
extern "C" {
typedef unsigned char Bytef;
typedef unsigned long uLong;
typedef unsigned long uLongf;
int compress2(Bytef *dest, uLongf *dest_len, const Bytef *source, uLong source_len, int level);
uLong compressBound(uLong source_len);
}
#define Z_OK 0
#endif
