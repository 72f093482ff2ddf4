/* neon_backward.c - backward on NEON. */
#include "simd_neon.h"

#include "cpu/text/unit_backward.h"
