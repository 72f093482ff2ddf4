/* metal.c - Metal from C: not offered. The kernels run through PyTorch's own MPS stream
 * (python/causal_conv1d_mps/_metal.py), which needs no host code beyond the plan. */
#include <stdio.h>

#include "core/backend.h"

static const char explanation[] =
    "mps tensors run on PyTorch's own stream (Python only); the C library has no host code for mps";

static int metal_available(char *detail, size_t size) {
    if (size > 0) snprintf(detail, size, "%s", explanation);
    return 0;
}

static cc1d_status metal_scratch(const cc1d_problem *problem, size_t *bytes) {
    (void)problem;
    *bytes = 0;
    return cc1d_fail(CC1D_ERROR_UNSUPPORTED, "%s", explanation);
}

static cc1d_status metal_run(const cc1d_problem *problem, const cc1d_exec *exec, void *scratch) {
    (void)problem;
    (void)exec;
    (void)scratch;
    return cc1d_fail(CC1D_ERROR_UNSUPPORTED, "%s", explanation);
}

const cc1d_backend cc1d_backend_metal = {"metal", metal_available, metal_scratch, metal_run};
