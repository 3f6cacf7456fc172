// Every pair of products of a packed multiplier, compared with the processor's own.
#include <cstdio>
#include <cstdlib>

#include "Vtop.h"

static int value(unsigned port, int bits)
{
    return (int)(port << (32 - bits)) >> (32 - bits);
}

int main(int, char **arguments)  // latency, bits of a weight
{
    const int latency = atoi(arguments[1]), bits = atoi(arguments[2]);
    const int least = bits == 9 ? -255 : -(1 << (bits - 1)), most = (1 << (bits - 1)) - 1;
    const int product_bits = bits < 8 ? bits + 8 : 16, mask = (1 << bits) - 1;
    Vtop *pair = new Vtop;
    int low[16] = {}, high[16] = {};
    long cycle = 0, compared = 0;
    for (int w1 = least; w1 <= most; w1++)
        for (int w0 = least; w0 <= most; w0++)
            for (int a = -128; a < 128; a++, cycle++) {
                pair->a = a & 0xFF;
                pair->low = w0 & mask;
                pair->high = w1 & mask;
                low[cycle % 16] = a * w0;
                high[cycle % 16] = a * w1;
                pair->clk = 0;
                pair->eval();
                pair->clk = 1;
                pair->eval();
                // What is there after this cycle's edge is of the factors latency - 1 cycles before.
                int of_low = low[(cycle + 17 - latency) % 16], of_high = high[(cycle + 16 - latency) % 16];
                if (cycle > latency && (value(pair->low_product, product_bits) != of_low
                                        || value(pair->high_product, product_bits) != of_high)) {
                    printf("before a = %d, low = %d, high = %d: %d and %d, not %d and %d\n", a, w0, w1,
                           value(pair->low_product, product_bits), value(pair->high_product, product_bits), of_low,
                           of_high);
                    return 1;
                }
                compared += cycle > latency;
            }
    printf("%ld\n", compared);
    return 0;
}
