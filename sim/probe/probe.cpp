// A Verilated accelerator whose signals are recorded, cycle by cycle, while a program runs.

#include <cstring>
#include <vector>

#include "device.cpp"
#include "verilated_sym_props.h"

namespace {

struct Probe {
    std::vector<const uint8_t *> watched;  // The lowest byte of each signal; hosts are little-endian.
    uint8_t *record = nullptr;
    size_t room = 0, used = 0;  // Cycles.

    void sample(const Vsateen &top) {
        if (!record || used == room || !top.busy) return;
        uint8_t *place = record + used++ * watched.size();
        for (const uint8_t *signal : watched) *place++ = *signal;
    }
};

}  // namespace

extern "C" {

void *sateen_probe() { return new Probe; }

void sateen_probe_free(void *probe) { delete static_cast<Probe *>(probe); }

// Before the device is closed: names of signals are taken out of the context that is the thread's, which is that of the device
// that was opened last.
void sateen_closing(void *handle) { Verilated::threadContextp(&static_cast<Device *>(handle)->context); }

// Adds a signal; whether there is one of this name.
bool sateen_watch(void *handle, void *probe, const char *scope, const char *name) {
    const VerilatedScope *found = static_cast<Device *>(handle)->context.scopeFind(scope);
    const VerilatedVar *signal = found ? found->varFind(name) : nullptr;
    if (signal) static_cast<Probe *>(probe)->watched.push_back(static_cast<const uint8_t *>(signal->datap()));
    return signal;
}

// Begins a record of at most `cycles` rows, a byte for each signal, into a buffer that stays; with null, ends it. Returns the
// rows of the record before.
size_t sateen_record(void *probe, uint8_t *buffer, size_t cycles) {
    auto *kept = static_cast<Probe *>(probe);
    const size_t rows = kept->used;
    kept->record = buffer;
    kept->room = buffer ? cycles : 0;
    kept->used = 0;
    return rows;
}

// As `sateen_exchange`, with a row of the record for each cycle in which a program runs.
size_t sateen_exchange_recorded(
    void *handle, void *probe, const uint8_t *in, size_t size, uint8_t *out, size_t capacity, uint64_t max_cycles) {
    size_t sent = 0, received = 0;
    bool inside = false;
    for (uint64_t cycle = 0; cycle < max_cycles && received < capacity; ++cycle) {
        const size_t send = sent < size, came = sateen_exchange(handle, in + sent, send, out + received, 1, 1);
        sent += send;
        static_cast<Probe *>(probe)->sample(static_cast<Device *>(handle)->top);
        if (!came) continue;
        const uint8_t byte = out[received++];
        if (byte == FLAG && inside && sent == size) break;
        inside = byte != FLAG;
    }
    return received;
}

}  // extern "C"
