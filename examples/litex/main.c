/* Classifies a digit on the accelerator of the SoC. The bus is a simulation's (bench.cpp). */

#include <stdio.h>

#include "../c/digit.h"
#include "digits.h"
#include "port.h"

int classify(port_bus *bus)
{
    const sateen_axi axi = port_open(bus);
    int8_t pixels[DIGITS_INPUT0_BYTES];
    int8_t logits[DIGITS_OUTPUT0_BYTES];
    const void *const inputs[] = {pixels};
    void *const outputs[] = {logits};
    sateen device;

    for (int i = 0; i < DIGIT_PIXELS; i++) {
        pixels[i] = digit_code(digit[i], DIGITS_INPUT0_SCALE, DIGITS_INPUT0_ZERO_POINT);
    }
    sateen_status status = sateen_open_axi(&device, &axi);
    if (status == SATEEN_OK) {
        status = sateen_run(&device, &digits_model, inputs, outputs, NULL);
    }
    if (status != SATEEN_OK) {
        (void)fprintf(stderr, "%s\n", sateen_message(status));
        return 1;
    }
    (void)printf("This is a %d.\n", digit_class(logits));
    return 0;
}
