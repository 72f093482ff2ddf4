/* neon_update.c - update on NEON. */
#include "simd_neon.h"

#include "cpu/text/unit_update.h"
