/*
 * Driver of Sateen's accelerators, in C99: over AXI registers and streams, or over any line of bytes.
 *
 * It allocates nothing, has no state but in the `sateen` that the caller provides, and reaches the hardware through
 * the caller's functions alone. A device is used by one thread at a time.
 *
 *     sateen device;
 *     sateen_status status = sateen_open_axi(&device, &axi);      // or sateen_open_link(&device, &link, session)
 *     if (status == SATEEN_OK) { status = sateen_load(&device, &digits_model); }
 *     if (status == SATEEN_OK) { status = sateen_run(&device, &digits_model, inputs, outputs, work); }
 *     if (status != SATEEN_OK) { puts(sateen_message(status)); }
 *
 * `sateen export-c` writes this file, sateen.c, and a model as C. SPDX-License-Identifier: Apache-2.0
 */

#ifndef SATEEN_H
#define SATEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

@CONSTANTS@

typedef enum {
    SATEEN_OK = 0,
    SATEEN_LOST,         /* A function of the caller failed: the line, the bus or the DMA. */
    SATEEN_SILENT,       /* The device did not answer, however often it was asked. */
    SATEEN_INCOMPATIBLE, /* It is no Sateen, has another format, or its answer makes no sense. */
    SATEEN_OTHER_LAYOUT, /* The model was compiled for another configuration. */
    SATEEN_TAKEN,        /* Another session has begun with the device. */
    SATEEN_IN_USE,       /* Somebody else uses it: who serves it answered in its place. */
    SATEEN_OVERTIME,     /* The device ended a program that ran for too long; see `place`. */
    SATEEN_REFUSED,      /* The device refused an operation; see `refusal`. */
    SATEEN_BAD_ARGUMENT  /* A pointer that must not be null is, or an address or a size is out of range. */
} sateen_status;

/* What a status means and what to do, a sentence. */
const char *sateen_message(sateen_status status);

/*
 * The accelerator behind AXI (part `accelerator-axi`): functions that reach its registers and its two streams.
 * `address` is one of SATEEN_REGISTER_*: add the base of your bus.
 */
typedef struct {
    void *context; /* Given to each function. */
    void (*write)(void *context, uint32_t address, uint32_t value);
    uint32_t (*read)(void *context, uint32_t address);
    /* Brings bytes to the stream s_axis; true if it did. It may return before the accelerator has taken all. */
    bool (*send)(void *context, const uint8_t *data, size_t size);
    /* Takes exactly `size` bytes from the stream m_axis; true if it did. */
    bool (*receive)(void *context, uint8_t *data, size_t size);
    /* Called between two looks at the accelerator while it works, with their count from 1 on: it may sleep until
     * `busy` falls, or give up by returning false. Null: the driver looks again at once, SATEEN_POLLS times at most. */
    bool (*wait)(void *context, uint32_t looks);
} sateen_axi;

#define SATEEN_POLLS 100000000u

/* A line of bytes (parts `accelerator` and `accelerator-bytes`): a UART, USB, a socket, a FIFO. */
typedef struct {
    void *context; /* Given to each function. */
    /* Sends bytes; true if all are on their way, false if the line is broken. */
    bool (*send)(void *context, const uint8_t *data, size_t size);
    /* Receives 1 to `size` bytes, as soon as there are any, and returns their number: 0 if none came for so many
     * milliseconds, negative if the line is broken. */
    int32_t (*receive)(void *context, uint8_t *data, size_t size, uint32_t milliseconds);
    /* A clock, from any origin; it may wrap. */
    uint32_t (*now)(void *context);
    uint32_t bits_per_second; /* Of a serial line; 0: it is no limit. */
    uint32_t clock_hz;        /* Of the device, or less: how long a program may take follows from it. */
    uint32_t patience;        /* Milliseconds for an answer, besides its bytes and the program; 250 suits USB bridges. */
} sateen_link;

/* One input or output of a model. */
typedef struct {
    const char *name;
    uint32_t size;       /* Bytes of one item, in the order of the model's file (for images rows, columns, channels). */
    float scale;         /* A byte b stands for scale * (b - zero_point). */
    int32_t zero_point;
    bool is_unsigned;    /* Bytes are uint8_t, otherwise int8_t. */
} sateen_tensor;

/* Weights and program that are on the device at one time. */
typedef struct {
    const uint8_t *weights;
    const uint8_t *program;
    uint32_t weight_bytes;
    uint32_t program_bytes;
} sateen_segment;

