/* simd_each.h - loops over a few vectors, unrolled. */
#ifndef CC1D_CPU_SIMD_EACH_H
#define CC1D_CPU_SIMD_EACH_H

/* Sanitizers take many minutes over code that is unrolled like this; the tests put every tensor between guard
 * pages instead, and the scalar kernels run under sanitizers as everything else does. */
#if defined(__GNUC__)
#define SIMD_UNCHECKED __attribute__((no_sanitize("address"), no_sanitize("undefined")))
#else
#define SIMD_UNCHECKED
#endif

/* Unrolls the next loop, whose count is a small constant after inlining. */
#if defined(__clang__)
/* In the kernel for any width the count is not constant: no reason for a warning. */
#pragma clang diagnostic ignored "-Wpass-failed"
#define SIMD_UNROLL _Pragma("clang loop unroll(enable)")
#else
/* It does not follow that loops over whole vectors have filled a block. */
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#define SIMD_UNROLL _Pragma("GCC unroll 8")
#endif

/* What is seldom called: a function of its own, which not every unit has a use for. */
#define SIMD_RARE __attribute__((noinline, unused)) SIMD_TARGET static

/* Most vectors that are worked on at once, and the loop over them. */
#define SIMD_VECTORS 4
#define SIMD_EACH(i, count) SIMD_UNROLL for (int i = 0; i < (count); i++)

#endif
