/* backend.h - what a device backend offers. One static table each; a backend that this build lacks is a table
 * whose available() says why. */
#ifndef CC1D_BACKEND_H
#define CC1D_BACKEND_H

#include "cpu/split.h"
#include "gpu/plan/plan.h"
#include "status.h"

/* How a backend runs a problem: decided once, by its prepare(). */
typedef union cc1d_how {
    cc1d_cpu_how cpu;
    cc1d_plan gpu;
} cc1d_how;

typedef struct cc1d_backend {
    const char *name; /* "cpu", "cuda", "metal" */
    /* 1 if calls can work here; writes one line (how, or why not) to detail, always terminated where size >
     * 0. */
    int (*available)(char *detail, size_t size);
    /* Decides how to run a problem that has something to write, and the scratch that this needs. Pure:
     * shapes, strides, dtypes only. */
    cc1d_status (*prepare)(const cc1d_problem *problem, cc1d_how *how, size_t *scratch_bytes);
    /* Runs the problem, or enqueues it on exec->stream. exec is never NULL. Calls cc1d_ran() with the
     * kernel's name. */
    cc1d_status (*run)(const cc1d_problem *problem, const cc1d_how *how, const cc1d_exec *exec,
                       void *scratch);
} cc1d_backend;

/* Of a backend without them. */
static inline cc1d_status cc1d_refuse_gates(const cc1d_problem *problem) {
    const bool pre = cc1d_has(problem, CC1D_PRE_GATE);
    if (!pre && !cc1d_has(problem, CC1D_POST_GATE)) return CC1D_OK;
    return cc1d_fail(CC1D_ERROR_UNSUPPORTED, "%s: expected none on this device, got a tensor",
                     pre ? "pre_gate" : "post_gate");
}

/* prepare() of every GPU. */
static inline cc1d_status cc1d_prepare_launches(const cc1d_problem *problem, cc1d_how *how,
                                                size_t *scratch_bytes) {
    cc1d_status status = cc1d_refuse_gates(problem);
    if (!status) status = cc1d_make_plan(problem, &how->gpu);
    if (!status) *scratch_bytes = how->gpu.scratch_bytes;
    return status;
}

extern const cc1d_backend cc1d_backend_cpu;
extern const cc1d_backend cc1d_backend_cuda;
extern const cc1d_backend cc1d_backend_metal;

#endif
