/* avx2_forward.c - forward on AVX2. */
#include "simd_avx2.h"

#include "cpu/text/unit_forward.h"
