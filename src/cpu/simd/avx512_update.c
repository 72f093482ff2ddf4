/* avx512_update.c - update on AVX-512. */
#include "simd_avx512.h"

#include "cpu/text/unit_update.h"
