/* Driver of Sateen's accelerators: see sateen.h. SPDX-License-Identifier: Apache-2.0 */

#include "sateen.h"

#include <string.h>

#define TRIES 5u
#define FIRST_FRAME_BYTES 128u /* The smallest `frame_bytes` of any device, until the device's own is known. */
#define CYCLES_PER_BYTE 4u     /* That a device takes at most for a byte of a frame. */
#define CHUNK_BYTES 64u
#define CRC_INIT 0xFFFFFFFFu
#define CRC_RESIDUE 0xDEBB20E3u /* What the CRC of a frame and its own CRC leaves. */
#define ADDRESS_MASK 0xFFFFFFu
#define NO_LIMIT 0u

const char *sateen_message(sateen_status status)
{
    static const char *const messages[] = {
        "done",
        "the line, the bus or its DMA failed; mend that, reset the accelerator and open it again",
        "the device does not answer; check that it is connected, configured with Sateen and at the same baud rate",
        "the device is not Sateen's, or of another version; export driver and model from the version it was built from",
        "the model was compiled for another configuration; compile it for the device's",
        "another session has taken over the device; open it again",
        "the device is in use by another client; wait until that one has closed it",
        "the device ended a program that ran for longer than its limit; export the model again",
        "the device refused an operation; driver and device do not match",
        "an argument is null or out of range",
    };
    const size_t count = sizeof messages / sizeof messages[0];
    return (size_t)status < count ? messages[status] : "unknown status";
}

/* ---- Frames ------------------------------------------------------------------------------------------------- */

/* CRC-32 (ISO HDLC), without the last inversion. */
static uint32_t crc_add(uint32_t crc, uint8_t byte)
{
    static const uint32_t table[16] = {
        0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
        0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu, 0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
    };
    crc ^= byte;
    crc = (crc >> 4) ^ table[crc & 15u];
    crc = (crc >> 4) ^ table[crc & 15u];
    return crc;
}

/* A frame on its way out, in small pieces. */
typedef struct {
    const sateen_link *link;
    uint32_t crc;
    uint8_t used;
    bool lost;
    uint8_t chunk[CHUNK_BYTES];
} sender;

static void send_chunk(sender *to)
{
    if (!to->lost && (to->used != 0u)) {
        to->lost = !to->link->send(to->link->context, to->chunk, to->used);
    }
    to->used = 0;
}

static void send_raw(sender *to, uint8_t byte)
{
    if (to->used == CHUNK_BYTES) {
        send_chunk(to);
    }
    to->chunk[to->used] = byte;
    to->used++;
}

/* A byte between the flags: stuffed, and part of the CRC. */
static void send_byte(sender *to, uint8_t byte)
{
    to->crc = crc_add(to->crc, byte);
    if ((byte == SATEEN_FLAG) || (byte == SATEEN_ESCAPE)) {
        send_raw(to, SATEEN_ESCAPE);
        send_raw(to, (uint8_t)(byte ^ SATEEN_ESCAPE_XOR));
    } else {
        send_raw(to, byte);
    }
}

/* Stores the low bytes of a value, little-endian. */
static void store(uint8_t *at, uint32_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(value >> (8u * i));
    }
}

static void send_bytes(sender *to, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        send_byte(to, data[i]);
    }
}

static void send_operation(sender *to, const sateen_operation *operation)
{
    uint8_t header[SATEEN_OP_BYTES] = {0};
    header[SATEEN_OP_AT_OP] = operation->op;
    header[SATEEN_OP_AT_SPACE] = operation->space;
    store(&header[SATEEN_OP_AT_LENGTH], operation->length, 2);
    store(&header[SATEEN_OP_AT_ADDRESS], operation->address, 4);
    send_bytes(to, header, sizeof header);
    if (operation->op == SATEEN_OP_WRITE) {
        send_bytes(to, operation->data, operation->length);
    }
}

