// A chip of SDR SDRAM with bursts of one word: the rules of sim/sdram.py, which says more, for simulations in C++.

#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

namespace sdram {

// Times in ns; as in hw/spec/sdram.py.
struct Chip {
    int bank_bits, row_bits, column_bits, data_bits;
    double period, t_rcd, t_rp, t_ras, t_rc, t_rrd, t_wr, t_rfc, t_ras_max, refresh, power_up;
    int wr_cycles, mrd_cycles, power_up_refreshes;
    double clock[4];  // Per CAS latency, the shortest cycle; 0 for none.
};

enum Command { NOP, TERMINATE, READ, WRITE, ACTIVATE, PRECHARGE, REFRESH, MODE };

struct Pins {
    int command = NOP;
    uint32_t bank = 0, address = 0, dq = 0, mask = 0;
    bool driven = false;
};

class Sdram {
public:
    std::string fault;  // The first rule that was broken; empty if none was.
    bool drives = false;
    uint32_t word = 0;  // What the chip drives at the next edge, if it does.

    Sdram(const Chip &chip, int postponed) : chip(chip), postponed(postponed), banks(size_t{1} << chip.bank_bits) {}

    // One rising edge of the clock.
    void step(const Pins &pins) {
        if (!fault.empty()) return;
        const double now = double(cycle) * chip.period;
        if (pins.driven && drove[1]) refuse("bus conflict", "DQ is driven while the chip drives a word that was read");
        if (pins.driven && drove[0]) refuse("tHZ", "DQ is driven at the edge behind a word that was read");
        check_time(now);
        if (pins.command != NOP) execute(pins, now);
        if (!fault.empty()) return;
        masks = {masks[1], pins.mask};
        ++cycle;
        drives = coming[cycle % coming.size()].first && masks[0] != (1u << chip.data_bits / 8) - 1;
        word = coming[cycle % coming.size()].second;
        coming[cycle % coming.size()].first = false;
        drove = {drove[1], drives};
    }

private:
    struct Bank {
        bool open = false;
        uint32_t row = 0;
        double activated = -1e18, closed = -1e18, written = -1e18;
    };

    const Chip chip;
    const int postponed;
    uint64_t cycle = 0, refreshes = 0;
    std::vector<Bank> banks;
    std::map<uint32_t, std::vector<uint32_t>> rows;
    std::array<std::pair<bool, uint32_t>, 8> coming{};
    std::array<uint32_t, 2> masks{};
    std::array<bool, 2> drove{};
    int cas = 0;
    bool all_closed = false, ready = false;
    double ready_at = 0, refreshed = -1e18, mode = -1e18, activated = -1e18;

    void refuse(const char *rule, const std::string &message) {
        if (!fault.empty()) return;
        char place[80];
        std::snprintf(place, sizeof place, "cycle %llu (%.3f us), rule ", (unsigned long long)cycle, double(cycle) * chip.period / 1000);
        fault = std::string(place) + rule + ": " + message;
    }

    void apart(const char *rule, double since, double now, double least) {
        if (now - since < least - 0.001 * chip.period)
            refuse(rule, "after " + std::to_string(now - since) + " ns; it must be " + std::to_string(least) + " ns or more");
    }

    void check_time(double now) {
        if (ready && (now - ready_at) / chip.refresh - double(refreshes) > postponed)
            refuse("refresh", std::to_string(refreshes) + " refreshes since initialization are too few");
        for (const Bank &bank : banks)
            if (bank.open && now - bank.activated > chip.t_ras_max) refuse("tRAS", "a row is open for too long");
    }

