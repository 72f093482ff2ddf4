/* The floating-point mode in which kernels run: to nearest, subnormals kept, or flushed on the way into and
 * out of every float32 operation, as Apple GPUs do. Conversions from and to half keep half's subnormals in
 * either mode. */
#ifndef MH_FLOAT_MODE_H
#define MH_FLOAT_MODE_H

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
typedef unsigned mh_float_mode;
enum { MH_MXCSR_DEFAULT = 0x1F80, MH_MXCSR_FLUSH = 0x8040 }; /* FTZ and DAZ */
static inline mh_float_mode mh_float_mode_enter(int flush) {
    const mh_float_mode before = _mm_getcsr();
    _mm_setcsr(MH_MXCSR_DEFAULT | (flush ? MH_MXCSR_FLUSH : 0));
    return before;
}
static inline void mh_float_mode_leave(mh_float_mode before) { _mm_setcsr(before); }
#elif defined(__aarch64__)
typedef uint64_t mh_float_mode;
static const uint64_t MH_FPCR_FLUSH = (uint64_t)1 << 24; /* FZ; FZ16 stays off */
static inline mh_float_mode mh_float_mode_enter(int flush) {
    mh_float_mode before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(flush ? MH_FPCR_FLUSH : 0) : "memory");
    return before;
}
static inline void mh_float_mode_leave(mh_float_mode before) {
    __asm__ volatile("msr fpcr, %0" : : "r"(before) : "memory");
}
#endif

#endif
