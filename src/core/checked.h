/* checked.h - sizes that may be too large for 64 bits: INT64_MAX then. Arguments are >= 0. */
#ifndef CC1D_CHECKED_H
#define CC1D_CHECKED_H

#include <stdint.h>

static inline int64_t cc1d_times(int64_t a, int64_t b) {
    int64_t product; /* no division: every call takes several of these */
    return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}
static inline int64_t cc1d_plus(int64_t a, int64_t b) {
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

#endif
