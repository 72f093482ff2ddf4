/* checked.h - sizes that may be too large for 64 bits: INT64_MAX then. Arguments are >= 0. */
#ifndef CC1D_CHECKED_H
#define CC1D_CHECKED_H

#include <stdint.h>

static inline int64_t cc1d_times(int64_t a, int64_t b) { return b && a > INT64_MAX / b ? INT64_MAX : a * b; }
static inline int64_t cc1d_plus(int64_t a, int64_t b) { return a > INT64_MAX - b ? INT64_MAX : a + b; }

#endif
