/* avx2_backward.c - backward on AVX2. */
#include "simd_avx2.h"

#include "cpu/text/unit_backward.h"
