// As zlib.h beside it.
#pragma once
#if __has_include_next(<lz4.h>)
#include_next <lz4.h>
#else
extern "C" {
int LZ4_compressBound(int input_size);
int LZ4_compress_default(const char *source, char *dest, int source_size, int dest_capacity);
}
#endif
