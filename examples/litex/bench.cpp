// The SoC in Verilator: a bus master in place of a CPU, which main.c drives.

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "Vsoc.h"
#include "verilated.h"

extern "C" {
#include "port.h"
int classify(port_bus *bus);
}

namespace {

struct Bench {
    VerilatedContext context;
    Vsoc top{&context};
    uint64_t cycles = 0;

    void tick() {
        top.clk = 1;
        top.eval();
        top.clk = 0;
        top.eval();
        ++cycles;
    }

    // A Wishbone access of a word.
    uint32_t access(uint32_t address, bool write, uint32_t value) {
        top.host_adr = address >> 2;
        top.host_dat_w = value;
        top.host_sel = 0xF;
        top.host_we = write;
        top.host_cyc = top.host_stb = 1;
        top.eval();
        while (!top.host_ack && !top.host_err) tick();
        if (top.host_err) {
            std::fprintf(stderr, "bus error at 0x%08x\n", static_cast<unsigned>(address));
            std::exit(1);
        }
        const uint32_t result = top.host_dat_r;
        tick();
        top.host_cyc = top.host_stb = 0;
        tick();
        return result;
    }
};

void write_word(void *context, uint32_t address, uint32_t value) {
    static_cast<Bench *>(context)->access(address, true, value);
}

uint32_t read_word(void *context, uint32_t address) { return static_cast<Bench *>(context)->access(address, false, 0); }

}  // namespace

int main() {
    Bench bench;
    bench.top.rst = 1;
    for (int i = 0; i < 8; ++i) bench.tick();
    bench.top.rst = 0;
    port_bus bus = {&bench, write_word, read_word};
    const int status = classify(&bus);
    std::printf("%llu cycles, with the model's way into the accelerator.\n", static_cast<unsigned long long>(bench.cycles));
    return status;
}
