/* avx2_gates.c - calls with gates on AVX2. */
#include "simd_avx2.h"

#include "cpu/text/unit_gates.h"
