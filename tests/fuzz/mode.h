/* mode.h - the calling thread's floating-point mode: flushing, denormals as zero, rounding. */
#ifndef CC1D_FUZZ_MODE_H
#define CC1D_FUZZ_MODE_H

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
enum { FUZZ_MODE_BITS = 0xe040 }; /* FZ, RC, DAZ */
static inline uint64_t fuzz_mode(void) { return _mm_getcsr() & FUZZ_MODE_BITS; }
static inline void fuzz_set_mode(uint64_t mode) {
    _mm_setcsr((_mm_getcsr() & ~(unsigned)FUZZ_MODE_BITS) | (unsigned)mode);
}
#elif defined(__aarch64__)
enum { FUZZ_MODE_BITS = 0x1c00000 }; /* FZ, RMode */
static inline uint64_t fuzz_fpcr(void) {
    uint64_t all;
    __asm__ volatile("mrs %0, fpcr" : "=r"(all));
    return all;
}
static inline uint64_t fuzz_mode(void) { return fuzz_fpcr() & FUZZ_MODE_BITS; }
static inline void fuzz_set_mode(uint64_t mode) {
    __asm__ volatile("msr fpcr, %0" : : "r"((fuzz_fpcr() & ~(uint64_t)FUZZ_MODE_BITS) | mode));
}
#else
enum { FUZZ_MODE_BITS = 0 };
static inline uint64_t fuzz_mode(void) { return 0; }
static inline void fuzz_set_mode(uint64_t mode) { (void)mode; }
#endif

#endif
