/* kernel_list.c - the instruction sets that this build has kernels for, best first. */
#include "cpu/features.h"
#include "cpu/kernels.h"

/* DO(set) */
#if defined(__x86_64__)
#define EACH_SET(DO) DO(avx512) DO(avx2)
#elif defined(__aarch64__)
#define EACH_SET(DO) DO(neon)
#else
#define EACH_SET(DO)
#endif

#define TABLE(set)                                                     \
    extern cc1d_forward_kernel cc1d_cpu_forward_##set;                 \
    extern cc1d_backward_kernel cc1d_cpu_backward_##set;               \
    extern cc1d_update_kernel cc1d_cpu_update_##set;                   \
    extern cc1d_gated_forward_kernel cc1d_cpu_gated_forward_##set;     \
    extern cc1d_backward_kernel cc1d_cpu_gated_backward_##set;         \
    static const cc1d_cpu_kernels set = {#set,                         \
                                         cc1d_cpu_has_##set,           \
                                         cc1d_cpu_forward_##set,       \
                                         cc1d_cpu_backward_##set,      \
                                         cc1d_cpu_update_##set,        \
                                         cc1d_cpu_gated_forward_##set, \
                                         cc1d_cpu_gated_backward_##set};
EACH_SET(TABLE)

const cc1d_cpu_kernels *const cc1d_cpu_kernel_list[] = {
#define ENTRY(set) &set,
    EACH_SET(ENTRY) & cc1d_cpu_scalar,
    NULL,
};
