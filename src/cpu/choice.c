/* choice.c - which of the implementations runs. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "kernels.h"

static _Atomic(const cc1d_cpu_kernels *) chosen; /* NULL until the first call, or after set(NULL) */

static const cc1d_cpu_kernels *find(const char *name) {
    for (const cc1d_cpu_kernels *const *k = cc1d_cpu_kernel_list; *k; k++)
        if ((*k)->usable() && (!name || strcmp((*k)->name, name) == 0)) return *k;
    return NULL;
}

const cc1d_cpu_kernels *cc1d_cpu_chosen(void) {
    const cc1d_cpu_kernels *k = atomic_load_explicit(&chosen, memory_order_acquire);
    if (k) return k;
    const char *wanted = getenv("CAUSAL_CONV1D_CPU");
    k = find(wanted && *wanted ? wanted : NULL);
    if (!k) {
        fprintf(stderr,
                "causal_conv1d: CAUSAL_CONV1D_CPU=%s is not usable on this machine; using the best instead\n",
                wanted);
        k = find(NULL);
    }
    atomic_store_explicit(&chosen, k, memory_order_release);
    return k;
}

const char *cc1d_cpu_implementation(int index) {
    if (index < 0) return NULL;
    for (const cc1d_cpu_kernels *const *k = cc1d_cpu_kernel_list; *k; k++)
        if ((*k)->usable() && index-- == 0) return (*k)->name;
    return NULL;
}

cc1d_status cc1d_set_cpu_implementation(const char *name) {
    const cc1d_cpu_kernels *k = name ? find(name) : NULL;
    if (name && !k) {
        char usable[128] = "";
        const char *each;
        for (int i = 0; (each = cc1d_cpu_implementation(i)); i++)
            snprintf(usable + strlen(usable), sizeof usable - strlen(usable), i ? ", %s" : "%s", each);
        return cc1d_fail(CC1D_ERROR_VALUE, "implementation: expected one of %s, got %s", usable, name);
    }
    atomic_store_explicit(&chosen, k ? k : find(NULL), memory_order_release);
    return CC1D_OK;
}
