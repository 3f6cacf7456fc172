// Sums next to ties through a requantizing lane, compared with the processor's own arithmetic: float32 for ONNX's
// rounding, 64-bit integers as in gemmlowp for TensorFlow Lite's two.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "Vtop.h"
#include "draw.h"

// A significand of so many bits: a power of two, a product of small numbers, or any.
static uint32_t significand(int bits)
{
    uint64_t kind = draw() % 3;
    uint32_t value = kind == 0 ? 1 : kind == 1 ? (1 + draw() % 255) * (1 + draw() % 255) : draw() >> (64 - bits);
    value += !value;
    while (!(value >> (bits - 1))) value <<= 1;
    return value;
}

static double limited(double value, double low, double high)
{
    return value < low ? low : value > high ? high : value;
}

static int32_t drawn_sum(double scale)
{
    uint64_t kind = draw() % 8;
    if (kind == 0) return (int32_t)draw() >> draw() % 32;
    double tie = (int)(draw() % 516) - 258 + 0.5, near = kind == 1 ? draw() % 513 - 256.0 : draw() % 5 - 2.0;
    return (int32_t)limited(rint(tie / scale) + near, -2147483648., 2147483647.);
}

enum { DOUBLE, SINGLE, FLOAT32, ROUNDINGS };

// sum · factor · 2^(shift − 31), rounded.
static double rounded(int32_t sum, uint32_t factor, int shift, int rounding)
{
    if (rounding == FLOAT32) return rint((double)((float)sum * ldexpf((float)factor, shift - 31)));
    int64_t product = (int64_t)sum * factor;
    if (rounding == SINGLE || shift >= 0) return (double)((product + (1LL << (30 - shift))) >> (31 - shift));
    int64_t high = (product + (product >= 0 ? 1LL << 30 : 1 - (1LL << 30))) / (1LL << 31);
    int64_t mask = (1LL << -shift) - 1;
    return (double)((high >> -shift) + ((high & mask) > (mask >> 1) + (high < 0)));
}

int main(int, char **arguments)  // latency, how many values, seed
{
    const int latency = atoi(arguments[1]), scales = 512;
    const long count = atol(arguments[2]);
    seed(arguments[3]);
    Vtop *lane = new Vtop;
    uint32_t factor = 0;
    int shift = 0, zero_point = 0, rounding = 0;
    int32_t sums[64] = {};
    double expected[64] = {};
    for (long cycle = 0; cycle < count; cycle++) {
        // Settings change while nothing that counts is in the lane.
        long place = cycle % 65536;
        if (place == 0) {
            rounding = cycle / 65536 % ROUNDINGS;
            zero_point = (int)(draw() % 256) - 128;
            lane->settings = (zero_point & 0xFF) | 0x80 << 8 | 0x7F << 16 | rounding << 24;
        }
        if (cycle % scales == 0) {
            factor = rounding == FLOAT32 ? significand(24) << 7 : significand(31);
            shift = (int)(draw() % 40) - 31;
            lane->channel[1] = factor;
            lane->channel[2] = shift & 0xFF;
        }
        int32_t sum = drawn_sum(ldexp((double)factor, shift - 31));
        uint32_t bias = draw();
        lane->channel[0] = bias;
        lane->i = (uint32_t)sum - bias;
        sums[cycle % 64] = sum;
        expected[cycle % 64] = limited(rounded(sum, factor, shift, rounding) + zero_point, -128, 127);
        lane->clk = 0;
        lane->eval();
        lane->clk = 1;
        lane->eval();
        if (place >= latency && (int8_t)lane->o != expected[(cycle - latency + 1) % 64]) {
            printf("sum %d, factor %u, shift %d or those before, rounding %d: %d, not %g\n",
                   sums[(cycle - latency + 1) % 64], factor, shift, rounding, (int8_t)lane->o,
                   expected[(cycle - latency + 1) % 64]);
            return 1;
        }
    }
    return 0;
}
