/* avx2_update.c - update on AVX2. */
#include "simd_avx2.h"

#include "cpu/text/unit_update.h"
