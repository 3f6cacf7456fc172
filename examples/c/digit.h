/* A handwritten digit, as a touch pad or a camera gives it: 8 x 8 pixels of 0 to 16. From the test images of
 * scikit-learn's digits, which the network was not trained on. */

#ifndef DIGIT_H
#define DIGIT_H

#include <stddef.h>
#include <stdint.h>

enum { DIGIT_SIDE = 8, DIGIT_PIXELS = DIGIT_SIDE * DIGIT_SIDE, DIGIT_WHITE = 16, DIGIT_CLASSES = 10 };

static const uint8_t digit[DIGIT_PIXELS] = {
    0, 0,  4,  9,  12, 16, 8,  0, /**/
    0, 0,  15, 15, 8,  8,  2,  0, /**/
    0, 4,  16, 11, 4,  1,  0,  0, /**/
    0, 8,  16, 16, 16, 14, 0,  0, /**/
    0, 0,  11, 9,  8,  16, 0,  0, /**/
    0, 0,  0,  0,  7,  16, 0,  0, /**/
    0, 0,  0,  8,  16, 12, 0,  0, /**/
    0, 0,  3,  13, 9,  1,  0,  0, /**/
};

/* A pixel as the network takes it: it was trained on 0 to 1. */
static inline int8_t digit_code(uint8_t pixel, float scale, int32_t zero_point)
{
    return (int8_t)((int32_t)((float)pixel / ((float)DIGIT_WHITE * scale) + 0.5f) + zero_point);
}

/* The class of the largest logit. */
static inline int digit_class(const int8_t *logits)
{
    int best = 0;
    for (int i = 1; i < DIGIT_CLASSES; i++) {
        best = (logits[i] > logits[best]) ? i : best;
    }
    return best;
}

#endif