static bool send_frame(const sateen *device, uint8_t type)
{
    sender to = {.link = device->link, .crc = CRC_INIT};
    uint8_t header[SATEEN_HEADER_BYTES] = {0};
    uint8_t crc[SATEEN_CRC_BYTES];
    header[SATEEN_HEADER_AT_TYPE] = type;
    header[SATEEN_HEADER_AT_SEQUENCE] = device->sequence;
    store(&header[SATEEN_HEADER_AT_LENGTH], device->request_bytes, 2);
    store(&header[SATEEN_HEADER_AT_SESSION], device->session, 2);
    send_raw(&to, SATEEN_FLAG);
    send_bytes(&to, header, sizeof header);
    for (unsigned i = 0; i < device->waiting; i++) {
        send_operation(&to, &device->operations[i]);
    }
    store(crc, ~to.crc, SATEEN_CRC_BYTES);
    send_bytes(&to, crc, sizeof crc);
    send_raw(&to, SATEEN_FLAG);
    send_chunk(&to);
    return !to.lost;
}

/* A frame on its way in. Its data go where the waiting READs want them, which counts only if the CRC agrees. */
typedef struct {
    uint32_t crc;
    uint32_t size; /* Bytes so far. */
    uint16_t length; /* Of the payload, as the header says. */
    uint8_t operation; /* Of the READ that takes the next byte. */
    uint16_t at;       /* Its bytes so far. */
    uint8_t status;    /* The last byte of the payload. */
    uint8_t before;    /* The one before it. */
    bool ours;
    bool escaped;
    bool taken; /* The frame is complete and undamaged. */
} receiver;

static void begin_frame(receiver *from)
{
    const receiver fresh = {.crc = CRC_INIT, .ours = true};
    *from = fresh;
}

static void take_header(receiver *from, const sateen *device, uint8_t byte)
{
    switch (from->size) {
    case SATEEN_HEADER_AT_LENGTH:
        from->length = byte;
        break;
    case SATEEN_HEADER_AT_LENGTH + 1u:
        from->length = (uint16_t)(from->length | ((uint16_t)byte << 8));
        break;
    case SATEEN_HEADER_AT_TYPE:
        from->ours = from->ours && (byte == SATEEN_FRAME_RESPONSE);
        break;
    case SATEEN_HEADER_AT_SEQUENCE:
        from->ours = from->ours && (byte == device->sequence);
        break;
    case SATEEN_HEADER_AT_SESSION:
        from->ours = from->ours && (byte == (uint8_t)device->session);
        break;
    default: /* The session's second byte. */
        from->ours = from->ours && (byte == (uint8_t)(device->session >> 8));
        break;
    }
}

static void take_data(receiver *from, const sateen *device, uint8_t byte)
{
    while ((from->operation < device->waiting) && ((device->operations[from->operation].op != SATEEN_OP_READ) ||
                                                   (from->at == device->operations[from->operation].length))) {
        from->operation++;
        from->at = 0;
    }
    if (from->operation < device->waiting) {
        device->operations[from->operation].result[from->at] = byte;
        from->at++;
    }
}

static void take_body(receiver *from, const sateen *device, uint8_t byte)
{
    from->crc = crc_add(from->crc, byte);
    if (from->size < SATEEN_HEADER_BYTES) {
        take_header(from, device, byte);
    } else if (from->ours && (from->size < (uint32_t)SATEEN_HEADER_BYTES + from->length)) {
        from->before = from->status;
        from->status = byte;
        if (from->size + 1u < (uint32_t)SATEEN_HEADER_BYTES + from->length) {
            take_data(from, device, byte);
        }
    } else {
        /* The CRC, or somebody else's. */
    }
    from->size++;
}

static void take(receiver *from, const sateen *device, uint8_t byte)
{
    if (byte == SATEEN_FLAG) {
        from->taken = from->ours && !from->escaped && (from->crc == CRC_RESIDUE) && (from->length != 0u) &&
                      (from->size == (uint32_t)SATEEN_HEADER_BYTES + from->length + SATEEN_CRC_BYTES);
        if (!from->taken) {
            begin_frame(from);
        }
    } else if ((byte == SATEEN_ESCAPE) && !from->escaped) {
        from->escaped = true;
    } else {
        take_body(from, device, from->escaped ? (uint8_t)(byte ^ SATEEN_ESCAPE_XOR) : byte);
        from->escaped = false;
    }
}