enum { SATEEN_STEP_LOAD, SATEEN_STEP_SEND, SATEEN_STEP_RUN, SATEEN_STEP_FETCH };

/* A step of an inference. Buffers are numbered: inputs, then outputs, then the work area. */
typedef struct {
    uint8_t kind;     /* One of SATEEN_STEP_*. */
    uint8_t count;    /* RUN: descriptors. */
    uint16_t which;   /* LOAD: segment; SEND and FETCH: buffer; RUN: first descriptor. */
    uint32_t offset;  /* SEND and FETCH: first byte in the buffer. */
    uint32_t size;    /* SEND and FETCH: bytes. */
    uint32_t address; /* SEND and FETCH: in the scratchpad. */
} sateen_step;

/* A compiled model, constant; `sateen export-c` writes it. */
typedef struct {
    const char *name;
    const sateen_segment *segments;
    const sateen_step *steps;
    const sateen_tensor *inputs;
    const sateen_tensor *outputs;
    uint32_t layout; /* What it relies on; a device says its own. */
    uint32_t work_bytes;
    uint16_t frame_bytes; /* Largest payload of a frame of such a device. */
    uint16_t segment_count;
    uint16_t step_count;
    uint8_t input_count;
    uint8_t output_count;
    uint8_t limit; /* Code of the cycles after which the device ends a program: 4 to this power. */
} sateen_model;

/* An operation that waits to be sent in a frame. */
typedef struct {
    const uint8_t *data; /* To be written. */
    uint8_t *result;     /* Where read bytes go. */
    uint32_t address;
    uint16_t length;
    uint8_t op;
    uint8_t space;
} sateen_operation;

#define SATEEN_OPERATIONS 8

/* An open device. The caller provides it; `layout`, `place`, `refusal` and `retransmissions` are there to be read. */
typedef struct {
    uint32_t layout;          /* What the device says that programs may rely on. */
    uint32_t retransmissions; /* Frames that were sent again, since it was opened. */
    uint8_t place;            /* After SATEEN_OVERTIME: the descriptor that ran, from 0, counted from the run's first. */
    uint8_t refusal;          /* After SATEEN_REFUSED: one of SATEEN_ANSWER_*. */
    /* The driver's own. */
    const sateen_axi *axi;
    const sateen_link *link;
    const sateen_model *model; /* Whose segment is on the device, or null. */
    uint16_t segment;
    uint16_t session;
    uint16_t frame_bytes;
    uint16_t request_bytes; /* Of the waiting operations. */
    uint16_t answer_bytes;
    uint8_t sequence;
    uint8_t waiting;
    uint8_t limit;
    bool unanswered; /* The last frame. */
    sateen_operation operations[SATEEN_OPERATIONS];
} sateen;

/*
 * Stops what runs, and asks the accelerator who it is. `axi` must outlive `device`. After SATEEN_LOST, reset the
 * accelerator and its DMA first: bytes may still stand in the streams.
 */
sateen_status sateen_open_axi(sateen *device, const sateen_axi *axi);

/*
 * Begins a session: stops what runs, and asks the device who it is. `link` must outlive `device`. `session` should
 * differ from the last ones, also after a reset: take it from a timer or a counter that is kept. After SATEEN_SILENT
 * or SATEEN_TAKEN, this makes the device usable again.
 */
sateen_status sateen_open_link(sateen *device, const sateen_link *link, uint16_t session);

/* Checks that a model fits the device, and sends its first segment: all there is of a resident model. */
sateen_status sateen_load(sateen *device, const sateen_model *model);

/*
 * One inference. Sends what of the model is not on the device already.
 *
 * inputs, outputs   a pointer for each tensor, in the model's order, to as many bytes as its `size`
 * work              `work_bytes` of the model; null if that is 0
 *
 * After an error the outputs are undefined, and the next run sends the model again.
 */
sateen_status sateen_run(sateen *device, const sateen_model *model, const void *const *inputs, void *const *outputs,
                         void *work);

/* Writes to or reads from one of the device's memories, SATEEN_SPACE_*. Writing takes a resident model's place. */
sateen_status sateen_write(sateen *device, uint8_t space, uint32_t address, const void *data, uint32_t size);
sateen_status sateen_read(sateen *device, uint8_t space, uint32_t address, void *data, uint32_t size);

#ifdef __cplusplus
}
#endif

#endif
