/* metal.c - Metal from C: not offered. The kernels run through PyTorch's own MPS stream, which
 * needs no host code beyond the plan: whoever has prepared a call hands its launches to PyTorch. */
#include <stdio.h>

#include "core/backend.h"

static const char explanation[] =
    "mps tensors run on PyTorch's own stream (Python only); the C library has no host code for mps";

static int available(char *detail, size_t size) {
    if (size > 0) snprintf(detail, size, "%s", explanation);
    return 0;
}

static cc1d_status run(const cc1d_problem *problem, const cc1d_how *how, const cc1d_exec *exec,
                       void *scratch) {
    (void)problem, (void)how, (void)exec, (void)scratch;
    return cc1d_fail(CC1D_ERROR_UNSUPPORTED, "%s", explanation);
}

const cc1d_backend cc1d_backend_metal = {"metal", available, cc1d_prepare_launches, run};
