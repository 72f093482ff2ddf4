/* kernel_list.c - which kernel tables this build has, best first. */
#include "cpu/kernels.h"

extern const cc1d_cpu_kernels cc1d_cpu_avx512, cc1d_cpu_avx2, cc1d_cpu_neon;

const cc1d_cpu_kernels *const cc1d_cpu_kernel_list[] = {
#if defined(__x86_64__)
    &cc1d_cpu_avx512,
    &cc1d_cpu_avx2,
#elif defined(__aarch64__)
    &cc1d_cpu_neon,
#endif
    &cc1d_cpu_scalar,
    NULL,
};