/* ---- The link ----------------------------------------------------------------------------------------------- */

/* Milliseconds for a frame and its answer, and for the program that it waits for. */
static uint32_t time_out(const sateen *device, bool runs)
{
    const sateen_link *link = device->link;
    /* Stuffing can double a frame. A limit may be reached late. */
    const uint64_t bytes = 2u * (2u * ((uint64_t)device->frame_bytes + SATEEN_HEADER_BYTES + SATEEN_CRC_BYTES + 2u));
    const uint64_t program = (runs && (device->limit != NO_LIMIT)) ? (UINT64_C(8) << (2u * device->limit)) : 0u;
    uint64_t milliseconds = link->patience;
    if (link->bits_per_second != 0u) {
        milliseconds += (10000u * bytes) / link->bits_per_second;
    }
    if (link->clock_hz != 0u) {
        milliseconds += (1000u * (program + CYCLES_PER_BYTE * bytes)) / link->clock_hz;
    }
    return milliseconds < (uint64_t)INT32_MAX ? (uint32_t)milliseconds : (uint32_t)INT32_MAX;
}

/* Waits for the answer to the frame that was sent: OK, SILENT or LOST. */
static sateen_status receive_frame(const sateen *device, uint32_t milliseconds, receiver *from)
{
    const sateen_link *link = device->link;
    const uint32_t begin = link->now(link->context);
    uint32_t gone = 0;
    begin_frame(from);
    while (!from->taken && (gone <= milliseconds)) {
        uint8_t chunk[CHUNK_BYTES];
        const int32_t came = link->receive(link->context, chunk, sizeof chunk, milliseconds - gone);
        if ((came < 0) || (came > (int32_t)sizeof chunk)) {
            return SATEEN_LOST;
        }
        if (came == 0) {
            return SATEEN_SILENT;
        }
        for (int32_t i = 0; (i < came) && !from->taken; i++) {
            take(from, device, chunk[i]);
        }
        gone = link->now(link->context) - begin;
    }
    return from->taken ? SATEEN_OK : SATEEN_SILENT;
}

/* What an answer says. */
static sateen_status judge(sateen *device, const receiver *from)
{
    sateen_status status = SATEEN_REFUSED;
    switch (from->status) {
    case SATEEN_ANSWER_OK:
        status = (from->length == device->answer_bytes) ? SATEEN_OK : SATEEN_INCOMPATIBLE;
        break;
    case SATEEN_ANSWER_STRANGER:
    case SATEEN_ANSWER_ABORTED:
        status = SATEEN_TAKEN;
        break;
    case SATEEN_ANSWER_IN_USE:
        status = SATEEN_IN_USE;
        break;
    case SATEEN_ANSWER_OVERTIME:
        device->place = from->before;
        status = SATEEN_OVERTIME;
        break;
    default:
        device->refusal = from->status;
        break;
    }
    return status;
}

static void forget_operations(sateen *device)
{
    device->waiting = 0;
    device->request_bytes = 0;
    device->answer_bytes = 1;
}

/* Sends the waiting operations in a frame until it is answered: OK, SILENT or LOST. */
static sateen_status insist(sateen *device, uint8_t type, uint32_t milliseconds, receiver *from)
{
    sateen_status status = SATEEN_SILENT;
    for (unsigned attempt = 0; (attempt < TRIES) && (status == SATEEN_SILENT); attempt++) {
        device->retransmissions += (attempt != 0u) ? 1u : 0u;
        status = send_frame(device, type) ? receive_frame(device, milliseconds, from) : SATEEN_LOST;
    }
    device->unanswered = (status != SATEEN_OK);
    return status;
}

/*
 * After a frame without an answer, the device expects its number, if it never came, or the next one. A request for
 * nothing with this number is executed, or the answer repeated; the next one is expected after it in any case.
 */
