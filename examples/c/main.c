/*
 * Classifies a digit on an accelerator at the end of a serial port or a TCP connection.
 *
 *     digits /dev/ttyUSB0 | HOST:PORT
 *
 * The driver needs three functions of the line: send, receive, and a clock. These are POSIX's; on a microcontroller
 * they are its UART's and its timer's.
 */

#define _DEFAULT_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "digit.h"
#include "digits.h"

static bool line_send(void *context, const uint8_t *data, size_t size)
{
    const int line = *(const int *)context;
    while (size != 0) {
        const ssize_t sent = write(line, data, size);
        if (sent < 0) {
            return false;
        }
        data += sent;
        size -= (size_t)sent;
    }
    return true;
}

static int32_t line_receive(void *context, uint8_t *data, size_t size, uint32_t milliseconds)
{
    struct pollfd line = {.fd = *(const int *)context, .events = POLLIN};
    const int ready = poll(&line, 1, (int)milliseconds);
    if (ready <= 0) {
        return ready;
    }
    const ssize_t came = read(line.fd, data, size);
    return (came > 0) ? (int32_t)came : -1; /* Nothing to read although ready: the other end has closed. */
}

static uint32_t line_now(void *context)
{
    struct timespec now;
    (void)context;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u);
}

static int open_serial(const char *path)
{
    const int line = open(path, O_RDWR | O_NOCTTY);
    struct termios settings;
    if ((line < 0) || (tcgetattr(line, &settings) != 0)) {
        return -1;
    }
    cfmakeraw(&settings);
    (void)cfsetspeed(&settings, B1000000); /* The default of a configuration's `baud`. */
    return (tcsetattr(line, TCSAFLUSH, &settings) == 0) ? line : -1;
}

static int open_tcp(const char *host, const char *port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int line = -1;
    if (getaddrinfo(host, port, &hints, &found) != 0) {
        return -1;
    }
    for (const struct addrinfo *each = found; (each != NULL) && (line < 0); each = each->ai_next) {
        line = socket(each->ai_family, each->ai_socktype, each->ai_protocol);
        if ((line >= 0) && (connect(line, each->ai_addr, each->ai_addrlen) != 0)) {
            (void)close(line);
            line = -1;
        }
    }
    freeaddrinfo(found);
    return line;
}

static int open_line(const char *name)
{
    char host[256];
    const char *const colon = strrchr(name, ':');
    if (colon == NULL) {
        return open_serial(name);
    }
    (void)snprintf(host, sizeof host, "%.*s", (int)(colon - name), name);
    return open_tcp(host, colon + 1);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s /dev/ttyUSB0 | HOST:PORT\n", argv[0]);
        return 2;
    }
    int line = open_line(argv[1]);
    if (line < 0) {
        (void)fprintf(stderr, "%s: cannot open %s: %s\n", argv[0], argv[1], strerror(errno));
        return 1;
    }

    const sateen_link link = {
        .context = &line, .send = line_send, .receive = line_receive, .now = line_now,
        .bits_per_second = 1000000, .clock_hz = 20000, /* A simulation's; a board has megahertz. */
        .patience = 250,
    };
    int8_t pixels[DIGITS_INPUT0_BYTES];
    int8_t logits[DIGITS_OUTPUT0_BYTES];
    const void *const inputs[] = {pixels};
    void *const outputs[] = {logits};
    sateen device;

    for (int i = 0; i < DIGIT_PIXELS; i++) {
        pixels[i] = digit_code(digit[i], DIGITS_INPUT0_SCALE, DIGITS_INPUT0_ZERO_POINT);
    }
    sateen_status status = sateen_open_link(&device, &link, (uint16_t)((uint32_t)getpid() ^ line_now(NULL)));
    if (status == SATEEN_OK) {
        status = sateen_run(&device, &digits_model, inputs, outputs, NULL);
    }
    (void)close(line);
    if (status != SATEEN_OK) {
        (void)fprintf(stderr, "%s: %s\n", argv[0], sateen_message(status));
        return 1;
    }
    for (int i = 0; i < DIGIT_PIXELS; i++) {
        (void)printf("%c%s", " .:-=+*#@"[digit[i] / 2], (i % DIGIT_SIDE == DIGIT_SIDE - 1) ? "\n" : "");
    }
    (void)printf("This is a %d.\n", digit_class(logits));
    return 0;
}
