// Fused multiplications and additions of float32, one a cycle, compared with the processor's own.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>

#include "Vtop.h"
#include "draw.h"

// Mantissas of few ones, next to their limits, or any; zero now and then.
static uint32_t drawn(int exponent)
{
    uint32_t mantissa = (uint32_t)draw() & 0x7FFFFF;
    switch (draw() % 6) {
    case 0: mantissa = (uint32_t)(draw() % 9 - 4) & 0x7FFFFF; break;
    case 1: mantissa = (1u << draw() % 23 | 1u << draw() % 23) & 0x7FFFFF; break;
    case 2: mantissa &= ~0u << draw() % 23; break;
    }
    if (draw() % 40 == 0) return draw() % 2 ? 0 : 0x80000000;
    return (uint32_t)exponent << 23 | mantissa | (draw() % 2 ? 0x80000000 : 0);
}

// A number in the unit's layout: mantissa, exponent, sign.
static uint64_t parts(uint32_t bits)
{
    uint32_t exponent = bits >> 23 & 0xFF;
    return (bits & 0x7FFFFF) | (exponent ? 0x800000 : 0) | (uint64_t)exponent << 24 | (uint64_t)(bits >> 31) << 32;
}

// Latency, how many, seed.
int main(int, char **arguments)
{
    const size_t latency = atoi(arguments[1]);
    const long count = atol(arguments[2]);
    seed(arguments[3]);
    Vtop *top = new Vtop;
    top->rst = 0;
    std::deque<uint32_t> wanted;
    for (long index = 0; index < count + (long)latency; index++) {
        int ea = 80 + draw() % 90, eb = 80 + draw() % 90, ec = ea + eb - 127 + (int)(draw() % 110) - 55;
        uint32_t a = drawn(ea), b = drawn(eb), c = drawn(ec < 30 ? 30 : ec > 220 ? 220 : ec);
        // A product next to the addend cancels most of it, or is on a tie.
        if (draw() % 3 == 0) c = bits_of(-number(a) * number(b)) + (uint32_t)(draw() % 7) - 3;
        if ((c >> 23 & 0xFF) == 0 || (c >> 23 & 0xFF) > 250) c = 0;
        float result = fmaf(number(a), number(b), number(c));
        // Less than normal numbers are zero.
        wanted.push_back(std::fpclassify(result) == FP_NORMAL ? bits_of(result) : 0);
        top->a = parts(a);
        top->b = parts(b);
        top->c = parts(c);
        top->clk = 0;
        top->eval();
        top->clk = 1;
        top->eval();
        if (wanted.size() < latency) continue;
        if (top->o != wanted.front()) {
            printf("%ld: %08x, not %08x\n", index - (long)latency, top->o, wanted.front());
            return 1;
        }
        wanted.pop_front();
    }
    return 0;
}
