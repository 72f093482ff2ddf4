/* avx512_forward.c - forward on AVX-512. */
#include "simd_avx512.h"

#include "cpu/text/unit_forward.h"
