/* The C driver for tests in Python: plain functions instead of structures. */

#include <string.h>

#include "sateen.h"

typedef bool (*send_function)(void *, const uint8_t *, size_t);

static sateen device;
static sateen_axi axi;
static sateen_link link_;

int shim_open_link(send_function send, int32_t (*receive)(void *, uint8_t *, size_t, uint32_t), uint32_t (*now)(void *),
                   uint32_t bits_per_second, uint32_t clock_hz, uint16_t session)
{
    link_ = (sateen_link){NULL, send, receive, now, bits_per_second, clock_hz, 250};
    memset(&device, 0xA5, sizeof device);
    return (int)sateen_open_link(&device, &link_, session);
}

int shim_open_axi(void (*write)(void *, uint32_t, uint32_t), uint32_t (*read)(void *, uint32_t), send_function send,
                  bool (*receive)(void *, uint8_t *, size_t), bool (*wait)(void *, uint32_t))
{
    axi = (sateen_axi){NULL, write, read, send, receive, wait};
    memset(&device, 0xA5, sizeof device);
    return (int)sateen_open_axi(&device, &axi);
}

int shim_load(const sateen_model *model)
{
    return (int)sateen_load(&device, model);
}

int shim_run(const sateen_model *model, const void *const *inputs, void *const *outputs, void *work)
{
    return (int)sateen_run(&device, model, inputs, outputs, work);
}

int shim_write(uint8_t space, uint32_t address, const void *data, uint32_t size)
{
    return (int)sateen_write(&device, space, address, data, size);
}

int shim_read(uint8_t space, uint32_t address, void *data, uint32_t size)
{
    return (int)sateen_read(&device, space, address, data, size);
}

unsigned shim_place(void)
{
    return device.place;
}

unsigned shim_refusal(void)
{
    return device.refusal;
}

unsigned shim_retransmissions(void)
{
    return device.retransmissions;
}

unsigned shim_layout(void)
{
    return device.layout;
}

unsigned shim_work_bytes(const sateen_model *model)
{
    return model->work_bytes;
}
