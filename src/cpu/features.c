/* features.c - see features.h. */
#include "features.h"

#if defined(__x86_64__) || defined(__i386__)

#include <cpuid.h>
#include <stdatomic.h>
#include <stdint.h>

enum { KNOWN = 1, AVX2 = 2, AVX512 = 4 };

/* Extended control register 0: which register files the operating system saves. */
static uint32_t saved_state(void) {
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static int all(uint32_t value, uint32_t bits) { return (value & bits) == bits; }

static int detect(void) {
    enum { SSE_AVX_STATE = 0x06, AVX512_STATE = 0xe6 };
    enum { FMA = 1 << 12, OSXSAVE = 1 << 27, AVX = 1 << 28, F16C = 1 << 29 }; /* leaf 1, ecx */
    const uint32_t leaf7_avx2 = 1u << 5;
    const uint32_t leaf7_avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !all(c, FMA | OSXSAVE | AVX | F16C)) return KNOWN;
    const uint32_t state = saved_state();
    if (!all(state, SSE_AVX_STATE) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !all(b, leaf7_avx2))
        return KNOWN;
    return all(state, AVX512_STATE) && all(b, leaf7_avx512) ? KNOWN | AVX2 | AVX512 : KNOWN | AVX2;
}

static int features(void) {
    static _Atomic int cached;
    int found = atomic_load_explicit(&cached, memory_order_relaxed);
    if (found == 0) {
        found = detect();
        atomic_store_explicit(&cached, found, memory_order_relaxed);
    }
    return found;
}

int cc1d_cpu_has_avx2(void) { return (features() & AVX2) != 0; }

int cc1d_cpu_has_avx512(void) { return (features() & AVX512) != 0; }

#else

int cc1d_cpu_has_avx2(void) { return 0; }

int cc1d_cpu_has_avx512(void) { return 0; }

#endif

#if defined(__aarch64__)
int cc1d_cpu_has_neon(void) { return 1; } /* part of every such processor */
#else
int cc1d_cpu_has_neon(void) { return 0; }
#endif
