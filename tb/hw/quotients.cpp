// Quotients and roots of float32, and quotients of long dividends, compared with the processor's own.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "Vtop.h"
#include "draw.h"

static uint64_t mantissa(int bits)
{
    const uint64_t ones = (1ull << (bits - 1)) - 1;
    uint64_t value = draw() & ones;
    switch (draw() % 5) {
    case 0: value = (draw() % 9 - 4) & ones; break;
    case 1: value = (1ull << draw() % (bits - 1)) & ones; break;
    case 2: value &= ~0ull << draw() % (bits - 1); break;
    }
    return value | 1ull << (bits - 1);
}

// Bits of the dividend, cycles, how many, seed.
int main(int, char **arguments)
{
    const int bits = atoi(arguments[1]), cycles = atoi(arguments[2]);
    const long count = atol(arguments[3]);
    seed(arguments[4]);
    Vtop *top = new Vtop;
    top->rst = 0;
    for (long index = 0; index < count; index++) {
        bool root = draw() % 2, whole = draw() % 3 == 0;
        int exponent = 90 + draw() % 80;
        uint32_t divisor = (uint32_t)(90 + draw() % 80) << 23 | ((uint32_t)mantissa(24) & 0x7FFFFF);
        // Counts of values.
        if (draw() % 3 == 0) divisor = bits_of((float)(1 + draw() % 65535));
        uint64_t dividend = root || !whole ? mantissa(24) << (bits - 24) : mantissa(bits);
        if (draw() % 50 == 0) dividend = 0;
        float wanted;
        if (root) {
            wanted = sqrtf(ldexpf((float)(dividend >> (bits - 24)), exponent - 150));
        } else {
            // A quotient that is on no tie is further from one than long double rounds: the divisor has 24 bits.
            wanted = (float)(ldexpl((long double)dividend, exponent - 126 - bits) / (long double)number(divisor));
        }
        top->root = root;
        top->mantissa = dividend;
        top->exponent = exponent;
        top->divisor = divisor;
        for (int cycle = 0; cycle < cycles; cycle++) {
            top->start = cycle == 0;
            top->clk = 0;
            top->eval();
            top->clk = 1;
            top->eval();
        }
        if (top->o != bits_of(wanted)) {
            printf("%ld: %08x, not %08x\n", index, top->o, bits_of(wanted));
            return 1;
        }
    }
    return 0;
}
