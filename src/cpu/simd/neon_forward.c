/* neon_forward.c - forward on NEON. */
#include "simd_neon.h"

#include "cpu/text/unit_forward.h"