static sateen_status settle(sateen *device, uint32_t milliseconds)
{
    const uint8_t waiting = device->waiting;
    const uint16_t request_bytes = device->request_bytes;
    receiver from;
    device->waiting = 0;
    device->request_bytes = 0;
    sateen_status status = insist(device, SATEEN_FRAME_REQUEST, milliseconds, &from);
    device->waiting = waiting;
    device->request_bytes = request_bytes;
    if (status == SATEEN_OK) {
        const sateen_status said = judge(device, &from);
        status = ((said == SATEEN_TAKEN) || (said == SATEEN_IN_USE)) ? said : SATEEN_OK;
    }
    return status;
}

/* Sends the waiting operations, and judges the answer. */
static sateen_status exchange(sateen *device, uint8_t type)
{
    bool runs = false;
    for (unsigned i = 0; i < device->waiting; i++) {
        runs = runs || (device->operations[i].op == SATEEN_OP_WAIT);
    }
    const uint32_t milliseconds = time_out(device, runs);
    sateen_status status = device->unanswered ? settle(device, milliseconds) : SATEEN_OK;
    if (status == SATEEN_OK) {
        receiver from;
        device->sequence++;
        status = insist(device, type, milliseconds, &from);
        if (status == SATEEN_OK) {
            status = judge(device, &from);
        }
    }
    forget_operations(device);
    return status;
}

/* Sends the operations that wait, if any do. */
static sateen_status finish(sateen *device)
{
    return (device->waiting != 0u) ? exchange(device, SATEEN_FRAME_REQUEST) : SATEEN_OK;
}

/* Adds an operation to the next frame, and advances its pointer. */
static void add(sateen *device, sateen_operation *operation)
{
    device->operations[device->waiting] = *operation;
    device->waiting++;
    device->request_bytes = (uint16_t)(device->request_bytes + SATEEN_OP_BYTES);
    if (operation->op == SATEEN_OP_WRITE) {
        device->request_bytes = (uint16_t)(device->request_bytes + operation->length);
        operation->data += operation->length;
    }
    if (operation->op == SATEEN_OP_READ) {
        device->answer_bytes = (uint16_t)(device->answer_bytes + operation->length);
        operation->result += operation->length;
    }
}

/* Adds an operation to the next frame; one that is too long is cut, and frames are sent as they fill. */
static sateen_status queue(sateen *device, sateen_operation operation, uint32_t size)
{
    const bool moves = (operation.op == SATEEN_OP_WRITE) || (operation.op == SATEEN_OP_READ);
    uint32_t left = size;
    bool added = false;
    sateen_status status = SATEEN_OK;
    while ((status == SATEEN_OK) && !added) {
        /* Bytes that this frame still takes, or its answer. */
        const int32_t place = (int32_t)device->frame_bytes - device->request_bytes - (int32_t)SATEEN_OP_BYTES;
        const int32_t answer = (int32_t)device->frame_bytes - device->answer_bytes;
        const int32_t room = (operation.op == SATEEN_OP_READ) ? answer : place;
        if ((device->waiting == SATEEN_OPERATIONS) || (place < 0) || (moves && (room <= 0))) {
            status = finish(device);
        } else {
            operation.length = (uint16_t)((moves && (left > (uint32_t)room)) ? (uint32_t)room : left);
            add(device, &operation);
            left -= operation.length;
            operation.address += operation.length;
            added = (left == 0u);
        }
    }
    return status;
}

/* ---- AXI ---------------------------------------------------------------------------------------------------- */

/* Looks at a register until its bits of `mask` have a value. */
static sateen_status await(const sateen_axi *axi, uint32_t address, uint32_t mask, uint32_t value)
{
    for (uint32_t looks = 1; (axi->read(axi->context, address) & mask) != value; looks++) {
        if ((axi->wait != NULL) ? !axi->wait(axi->context, looks) : (looks == SATEEN_POLLS)) {
            return SATEEN_LOST;
        }
    }
    return SATEEN_OK;
}

static void point_at(const sateen_axi *axi, uint8_t space, uint32_t address)
{
    axi->write(axi->context, SATEEN_REGISTER_SPACE, space);
    axi->write(axi->context, SATEEN_REGISTER_ADDRESS, address);
}

