// Random numbers of the benches in C++, and float32 as bits.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

static uint64_t state[2] = {0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9};

static uint64_t draw()  // xorshift128+
{
    uint64_t a = state[0], b = state[1];
    state[0] = b;
    a ^= a << 23;
    state[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
    return state[1] + b;
}

static void seed(const char *text)
{
    state[0] ^= strtoull(text, nullptr, 10) * 0xD1342543DE82EF95;
    for (int warm = 0; warm < 20; warm++) draw();
}

static inline float number(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static inline uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}
