/* neon.c - the kernels on NEON. */
#include "cpu/kernels.h"

#if defined(__aarch64__)

#include "simd_neon.h"

#include "cpu/text/kernel_table.h"

static int usable(void) { return 1; /* part of every AArch64 processor */ }

const cc1d_cpu_kernels cc1d_cpu_neon = {
    .name = "neon", .usable = usable, .forward = forward, .backward = backward, .update = update};

#else

typedef int cc1d_neon_is_for_aarch64; /* a translation unit may not be empty */

#endif
