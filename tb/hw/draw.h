// Random numbers of the benches in C++.
#pragma once

#include <cstdint>

static uint64_t state[2] = {0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9};

static uint64_t draw()  // xorshift128+
{
    uint64_t a = state[0], b = state[1];
    state[0] = b;
    a ^= a << 23;
    state[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
    return state[1] + b;
}
