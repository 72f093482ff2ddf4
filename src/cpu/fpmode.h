/* fpmode.h - the floating-point mode of a thread. Kernels run rounding to nearest, with subnormals and
 * without traps, whatever the thread that calls them has set: results would depend on it otherwise. */
#ifndef CC1D_CPU_FPMODE_H
#define CC1D_CPU_FPMODE_H

#include <stdint.h>

#if defined(__x86_64__) || defined(__SSE2__)

/* MXCSR without its low six bits, the flags of what has happened. (x87 is not used: SSE2 does all.) */
enum { CC1D_FPMODE_WANTED = 0x1f80, CC1D_FPMODE_BITS = 0xffc0 };
typedef uint32_t cc1d_fpmode;

static inline cc1d_fpmode cc1d_fpmode_read(void) {
    cc1d_fpmode mode;
    __asm__ volatile("stmxcsr %0" : "=m"(mode));
    return mode;
}
static inline void cc1d_fpmode_write(cc1d_fpmode mode) {
    __asm__ volatile("ldmxcsr %0" : : "m"(mode) : "memory");
}

#elif defined(__aarch64__)

/* FPCR: any bit set is some other mode. */
enum { CC1D_FPMODE_WANTED = 0, CC1D_FPMODE_BITS = -1 };
typedef uint64_t cc1d_fpmode;

static inline cc1d_fpmode cc1d_fpmode_read(void) {
    cc1d_fpmode mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
static inline void cc1d_fpmode_write(cc1d_fpmode mode) {
    __asm__ volatile("msr fpcr, %0" : : "r"(mode) : "memory");
}

#else /* standard C knows the rounding mode only */

#include <fenv.h>

enum { CC1D_FPMODE_WANTED = FE_TONEAREST, CC1D_FPMODE_BITS = -1 };
typedef int cc1d_fpmode;

static inline cc1d_fpmode cc1d_fpmode_read(void) { return fegetround(); }
static inline void cc1d_fpmode_write(cc1d_fpmode mode) { fesetround(mode); }

#endif

static inline int cc1d_fpmode_is_wanted(cc1d_fpmode mode) {
    return (mode & (cc1d_fpmode)CC1D_FPMODE_BITS) == CC1D_FPMODE_WANTED;
}

/* The kernels' mode from here on; returns the thread's own. Reading is cheap, writing is not. */
static inline cc1d_fpmode cc1d_fpmode_enter(void) {
    const cc1d_fpmode own = cc1d_fpmode_read();
    if (!cc1d_fpmode_is_wanted(own)) cc1d_fpmode_write(CC1D_FPMODE_WANTED);
    return own;
}

static inline void cc1d_fpmode_leave(cc1d_fpmode own) {
    if (!cc1d_fpmode_is_wanted(own)) cc1d_fpmode_write(own);
}

#endif