static sateen_status axi_write(const sateen_axi *axi, uint8_t space, uint32_t address, const uint8_t *data, uint32_t size)
{
    point_at(axi, space, address);
    if (!axi->send(axi->context, data, size)) {
        return SATEEN_LOST;
    }
    /* The address counts the bytes that were taken: none is on its way when the next register is written. */
    return await(axi, SATEEN_REGISTER_ADDRESS, ADDRESS_MASK, (address + size) & ADDRESS_MASK);
}

static sateen_status axi_read(const sateen_axi *axi, uint8_t space, uint32_t address, uint8_t *data, uint32_t size)
{
    point_at(axi, space, address);
    axi->write(axi->context, SATEEN_REGISTER_READ, size);
    if (!axi->receive(axi->context, data, size)) {
        axi->write(axi->context, SATEEN_REGISTER_HALT, 1);
        return SATEEN_LOST;
    }
    return await(axi, SATEEN_REGISTER_STATUS, SATEEN_STATUS_READING, 0);
}

static sateen_status axi_run(sateen *device, uint8_t first, uint8_t count)
{
    const sateen_axi *axi = device->axi;
    axi->write(axi->context, SATEEN_REGISTER_LIMIT, device->limit);
    axi->write(axi->context, SATEEN_REGISTER_RUN, (uint32_t)first | ((uint32_t)count << SATEEN_RUN_COUNT));
    const sateen_status status = await(axi, SATEEN_REGISTER_STATUS, SATEEN_STATUS_RUNNING, 0);
    if (status != SATEEN_OK) {
        axi->write(axi->context, SATEEN_REGISTER_HALT, 1);
        return status;
    }
    const uint32_t result = axi->read(axi->context, SATEEN_REGISTER_STATUS);
    if ((result & SATEEN_STATUS_OVERTIME) != 0u) {
        device->place = (uint8_t)(result >> SATEEN_STATUS_PLACE);
        return SATEEN_OVERTIME;
    }
    return SATEEN_OK;
}

/* ---- Memories and programs, over either --------------------------------------------------------------------- */

static sateen_status put(sateen *device, uint8_t space, uint32_t address, const uint8_t *data, uint32_t size)
{
    if (size == 0u) {
        return SATEEN_OK;
    }
    if (device->axi != NULL) {
        return axi_write(device->axi, space, address, data, size);
    }
    const sateen_operation operation = {.op = SATEEN_OP_WRITE, .space = space, .address = address, .data = data};
    return queue(device, operation, size);
}

static sateen_status get(sateen *device, uint8_t space, uint32_t address, uint8_t *data, uint32_t size)
{
    if (size == 0u) {
        return SATEEN_OK;
    }
    if (device->axi != NULL) {
        return axi_read(device->axi, space, address, data, size);
    }
    const sateen_operation operation = {.op = SATEEN_OP_READ, .space = space, .address = address, .result = data};
    return queue(device, operation, size);
}

static sateen_status execute(sateen *device, uint8_t first, uint8_t count)
{
    if (device->axi != NULL) {
        return axi_run(device, first, count);
    }
    const sateen_operation run = {.op = SATEEN_OP_RUN, .space = first, .address = device->limit};
    const sateen_operation wait = {.op = SATEEN_OP_WAIT};
    const sateen_status status = queue(device, run, count);
    return (status == SATEEN_OK) ? queue(device, wait, 0) : status;
}

static bool in_range(const sateen *device, uint32_t address, const void *data, uint32_t size)
{
    return (device != NULL) && ((data != NULL) || (size == 0u)) && (address <= ADDRESS_MASK) &&
           (size <= ADDRESS_MASK + 1u - address) && ((device->axi == NULL) || (size <= ADDRESS_MASK));
}

/* ---- What the caller calls ---------------------------------------------------------------------------------- */

sateen_status sateen_write(sateen *device, uint8_t space, uint32_t address, const void *data, uint32_t size)
{
    if (!in_range(device, address, data, size)) {
        return SATEEN_BAD_ARGUMENT;
    }
    device->model = NULL;
    const sateen_status status = put(device, space, address, data, size);
    return (status == SATEEN_OK) ? finish(device) : status;
}

