// Rows of codes through the unit that normalizes them, compared with the processor's own float32 in onnxruntime's order.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "Vtop.h"
#include "draw.h"

// A stream's signal, as Verilator names it.
#define OF(stream, part) stream##___05F##part

// Integers in the order of numbers, and back.
static int32_t ordered(float value)
{
    int32_t bits = (int32_t)bits_of(value);
    return bits < 0 ? bits ^ 0x7FFFFFFF : bits;
}

static float from_ordered(int32_t order)
{
    return number((uint32_t)(order < 0 ? order ^ 0x7FFFFFFF : order));
}

static double uniform(double low, double high)
{
    return low + (high - low) * (double)(draw() >> 11) / 9007199254740992.0;
}

static float power(double low, double high)
{
    return (float)exp2(uniform(low, high));
}

struct Layer {
    int length, width, zero_point, out_zero;
    bool centred, biased;
    float scale, epsilon, out_scale;
    std::vector<float> scales, biases;
};

static int code_of(const Layer &layer, float value)
{
    float steps = rintf(value / layer.out_scale) + (float)layer.out_zero;
    return (int)std::min(std::max(steps, -128.f), 127.f);
}

static std::vector<int> normalized(const Layer &layer, const std::vector<int> &codes)
{
    const int n = layer.length;
    std::vector<float> x(n);
    double total = 0;
    for (int i = 0; i < n; i++) total += x[i] = (float)(codes[i] - layer.zero_point) * layer.scale;
    float mean = layer.centred ? (float)(total / n) : 0, sums[8] = {};
    for (int i = 0; i < n; i++) {
        x[i] = x[i] - mean;
        sums[i % 8] = fmaf(x[i], x[i], sums[i % 8]);
    }
    for (int half = 4; half; half /= 2)
        for (int i = 0; i < half; i++) sums[i] = sums[i] + sums[i + half];
    float deviation = sqrtf(sums[0] / (float)n + layer.epsilon), inverse = 1 / deviation;
    std::vector<int> results(n);
    for (int i = 0; i < n; i++) results[i] = code_of(layer, fmaf(x[i] * inverse, layer.scales[i], layer.biases[i]));
    return results;
}

static Layer drawn_layer(int longest, int most, bool wild)
{
    Layer layer;
    layer.length = 8 * (int)(1 + draw() % (draw() % 4 ? std::min(longest / 8, 12) : longest / 8));
    for (layer.width = most; layer.length % layer.width; layer.width--) {}
    layer.zero_point = draw() % 4 ? (int)(draw() % 256) - 128 : draw() % 2 ? -128 : 127;
    layer.out_zero = draw() % 4 ? (int)(draw() % 256) - 128 : 0;
    layer.centred = draw() % 3;
    layer.scale = wild ? power(-20, 20) : power(-9, -2);
    layer.epsilon = wild ? power(-60, 40) : power(-20, -10);
    layer.out_scale = wild && draw() % 2 ? power(-20, 20) : power(-8, -3);
    layer.biased = draw() % 2;
    bool ones = draw() % 4 == 0;
    for (int i = 0; i < layer.length; i++) {
        float sign = draw() % 2 ? 1.f : -1.f;
        layer.scales.push_back(ones ? 1 : draw() % 50 == 0 ? 0 : sign * (wild ? power(-20, 20) : power(-4, 1)));
        layer.biases.push_back(!layer.biased || draw() % 50 == 0 ? 0 : sign * (wild ? power(-20, 20) : power(-5, 0)));
    }
    return layer;
}

static std::vector<int> drawn_row(const Layer &layer)
{
    std::vector<int> codes(layer.length);
    int spread = 1 << draw() % 9, middle = (int)(draw() % 256) - 128, kind = draw() % 12;
    for (int &code : codes) {
        int value = kind == 0 ? layer.zero_point : kind == 1 ? middle : middle + (int)(draw() % (2 * spread)) - spread;
        if (kind == 2) value = draw() % 40 ? layer.zero_point : value;
        code = std::min(std::max(value, -128), 127);
    }
    return codes;
}

static Vtop *top;
static long cycle;

static void step()
{
    top->clk = 0;
    top->eval();
    top->clk = 1;
    top->eval();
    cycle++;
}

// A byte of a word or line of any width.
template <typename T> static void set_byte(T &words, int place, int value)
{
    unsigned char *bytes = reinterpret_cast<unsigned char *>(&words);
    bytes[place] = (unsigned char)value;
}

template <typename T> static int get_byte(T &words, int place)
{
    return reinterpret_cast<signed char *>(&words)[place];
}

static void fail(const char *what, long a = 0, long b = 0)
{
    printf("cycle %ld: %s %ld, not %ld\n", cycle, what, a, b);
    exit(1);
}

