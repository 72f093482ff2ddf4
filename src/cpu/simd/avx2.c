/* avx2.c - the kernels on AVX2. */
#include "cpu/kernels.h"

#if defined(__x86_64__)

#include "cpu/features.h"
#include "simd_avx2.h"

#include "cpu/text/kernel_table.h"

const cc1d_cpu_kernels cc1d_cpu_avx2 = {
    .name = "avx2", .usable = cc1d_cpu_has_avx2, .forward = forward, .backward = backward, .update = update};

#else

typedef int cc1d_avx2_is_for_x86; /* a translation unit may not be empty */

#endif