sateen_status sateen_read(sateen *device, uint8_t space, uint32_t address, void *data, uint32_t size)
{
    if (!in_range(device, address, data, size)) {
        return SATEEN_BAD_ARGUMENT;
    }
    const sateen_status status = get(device, space, address, data, size);
    return (status == SATEEN_OK) ? finish(device) : status;
}

sateen_status sateen_open_axi(sateen *device, const sateen_axi *axi)
{
    if ((device == NULL) || (axi == NULL) || (axi->write == NULL) || (axi->read == NULL) || (axi->send == NULL) ||
        (axi->receive == NULL)) {
        return SATEEN_BAD_ARGUMENT;
    }
    (void)memset(device, 0, sizeof *device);
    device->axi = axi;
    if ((axi->read(axi->context, SATEEN_REGISTER_MAGIC) != SATEEN_MAGIC) ||
        (axi->read(axi->context, SATEEN_REGISTER_FORMAT) != SATEEN_FORMAT)) {
        return SATEEN_INCOMPATIBLE;
    }
    axi->write(axi->context, SATEEN_REGISTER_HALT, 1);
    device->layout = axi->read(axi->context, SATEEN_REGISTER_LAYOUT);
    return SATEEN_OK;
}

/* The layout in an identity's text, which begins with SATEEN_IDENTITY_HEAD; false if it is none. */
static bool read_layout(const char *text, uint32_t *layout)
{
    const size_t head = sizeof SATEEN_IDENTITY_HEAD - 1u;
    uint32_t value = 0;
    if (memcmp(text, SATEEN_IDENTITY_HEAD, head) != 0) {
        return false;
    }
    for (size_t i = 0; i < 8u; i++) {
        const char *const digits = "0123456789abcdef";
        const char *const found = memchr(digits, text[head + i], 16);
        if (found == NULL) {
            return false;
        }
        value = (value << 4) | (uint32_t)(found - digits);
    }
    *layout = value;
    return true;
}

sateen_status sateen_open_link(sateen *device, const sateen_link *link, uint16_t session)
{
    char text[sizeof SATEEN_IDENTITY_HEAD - 1u + 8u];
    if ((device == NULL) || (link == NULL) || (link->send == NULL) || (link->receive == NULL) || (link->now == NULL)) {
        return SATEEN_BAD_ARGUMENT;
    }
    (void)memset(device, 0, sizeof *device);
    device->link = link;
    device->session = session;
    device->sequence = (uint8_t)(session ^ (session >> 8));
    device->frame_bytes = FIRST_FRAME_BYTES;
    forget_operations(device);
    sateen_status status = exchange(device, SATEEN_FRAME_HELLO);
    if (status == SATEEN_OK) {
        status = sateen_read(device, SATEEN_SPACE_IDENTITY, 0, text, sizeof text);
    }
    if ((status == SATEEN_OK) && !read_layout(text, &device->layout)) {
        status = SATEEN_INCOMPATIBLE;
    }
    return status;
}

/* Brings a segment to the device, unless it is there. */
static sateen_status bring(sateen *device, const sateen_model *model, uint16_t segment)
{
    const sateen_segment *wanted = &model->segments[segment];
    if ((device->model == model) && (device->segment == segment)) {
        return SATEEN_OK;
    }
    device->model = NULL;
    sateen_status status = put(device, SATEEN_SPACE_WEIGHTS, 0, wanted->weights, wanted->weight_bytes);
    if (status == SATEEN_OK) {
        status = put(device, SATEEN_SPACE_PROGRAM, 0, wanted->program, wanted->program_bytes);
    }
    if (status == SATEEN_OK) {
        device->model = model;
        device->segment = segment;
    }
    return status;
}

/* Ends a series of steps: what the device holds after an error is unknown. */
static sateen_status conclude(sateen *device, sateen_status status)
{
    const sateen_status result = (status == SATEEN_OK) ? finish(device) : status;
    if (result != SATEEN_OK) {
        forget_operations(device);
        device->model = NULL;
    }
    return result;
}

