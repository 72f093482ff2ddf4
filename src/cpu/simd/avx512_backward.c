/* avx512_backward.c - backward on AVX-512. */
#include "simd_avx512.h"

#include "cpu/text/unit_backward.h"
