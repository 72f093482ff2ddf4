/* plan_key.c - what a kernel's key says: its name, and the buffers that it takes. */
#include "plan_key.h"

#include <string.h>

#define KERNEL_NAME(kernel, name) name,
const char *const cc1d_kernel_names[] = {CC1D_KERNELS(KERNEL_NAME)};

_Static_assert(CC1D_KEY_SIZE <= CC1D_PLAN_KEY, "the key holds every field");

/* Every kernel's buffers, in order; the ones that a key says are absent are left out. */
#define TAPS CC1D_X, CC1D_WEIGHT, CC1D_BIAS, CC1D_SEQ_IDX, CC1D_CU, CC1D_INITIAL
#define FORWARD \
    { TAPS, CC1D_RESIDUAL, CC1D_OUT, END }
#define BACKWARD \
    { TAPS, CC1D_DOUT, CC1D_DFINAL, CC1D_DX, CC1D_SCRATCH, END }
#define UPDATE                                                                                     \
    {                                                                                              \
        CC1D_X, CC1D_WEIGHT, CC1D_BIAS, CC1D_CACHE, CC1D_INDICES, CC1D_ACCEPTED, CC1D_OUT_INDICES, \
            CC1D_STATE, CC1D_OUT, END                                                              \
    }
#define END (CC1D_SCRATCH + 1)
static const uint8_t kernel_buffers[CC1D_KERNEL_COUNT][CC1D_PLAN_BUFFERS] = {
    [CC1D_KERNEL_FORWARD_TIME] = FORWARD,
    [CC1D_KERNEL_FORWARD_CHANNEL] = FORWARD,
    [CC1D_KERNEL_FORWARD_WIDE] = FORWARD,
    [CC1D_KERNEL_BACKWARD_TIME] = BACKWARD,
    [CC1D_KERNEL_BACKWARD_CHANNEL] = BACKWARD,
    [CC1D_KERNEL_BACKWARD_WIDE_DPRE] = {TAPS, CC1D_DOUT, CC1D_SCRATCH, END},
    [CC1D_KERNEL_BACKWARD_WIDE_DX] = {CC1D_WEIGHT, CC1D_SEQ_IDX, CC1D_CU, CC1D_DFINAL, CC1D_DX, CC1D_SCRATCH,
                                      END},
    [CC1D_KERNEL_BACKWARD_WIDE_DWEIGHT] = {CC1D_X, CC1D_SEQ_IDX, CC1D_CU, CC1D_INITIAL, CC1D_SCRATCH, END},
    [CC1D_KERNEL_BACKWARD_REDUCE] = {CC1D_SCRATCH, CC1D_DWEIGHT, CC1D_DBIAS, END},
    [CC1D_KERNEL_VARLEN_STATES] = {CC1D_X, CC1D_SEQ_IDX, CC1D_CU, CC1D_INITIAL, CC1D_FINAL, END},
    [CC1D_KERNEL_BACKWARD_INITIAL] = {TAPS, CC1D_DOUT, CC1D_DFINAL, CC1D_DINITIAL, END},
    [CC1D_KERNEL_UPDATE] = UPDATE,
    [CC1D_KERNEL_UPDATE_STEP] = UPDATE,
};

static bool key_has(int kernel, const uint8_t *key, int role) {
    switch (role) {
    case CC1D_X: return !key[CC1D_KEY_IN_PLACE];
    case CC1D_BIAS: return key[CC1D_KEY_HAS_BIAS];
    case CC1D_SEQ_IDX: return key[CC1D_KEY_SEQ] == 1;
    case CC1D_CU: return key[CC1D_KEY_SEQ] == 2;
    case CC1D_INITIAL: return key[CC1D_KEY_HAS_INITIAL];
    case CC1D_RESIDUAL: return key[CC1D_KEY_HAS_RESIDUAL];
    case CC1D_DFINAL: return key[CC1D_KEY_HAS_LAST_GRADIENT];
    case CC1D_DX: return key[CC1D_KEY_HAS_DX];
    case CC1D_DWEIGHT: return key[CC1D_KEY_HAS_DWEIGHT];
    case CC1D_DBIAS: return key[CC1D_KEY_HAS_DBIAS];
    case CC1D_CACHE: return key[CC1D_KEY_CACHE_DTYPE];
    case CC1D_INDICES: return key[CC1D_KEY_INDICES_DTYPE];
    case CC1D_ACCEPTED: return key[CC1D_KEY_ACCEPTED_DTYPE];
    case CC1D_OUT_INDICES: return key[CC1D_KEY_OUT_INDICES_DTYPE];
    case CC1D_SCRATCH:
        return key[CC1D_KEY_HAS_DWEIGHT] ||
               (kernel != CC1D_KERNEL_BACKWARD_TIME && kernel != CC1D_KERNEL_BACKWARD_CHANNEL);
    default: return true;
    }
}

int cc1d_kernel_index(const char *name) {
    int i = 0;
    while (strcmp(cc1d_kernel_names[i], name) != 0) i++;
    return i;
}

int cc1d_key_buffers(const char *name, const uint8_t *key, uint8_t roles[CC1D_PLAN_BUFFERS]) {
    const int kernel = cc1d_kernel_index(name);
    int count = 0;
    for (const uint8_t *role = kernel_buffers[kernel]; *role != END; role++)
        if (key_has(kernel, key, *role)) roles[count++] = *role;
    return count;
}
