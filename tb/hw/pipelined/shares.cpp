// Rows of exponentials through the units of onnxruntime's softmax, compared with the processor's own float32: sums one
// after the other, and quotients in double, which no result can tell from the exact ones.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "Vtop.h"
#include "draw.h"

struct Row {
    std::vector<float> values;
    float total;
    int steps;
};

// Exponentials of any scale, as tables have them; or any numbers, few different ones, mantissas next to their limits.
static float drawn(int kind, double scale, double largest)
{
    if (kind < 2) return (float)exp(largest - scale * (kind ? draw() % 256 : draw() % 16));
    if (kind == 2) return number(draw() % 0x70000000);
    uint32_t mantissa = draw() % 3 ? (uint32_t)(draw() % 5 - 2) & 0x7FFFFF : (uint32_t)draw() & 0x7FFFFF;
    return number((uint32_t)(100 + draw() % (kind == 3 ? 4 : 40)) << 23 | mantissa);
}

static Row drawn_row(int longest, int steps)
{
    Row row;
    size_t length = 1 + draw() % (draw() % 8 ? 12 : longest);
    int kind = draw() % 5, order = draw() % 4;
    double scale = pow(10, (double)(draw() % 800) / 100 - 4), largest = 60 + draw() % 20;
    for (size_t place = 0; place < length; place++)
        row.values.push_back(kind < 2 && !place ? (float)exp(largest) : drawn(kind, scale, largest));
    if (kind == 2) row.values[draw() % length] = number(0x3F800000 + draw() % 0x20000000);
    if (order == 1) std::sort(row.values.begin(), row.values.end());
    if (order == 2) std::sort(row.values.rbegin(), row.values.rend());
    row.total = 0;
    for (float value : row.values) row.total = row.total + value;
    row.steps = steps;
    return row;
}

static Vtop *top;
static int lanes, zero_point;
static long cycle, stays;
static std::vector<std::pair<long, std::vector<int>>> wanted;

static void put(int place, int width, uint32_t value)
{
    for (int bit = 0; bit < width; bit++, place++) {
        uint32_t mask = 1u << place % 32;
        top->i[place / 32] = (top->i[place / 32] & ~mask) | (value >> bit & 1) << place % 32;
    }
}

static void step(int latency)
{
    top->clk = 0;
    top->eval();
    top->clk = 1;
    top->eval();
    cycle++;
    for (int part = 0; part < 4; part++) put(part, 1, 0);
    // A result is there at its time, and stays.
    while (!wanted.empty() && cycle >= wanted.front().first + latency) {
        for (size_t lane = 0; lane < wanted.front().second.size(); lane++) {
            int found = (int8_t)(top->o >> 8 * lane);
            if (found != wanted.front().second[lane]) {
                printf("lane %zu: %d, not %d\n", lane, found, wanted.front().second[lane]);
                exit(1);
            }
        }
        if (cycle < wanted.front().first + latency + stays - 1) break;
        wanted.erase(wanted.begin());
    }
}

static void send(const Row &row, bool sums, int add, int divide, int latency)
{
    for (size_t first = 0; first < row.values.size(); first += lanes) {
        size_t count = std::min(row.values.size() - first, (size_t)lanes);
        std::vector<int> codes;
        for (int lane = 0; lane < lanes; lane++) {
            uint32_t bits = (size_t)lane < count ? bits_of(row.values[first + lane]) : (uint32_t)draw();
            uint32_t mantissa = (bits & 0x7FFFFF) | (bits >> 23 & 0xFF ? 0x800000 : 0);
            put(4 + lanes + 32 * lane, 32, bits);
            put(4 + lanes + 32 * (lanes + lane), 32, mantissa * row.steps);
            if ((size_t)lane < count) {
                double share = rint((double)row.values[first + lane] * row.steps / row.total) + zero_point;
                codes.push_back((int)std::min(share, 127.));
            }
        }
        put(0, 1, !sums);
        put(1, 1, sums);
        put(2, 1, sums && first + lanes >= row.values.size());
        put(3, 1, !sums && !first);
        put(4, lanes, (1u << count) - 1);
        if (!sums) wanted.push_back({cycle, codes});
        int pace = (sums ? add * lanes : divide) + (draw() % 3 ? 0 : draw() % 9);
        for (int wait = 0; wait < pace; wait++) step(latency);
    }
}

// Lanes, cycles of an addition and of a division, latency of a share, that of a total; how many rows, longest one, seed.
int main(int, char **arguments)
{
    lanes = atoi(arguments[1]);
    int add = atoi(arguments[2]), divide = atoi(arguments[3]), latency = atoi(arguments[4]);
    int patience = atoi(arguments[5]);
    stays = divide;
    const long rows = atol(arguments[6]);
    const int longest = atoi(arguments[7]);
    seed(arguments[8]);
    top = new Vtop;
    top->rst = 0;
    top->on = 1;
    const int all_steps[] = {1, 127, 255, 256, 0, 81};
    Row before;
    for (long number = 0; number < rows; number++) {
        if (number % 64 == 0) {
            for (int wait = 0; wait < 40; wait++) step(latency);
            zero_point = number % 128 ? (int)(draw() % 256) - 128 : -128;
            top->zero_point = zero_point & 0xFF;
            for (int wait = 0; wait < 8; wait++) step(latency);
        }
        Row row = drawn_row(longest, draw() % 2 ? all_steps[draw() % 6] : draw() % 257);
        send(row, true, add, divide, latency);
        for (int wait = 0; !top->total; wait++) {
            if (wait > patience) {
                printf("row %ld: no total\n", number);
                return 1;
            }
            step(latency);
        }
        if (number) send(before, false, add, divide, latency);
        before = row;
    }
    return 0;
}
