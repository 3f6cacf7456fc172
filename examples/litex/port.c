/* How bytes get in and out: through the SoC's memory, from or to which a DMA moves them. */

#include "port.h"

#include "csr.h" /* Of this SoC: soc.py writes it. */

static void port_write(void *context, uint32_t address, uint32_t value)
{
    const port_bus *const bus = context;
    bus->write(bus->context, SATEEN_BASE + address, value);
}

static uint32_t port_read(void *context, uint32_t address)
{
    const port_bus *const bus = context;
    return bus->read(bus->context, SATEEN_BASE + address);
}

/* A DMA's registers. */
typedef struct {
    uint32_t base, length, enable, done;
} dma;

static const dma reader = {CSR_READER_BASE_ADDR, CSR_READER_LENGTH_ADDR, CSR_READER_ENABLE_ADDR, CSR_READER_DONE_ADDR};
static const dma writer = {CSR_WRITER_BASE_ADDR, CSR_WRITER_LENGTH_ADDR, CSR_WRITER_ENABLE_ADDR, CSR_WRITER_DONE_ADDR};

/* Moves bytes between the start of the memory and the accelerator; false if that takes too long. */
static bool move(const port_bus *bus, const dma *registers, uint32_t size)
{
    uint32_t looks = 0;
    bus->write(bus->context, registers->base, 0); /* The upper half of 64 bits. */
    bus->write(bus->context, registers->base + 4u, MEMORY_BASE);
    bus->write(bus->context, registers->length, size);
    bus->write(bus->context, registers->enable, 1);
    while ((bus->read(bus->context, registers->done) == 0u) && (looks < 1000000u)) {
        looks++;
    }
    bus->write(bus->context, registers->enable, 0);
    return looks < 1000000u;
}

static uint32_t piece(size_t size)
{
    return (size < MEMORY_BYTES) ? (uint32_t)size : MEMORY_BYTES;
}

static bool port_send(void *context, const uint8_t *data, size_t size)
{
    const port_bus *const bus = context;
    bool good = true;
    while (good && (size != 0u)) {
        const uint32_t count = piece(size);
        for (uint32_t at = 0; at < count; at += 4u) {
            uint32_t word = 0;
            for (uint32_t i = 0; (i < 4u) && (at + i < count); i++) {
                word |= (uint32_t)data[at + i] << (8u * i);
            }
            bus->write(bus->context, MEMORY_BASE + at, word);
        }
        good = move(bus, &reader, count);
        data += count;
        size -= count;
    }
    return good;
}

static bool port_receive(void *context, uint8_t *data, size_t size)
{
    const port_bus *const bus = context;
    while (size != 0u) {
        const uint32_t count = piece(size);
        if (!move(bus, &writer, count)) {
            return false;
        }
        for (uint32_t at = 0; at < count; at++) {
            data[at] = (uint8_t)(bus->read(bus->context, MEMORY_BASE + (at & ~3u)) >> (8u * (at & 3u)));
        }
        data += count;
        size -= count;
    }
    return true;
}

sateen_axi port_open(port_bus *bus)
{
    const sateen_axi axi = {
        .context = bus, .write = port_write, .read = port_read, .send = port_send, .receive = port_receive,
    };
    return axi;
}