    void execute(const Pins &pins, double now) {
        if (now < chip.power_up - 0.001 * chip.period) refuse("power-up", "a command comes too early");
        apart("tRFC", refreshed, now, chip.t_rfc);
        apart("tMRD", mode, now, chip.mrd_cycles * chip.period);
        Bank &bank = banks[pins.bank];
        const bool every = pins.address >> 10 & 1;
        switch (pins.command) {
        case ACTIVATE:
            if (!ready) return refuse("initialization", "ACTIVATE before its end");
            if (bank.open) return refuse("open row", "ACTIVATE of a bank whose row is open");
            apart("tRC", bank.activated, now, chip.t_rc);
            apart("tRP", bank.closed, now, chip.t_rp);
            apart("tRRD", activated, now, chip.t_rrd);
            bank.open = true;
            bank.row = pins.address & ((1u << chip.row_bits) - 1);
            bank.activated = activated = now;
            bank.written = -1e18;
            return;
        case READ:
        case WRITE:
            if (!ready) return refuse("initialization", "READ or WRITE before its end");
            if (!bank.open) return refuse("closed bank", "READ or WRITE of a bank without an open row");
            if (every) return refuse("auto precharge", "it is not modelled here");
            apart("tRCD", bank.activated, now, chip.t_rcd);
            return access(pins, bank, now);
        case PRECHARGE:
            for (uint32_t number = 0; number < banks.size(); ++number)
                if (every || number == pins.bank) precharge(banks[number], every, now);
            all_closed |= every;
            return;
        case REFRESH:
        case MODE:
            if (!all_closed) return refuse("initialization", "before a PRECHARGE of all banks");
            for (const Bank &each : banks) {
                if (each.open) return refuse("open row", "REFRESH or MODE while a row is open");
                apart("tRP", each.closed, now, chip.t_rp);
            }
            if (pins.command == REFRESH) {
                refreshed = now;
                ++refreshes;
            } else {
                set_mode(pins, now);
            }
            if (!ready && cas && refreshes >= uint64_t(chip.power_up_refreshes)) {
                ready = true;
                ready_at = now;
                refreshes = 0;
            }
        }
    }

    void set_mode(const Pins &pins, double now) {
        const uint32_t latency = pins.address >> 4 & 7;
        if (pins.address & ~0x70u || latency > 3 || chip.clock[latency] == 0) return refuse("mode", "bursts of one word only are modelled here");
        if (chip.period < chip.clock[latency] * 0.999) return refuse("tCK", "the clock is too fast for the CAS latency");
        cas = int(latency);
        mode = now;
    }

    void precharge(Bank &bank, bool every, double now) {
        if (bank.open) {
            apart("tRAS", bank.activated, now, chip.t_ras);
            apart("tWR", bank.written, now, std::max(chip.t_wr, chip.wr_cycles * chip.period));
            bank.open = false;
            bank.closed = now;
        } else if (every && !all_closed) {
            bank.closed = now;
        }
    }

    void access(const Pins &pins, Bank &bank, double now) {
        auto &cells = rows[bank.row << chip.bank_bits | pins.bank];
        if (cells.empty()) {
            // Whatever it is at power-up.
            for (uint32_t column = 0; column < 1u << chip.column_bits; ++column)
                cells.push_back((bank.row * 0x9E3779B9u ^ pins.bank * 0x85EBCA6Bu ^ column * 0xC2B2AE35u) & (0xFFFFFFFFu >> (32 - chip.data_bits)));
        }
        uint32_t &cell = cells[pins.address & ((1u << chip.column_bits) - 1)];
        if (pins.command == READ) {
            coming[(cycle + uint64_t(cas)) % coming.size()] = {true, cell};
        } else if (pins.mask != (1u << chip.data_bits / 8) - 1) {
            if (!pins.driven) return refuse("floating bus", "a word is written, and nobody drives DQ");
            for (int byte = 0; byte < chip.data_bits / 8; ++byte) {
                const uint32_t bits = 0xFFu << 8 * byte;
                if (!(pins.mask >> byte & 1)) cell = (cell & ~bits) | (pins.dq & bits);
            }
            bank.written = now;
        }
    }
};

}  // namespace sdram
