/* backend.h - what a device backend offers to api.c. One static table each; a backend that this build lacks
 * is a table whose available() says why. */
#ifndef CC1D_BACKEND_H
#define CC1D_BACKEND_H

#include "problem.h"
#include "status.h"

typedef struct cc1d_backend {
    const char *name; /* "cpu", "cuda", "metal" */
    /* 1 if calls can work here; writes one line (how, or why not) to detail, always terminated where size >
     * 0. */
    int (*available)(char *detail, size_t size);
    /* Bytes of scratch that run() needs for this problem. Pure: shapes, strides, dtypes only. */
    cc1d_status (*scratch)(const cc1d_problem *problem, size_t *bytes);
    /* Runs the problem, or enqueues it on exec->stream. exec is never NULL. Calls cc1d_ran() with the
     * kernel's name. */
    cc1d_status (*run)(const cc1d_problem *problem, const cc1d_exec *exec, void *scratch);
} cc1d_backend;

extern const cc1d_backend cc1d_backend_cpu;
extern const cc1d_backend cc1d_backend_cuda;
extern const cc1d_backend cc1d_backend_metal;

#endif
