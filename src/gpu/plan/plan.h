/* plan.h - GPU launches of a problem, as plain values. Pure: shapes, strides, dtypes and device kind only, so
 * the same plan drives CUDA (C), Metal through PyTorch, Metal from C and the test harness. docs/kernels.md
 * explains the kernels. */
#ifndef CC1D_PLAN_H
#define CC1D_PLAN_H

#include "core/problem.h"
#include "core/status.h"

#define CC1D_PLAN_LAUNCHES 5    /* at most */
#define CC1D_PLAN_BUFFERS 16    /* at most, per launch */
#define CC1D_PLAN_WORDS 128     /* 32-bit words of the params struct, at most */
#define CC1D_PLAN_KEY 48        /* bytes of a kernel key, at most */
#define CC1D_SCRATCH CC1D_ROLES /* a buffer that is the call's scratch */

typedef struct cc1d_launch {
    const char *kernel;         /* entry point in the kernel text, static storage */
    uint8_t key[CC1D_PLAN_KEY]; /* with the entry point: everything that the text is specialised by;
                                   zero-padded */
    uint32_t groups[3];         /* threadgroups (CUDA: blocks) */
    bool waits_itself;          /* CUDA may start it before the launch before it ends: its text waits */
    uint32_t group_size[3];     /* threads of each */
    int32_t buffer_count;
    uint8_t buffers[CC1D_PLAN_BUFFERS]; /* buffer index -> cc1d_role or CC1D_SCRATCH; only what this launch
                                           uses. The params struct comes after the last one */
    int32_t word_count;
    int32_t words[CC1D_PLAN_WORDS]; /* the params struct */
} cc1d_launch;

typedef struct cc1d_plan {
    int32_t launch_count; /* 0: nothing to do; launches run in order */
    size_t scratch_bytes;
    cc1d_launch launch[CC1D_PLAN_LAUNCHES];
} cc1d_plan;

/* Fills plan. UNSUPPORTED only where the device cannot do it at all: float64 on Metal, counts beyond 32 bits.
 */
cc1d_status cc1d_make_plan(const cc1d_problem *problem, cc1d_plan *plan);

/* Writes the launch's `#define NAME VALUE` lines (terminated) to text; returns the length that they need, as
 * snprintf does. */
size_t cc1d_launch_defines(const cc1d_launch *launch, char *text, size_t size);

/* The text of all kernels for a language, self-contained: a launch's defines before it specialise it; without
 * any it compiles for one common case. Returns the length needed, as snprintf does. */
typedef enum cc1d_language { CC1D_LANGUAGE_METAL, CC1D_LANGUAGE_CUDA } cc1d_language;
size_t cc1d_kernel_text(cc1d_language language, char *text, size_t size);

/* The complete source of a launch: its defines + the text. Returns the length needed, as snprintf does. */
size_t cc1d_launch_source(const cc1d_launch *launch, cc1d_language language, char *text, size_t size);

#endif