static sateen_status suits(sateen *device, const sateen_model *model)
{
    if ((device == NULL) || (model == NULL) || ((device->axi == NULL) && (device->link == NULL))) {
        return SATEEN_BAD_ARGUMENT;
    }
    if (device->layout != model->layout) {
        return SATEEN_OTHER_LAYOUT;
    }
    device->frame_bytes = model->frame_bytes;
    device->limit = model->limit;
    return SATEEN_OK;
}

sateen_status sateen_load(sateen *device, const sateen_model *model)
{
    const sateen_status status = suits(device, model);
    if ((status != SATEEN_OK) || (model->segment_count == 0u)) {
        return status;
    }
    return conclude(device, bring(device, model, 0));
}

/* Sends bytes to the scratchpad: signed ones as they are, unsigned ones less 128. */
static sateen_status send_values(sateen *device, const sateen_step *step, const uint8_t *data, bool is_unsigned)
{
    uint32_t done = 0;
    if (!is_unsigned) {
        return put(device, SATEEN_SPACE_SCRATCHPAD, step->address, data, step->size);
    }
    sateen_status status = SATEEN_OK;
    while ((status == SATEEN_OK) && (done < step->size)) {
        uint8_t chunk[CHUNK_BYTES];
        const uint32_t left = step->size - done;
        const uint32_t size = (left < CHUNK_BYTES) ? left : CHUNK_BYTES;
        for (uint32_t i = 0; i < size; i++) {
            chunk[i] = data[done + i] ^ 0x80u;
        }
        status = put(device, SATEEN_SPACE_SCRATCHPAD, step->address + done, chunk, size);
        if (status == SATEEN_OK) {
            status = finish(device);
        }
        done += size;
    }
    return status;
}

static sateen_status do_step(sateen *device, const sateen_model *model, const sateen_step *step,
                             const void *const *inputs, void *const *outputs, void *work)
{
    const unsigned which = step->which;
    const unsigned input_count = model->input_count;
    uint8_t *buffer = work;
    sateen_status status;
    if ((which >= input_count) && (which < input_count + model->output_count)) {
        buffer = outputs[which - input_count];
    }
    switch (step->kind) {
    case SATEEN_STEP_LOAD:
        status = bring(device, model, step->which);
        break;
    case SATEEN_STEP_SEND:
        if (which < input_count) {
            const uint8_t *input = inputs[which];
            status = send_values(device, step, &input[step->offset], model->inputs[which].is_unsigned);
        } else {
            /* These bytes may have to come from the device first. */
            status = finish(device);
            if (status == SATEEN_OK) {
                status = send_values(device, step, &buffer[step->offset], false);
            }
        }
        break;
    case SATEEN_STEP_RUN:
        status = execute(device, (uint8_t)which, step->count);
        break;
    default:
        status = get(device, SATEEN_SPACE_SCRATCHPAD, step->address, &buffer[step->offset], step->size);
        break;
    }
    return status;
}

sateen_status sateen_run(sateen *device, const sateen_model *model, const void *const *inputs, void *const *outputs,
                         void *work)
{
    sateen_status status = suits(device, model);
    if ((status == SATEEN_OK) &&
        ((inputs == NULL) || (outputs == NULL) || ((work == NULL) && (model->work_bytes != 0u)))) {
        status = SATEEN_BAD_ARGUMENT;
    }
    if (status != SATEEN_OK) {
        return status;
    }
    for (uint32_t i = 0; (i < model->step_count) && (status == SATEEN_OK); i++) {
        status = do_step(device, model, &model->steps[i], inputs, outputs, work);
    }
    status = conclude(device, status);
    for (unsigned i = 0; (i < model->output_count) && (status == SATEEN_OK); i++) {
        uint8_t *const output = outputs[i];
        for (uint32_t at = 0; model->outputs[i].is_unsigned && (at < model->outputs[i].size); at++) {
            output[at] ^= 0x80u;
        }
    }
    return status;
}
