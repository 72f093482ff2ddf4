/* neon_gates.c - calls with gates on NEON. */
#include "simd_neon.h"

#include "cpu/text/unit_gates.h"