static void send_word(const unsigned char *bytes, int count)
{
    for (int place = 0; place < count; place++) set_byte(top->OF(words, payload), place, bytes[place]);
    top->OF(words, valid) = 1;
    top->eval();
    if (!top->OF(words, ready) || top->OF(passed, valid)) fail("a record is passed");
    step();
    top->OF(words, valid) = 0;
    while (draw() % 8 == 0) step();
}

static void send_record(uint32_t first, uint32_t second, int cols)
{
    unsigned char bytes[8];
    memcpy(bytes, &first, 4);
    memcpy(bytes + 4, &second, 4);
    for (int part = 0; part < (cols >= 8 ? 1 : 2); part++) send_word(bytes + 4 * part, cols >= 8 ? 8 : 4);
}

static void send_layer(const Layer &layer, int cols)
{
    float nearly = 0.5f - 1.f / 256;
    send_record(bits_of(layer.scale), bits_of(layer.epsilon), cols);
    send_record(bits_of((float)layer.length), bits_of(1 / layer.out_scale), cols);
    send_record(bits_of(256 + (float)layer.out_zero + nearly),
        (uint32_t)(layer.zero_point & 0xFF) | (uint32_t)layer.width << 8 | (uint32_t)layer.length << 16, cols);
    send_record(layer.centred, 0, cols);
    int32_t limits[256] = {};
    for (int index = 0; index < 255; index++) {
        int64_t low = ordered(-3e38f), high = ordered(3e38f);
        while (low < high) {
            int64_t middle = (low + high) >> 1;
            if (code_of(layer, from_ordered((int32_t)middle)) >= index - 127) high = middle;
            else low = middle + 1;
        }
        limits[index] = (int32_t)low;
    }
    for (int index = 0; index < 256; index += 2) send_record((uint32_t)limits[index], (uint32_t)limits[index + 1], cols);
    for (int index = 0; index < layer.length; index++)
        send_record(bits_of(layer.scales[index]), bits_of(layer.biases[index]), cols);
}

// Columns, bytes of a line that are used, longest row, cycles of a row as a base, whether it is exact, layers, seed.
int main(int, char **arguments)
{
    const int cols = atoi(arguments[1]), most = atoi(arguments[2]), longest = atoi(arguments[3]);
    const long base = atol(arguments[4]), layers = atol(arguments[5]);
    seed(arguments[6]);
    top = new Vtop;
    top->rst = 0;
    for (long number = 0; number < layers; number++) {
        Layer layer = drawn_layer(longest, most, number % 3 == 2);
        const bool pauses = number % 4 == 3;
        top->on = 0;
        top->go = 0;
        step();
        top->on = 1;
        send_layer(layer, cols);
        top->OF(words, valid) = 1;
        top->OF(passed, ready) = 1;
        top->eval();
        if (!top->OF(passed, valid) || !top->OF(words, ready)) fail("a word of a table is not passed");
        step();
        top->OF(words, valid) = 0;
        top->go = 1;
        std::vector<int> given, wanted;
        const int rows = 1 + draw() % 4;
        for (int row = 0; row < rows; row++) {
            std::vector<int> codes = drawn_row(layer), results = normalized(layer, codes);
            given.insert(given.end(), codes.begin(), codes.end());
            wanted.insert(wanted.end(), results.begin(), results.end());
        }
        const int lines = (int)given.size() / layer.width, each = layer.length / layer.width;
        int sent = 0, got = 0;
        long before = 0, patience = cycle + rows * (10l * longest + 1000) * (pauses ? 2 : 1);
        while (got < 2 * lines) {
            top->OF(i, valid) = sent < 2 * lines && !(pauses && draw() % 2);
            for (int byte = 0; byte < layer.width && sent < 2 * lines; byte++)
                set_byte(top->OF(i, payload), byte, given[sent / 2 * layer.width + byte]);
            top->OF(o, ready) = !pauses || draw() % 4;
            top->eval();
            if (top->OF(o, valid) && top->OF(o, ready)) {
                for (int byte = 0; byte < layer.width; byte++) {
                    int found = get_byte(top->OF(o, payload), byte), right = wanted[got / 2 * layer.width + byte];
                    if (found != right) fail("a result is", found, right);
                }
                got++;
            }
            if (top->OF(i, valid) && top->OF(i, ready)) {
                if (sent % (2 * each) == 0) {
                    long took = cycle - before, right = 6l * layer.length + base;
                    if (sent && !pauses && took != right) fail("cycles of a row are", took, right);
                    before = cycle;
                }
                sent++;
            }
            step();
            if (cycle > patience) fail("results are", got, 2 * lines);
        }
        for (int wait = 0; wait < 20; wait++) {
            top->OF(i, valid) = 0;
            top->eval();
            if (top->OF(o, valid)) fail("there are more lines");
            step();
        }
    }
    return 0;
}
