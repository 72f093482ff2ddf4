/* run.h - the core's one entry: a call is prepared once, then run. */
#ifndef CC1D_RUN_H
#define CC1D_RUN_H

#include "arguments.h"
#include "backend.h"

typedef struct cc1d_prepared {
    cc1d_problem problem;
    const cc1d_backend *backend;
    size_t scratch_bytes; /* what cc1d_run has to be given, 16-byte aligned, on x's device */
    bool writes_nothing;  /* no result has an element; then there is no `how` */
    cc1d_how how;
} cc1d_prepared;

/* The backend of tensors on such a device. */
const cc1d_backend *cc1d_backend_of(cc1d_device device);

/* Checks the arguments and decides how to run them. Looks at no tensor's memory. */
cc1d_status cc1d_prepare(const cc1d_arguments *arguments, cc1d_prepared *prepared);

/* Runs a prepared call, once. exec is complete and never NULL. */
cc1d_status cc1d_run(cc1d_prepared *prepared, const cc1d_exec *exec, void *scratch, size_t scratch_size);

#endif
