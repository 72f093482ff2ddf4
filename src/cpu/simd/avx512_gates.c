/* avx512_gates.c - calls with gates on AVX-512. */
#include "simd_avx512.h"

#include "cpu/text/unit_gates.h"
