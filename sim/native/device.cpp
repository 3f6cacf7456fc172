// A Verilated accelerator as a library: bytes in, bytes out, the loop over cycles on this side.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "Vsateen.h"
#include "verilated.h"
#ifdef SATEEN_SDRAM
#include "sdram.h"
#endif
#if VM_TRACE
#include <csetjmp>
#include <csignal>

#include "verilated_fst_c.h"
#endif

// Verilator spells a double underscore of a port ___05F.

namespace {

constexpr uint8_t FLAG = SATEEN_FLAG;

#if VM_TRACE
// The writer of waveforms aborts the process when it cannot write. While it works, an abort ends its work alone.
thread_local sigjmp_buf *escape = nullptr;

void leave(int) {
    if (escape) siglongjmp(*escape, 1);
    std::signal(SIGABRT, SIG_DFL);
    std::raise(SIGABRT);
}

// Whether the work was done. Afterwards, what did not finish it must not be touched.
template <typename Work>
bool survives(Work work) {
    sigjmp_buf here;
    bool done = false;
    if (sigsetjmp(here, 0) == 0) {
        escape = &here;
        work();
        done = true;
    } else {
        sigset_t aborts;
        sigemptyset(&aborts);
        sigaddset(&aborts, SIGABRT);
        pthread_sigmask(SIG_UNBLOCK, &aborts, nullptr);
    }
    escape = nullptr;
    return done;
}
#endif

struct Device {
    VerilatedContext context;
    Vsateen top{&context};
    uint64_t cycles = 0;
#if VM_TRACE
    VerilatedFstC trace;
    uint64_t time = 0;
    bool written = true;  // All of the waveform, so far.
#endif

    void half(bool clock) {
        top.clk = clock;
        top.eval();
#if VM_TRACE
        if (written && trace.isOpen()) written = survives([this] { trace.dump(time++); });
#endif
    }

#ifdef SATEEN_SDRAM
    // A refresh is late by one at most.
    sdram::Sdram memory{sdram::Chip SATEEN_SDRAM, 1};
    sdram::Pins sent;  // What the registers of the I/O cells hold.

    sdram::Pins pins() const {
        const int command = top.sdram___05Fras << 2 | top.sdram___05Fcas << 1 | top.sdram___05Fwe;
        return {command, top.sdram___05Fba, top.sdram___05Fa, top.sdram___05Fdq_o, top.sdram___05Fdqm, bool(top.sdram___05Fdq_oe)};
    }
#endif

    // One rising edge; what was driven before is what the registers see.
    void tick() {
#ifdef SATEEN_SDRAM
        const uint32_t word = memory.word;
        memory.step(sent);
        sent = pins();
#endif
        half(true);
#ifdef SATEEN_SDRAM
        top.sdram___05Fdq_i = word;
#endif
        half(false);
        ++cycles;
    }

    // What went wrong outside; null if nothing has.
    const char *fault() const {
#ifdef SATEEN_SDRAM
        if (!memory.fault.empty()) return memory.fault.c_str();
#endif
        return nullptr;
    }
};

}  // namespace

extern "C" {

// `trace` is a file's name, or null.
void *sateen_open(const char *trace) {
    auto device = std::make_unique<Device>();
#if VM_TRACE
    if (trace) {
        device->context.traceEverOn(true);
        device->top.trace(&device->trace, 99);
        // A handler outlives the device: others may be traced.
        std::signal(SIGABRT, leave);
        device->written = survives([&] { device->trace.open(trace); });
    }
#endif
    device->top.rx___05Fvalid = 0;
    device->top.tx___05Fready = 1;
    device->top.rst = 1;
    device->half(false);
    for (int cycle = 0; cycle < 4; ++cycle) device->tick();
    device->top.rst = 0;
    return device.release();
}

// Whether the waveform, if there is one, could be written so far.
bool sateen_written(void *handle) {
#if VM_TRACE
    return static_cast<Device *>(handle)->written;
#else
    (void)handle;
    return true;
#endif
}

// As `sateen_written`, for the whole waveform.
bool sateen_close(void *handle) {
    auto *device = static_cast<Device *>(handle);
    device->top.final();
#if VM_TRACE
    if (device->written) device->written = survives([&] { device->trace.close(); });
    // A writer that could not finish is never freed: it would try again.
    if (!device->written) return false;
#endif
    delete device;
    return true;
}

// The rule of the SDRAM that was broken, or null.
const char *sateen_fault(void *handle) { return static_cast<Device *>(handle)->fault(); }

uint64_t sateen_cycles(void *handle) { return static_cast<Device *>(handle)->cycles; }

// Sends `size` bytes, one a cycle, and collects what comes back until a frame is complete behind the last of them (a FLAG that
// follows another byte), the buffer is full, or `max_cycles` have passed. Returns the number of bytes that came.
size_t sateen_exchange(void *handle, const uint8_t *in, size_t size, uint8_t *out, size_t capacity, uint64_t max_cycles) {
    auto *device = static_cast<Device *>(handle);
    Vsateen &top = device->top;
    size_t sent = 0, received = 0;
    bool inside = false;
    for (uint64_t cycle = 0; cycle < max_cycles; ++cycle) {
        top.rx___05Fvalid = sent < size;
        if (sent < size) top.rx___05Fpayload = in[sent++];
        const bool arrives = top.tx___05Fvalid;
        const uint8_t byte = top.tx___05Fpayload;
        device->tick();
        if (device->fault()) break;
        if (!arrives) continue;
        out[received++] = byte;
        const bool complete = byte == FLAG && inside;
        inside = byte != FLAG;
        if ((complete && sent == size) || received == capacity) break;
    }
    top.rx___05Fvalid = 0;
    return received;
}

}  // extern "C"
