/* The accelerator of this SoC, for its driver: registers and memory on the bus, and two DMAs. */

#ifndef PORT_H
#define PORT_H

#include "sateen.h"

/* The bus. On a CPU in the SoC these are plain accesses: *(volatile uint32_t *)address. */
typedef struct {
    void *context;
    void (*write)(void *context, uint32_t address, uint32_t value);
    uint32_t (*read)(void *context, uint32_t address);
} port_bus;

/* The driver's functions over a bus, which must outlive them. */
sateen_axi port_open(port_bus *bus);

#endif
