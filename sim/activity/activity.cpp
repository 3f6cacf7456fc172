// A Verilated accelerator whose registers are watched: how many of their bits toggle, by scope, while programs run.

#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "device.cpp"
#include "verilated_sym_props.h"
#include "verilated_syms.h"

namespace {

const char INSIDE[] = "TOP.sateen";   // The device; what is outside are its ports.
const char PLACE[] = "TOP.sateen.watchdog";  // The scope of `place`, the descriptor under way, which is no register.

struct Register {
    const uint8_t *now;
    uint64_t before;
    uint32_t bytes, group;  // At most eight; a wider register is several of these.
};

struct Name {
    const char *scope, *name;
    uint32_t bits;
    size_t first, count;  // Its part of the registers.
};

// One descriptor of a program.
struct Span {
    uint64_t run, place, cycles;
    std::vector<uint64_t> toggles;  // By group.
};

struct Activity {
    std::vector<Name> names;
    std::vector<Register> registers;
    std::vector<Span> spans;
    const uint8_t *place = nullptr;
    size_t groups = 0;
    uint64_t runs = 0;
    bool counts = false, was_busy = false;

    explicit Activity(Device &device) {
        for (const auto &[scope, found] : *device.context.scopeNameMap()) {
            if (std::strncmp(scope, INSIDE, sizeof INSIDE - 1) != 0 || !found->varsp()) continue;
            for (const auto &[name, variable] : *found->varsp()) {
                if (!std::strcmp(scope, PLACE) && !std::strcmp(name, "place")) {
                    place = static_cast<const uint8_t *>(variable.datap());
                } else if (variable.dims() <= 1 && !variable.isParam()) {
                    add(scope, name, variable);
                }
            }
        }
    }

    void add(const char *scope, const char *name, const VerilatedVar &variable) {
        const auto *data = static_cast<const uint8_t *>(variable.datap());
        const size_t first = registers.size();
        for (uint32_t left = variable.entSize(); left;) {
            const uint32_t bytes = left < 8 ? left : 8;
            registers.push_back({data, 0, bytes, 0});
            data += bytes;
            left -= bytes;
        }
        names.push_back({scope, name, variable.entBits(), first, registers.size() - first});
    }

    // What toggled since the cycle before; it is counted while a program runs.
    void sample(const Vsateen &top) {
        const bool counted = counts && top.busy;
        if (counted) {
            if (!was_busy) ++runs;
            if (!was_busy || spans.back().place != *place)
                spans.push_back({runs - 1, *place, 0, std::vector<uint64_t>(groups)});
            ++spans.back().cycles;
        }
        was_busy = counted;
        uint64_t *toggles = counted ? spans.back().toggles.data() : nullptr;
        for (Register &each : registers) {
            uint64_t value = 0;
            std::memcpy(&value, each.now, each.bytes);  // Hosts are little-endian.
            const uint64_t changed = value ^ each.before;
            if (!changed) continue;
            each.before = value;
            if (toggles) toggles[each.group] += std::popcount(changed);
        }
    }
};

}  // namespace

extern "C" {

void *sateen_activity(void *handle) { return new Activity(*static_cast<Device *>(handle)); }

void sateen_activity_free(void *activity) { delete static_cast<Activity *>(activity); }

// Before the device is closed: names of signals are taken out of the context that is the thread's, which is that of the device
// that was opened last.
void sateen_closing(void *handle) { Verilated::threadContextp(&static_cast<Device *>(handle)->context); }

// How many registers there are; 0 if the descriptor under way is not known.
size_t sateen_activity_size(void *activity) {
    auto *kept = static_cast<Activity *>(activity);
    return kept->place ? kept->names.size() : 0;
}

const char *sateen_activity_scope(void *activity, size_t index) {
    return static_cast<Activity *>(activity)->names[index].scope;
}

const char *sateen_activity_name(void *activity, size_t index) {
    return static_cast<Activity *>(activity)->names[index].name;
}

uint32_t sateen_activity_bits(void *activity, size_t index) {
    return static_cast<Activity *>(activity)->names[index].bits;
}

// Begins to count, from nothing: register k into group `groups[k]`, of `count`. With null, ends it, and what was counted
// stays.
void sateen_activity_count(void *activity, const uint32_t *groups, size_t count) {
    auto *kept = static_cast<Activity *>(activity);
    kept->counts = groups;
    kept->was_busy = false;
    if (!groups) return;
    kept->groups = count;
    kept->runs = 0;
    kept->spans.clear();
    for (size_t index = 0; index < kept->names.size(); ++index)
        for (size_t part = 0; part < kept->names[index].count; ++part)
            kept->registers[kept->names[index].first + part].group = groups[index];
}

size_t sateen_activity_spans(void *activity) { return static_cast<Activity *>(activity)->spans.size(); }

// What was counted: for each span its run, its descriptor's place there, its cycles, then the bits that toggled of each
// group.
void sateen_activity_read(void *activity, uint64_t *out) {
    for (const Span &span : static_cast<Activity *>(activity)->spans) {
        *out++ = span.run;
        *out++ = span.place;
        *out++ = span.cycles;
        std::memcpy(out, span.toggles.data(), span.toggles.size() * sizeof *out);
        out += span.toggles.size();
    }
}

// As `sateen_exchange`, and every cycle is looked at.
size_t sateen_exchange_counted(
    void *handle, void *activity, const uint8_t *in, size_t size, uint8_t *out, size_t capacity, uint64_t max_cycles) {
    size_t sent = 0, received = 0;
    bool inside = false;
    for (uint64_t cycle = 0; cycle < max_cycles && received < capacity; ++cycle) {
        const size_t send = sent < size, came = sateen_exchange(handle, in + sent, send, out + received, 1, 1);
        sent += send;
        static_cast<Activity *>(activity)->sample(static_cast<Device *>(handle)->top);
        if (!came) continue;
        const uint8_t byte = out[received++];
        if (byte == FLAG && inside && sent == size) break;
        inside = byte != FLAG;
    }
    return received;
}

}  // extern "C"
