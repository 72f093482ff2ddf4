/* names.c - see names.h. */
#include "names.h"

#include <stdio.h>

const char *cc1d_role_name(cc1d_operation op, cc1d_role role) {
    static const char *const names[CC1D_ROLES] = {
        [CC1D_X] = "x",
        [CC1D_WEIGHT] = "weight",
        [CC1D_BIAS] = "bias",
        [CC1D_SEQ_IDX] = "seq_idx",
        [CC1D_CU] = "cu_seqlens",
        [CC1D_INITIAL] = "initial_states",
        [CC1D_RESIDUAL] = "residual",
        [CC1D_OUT] = "out",
        [CC1D_FINAL] = "final_states",
        [CC1D_DOUT] = "dout",
        [CC1D_DFINAL] = "dfinal_states",
        [CC1D_DX] = "dx",
        [CC1D_DWEIGHT] = "dweight",
        [CC1D_DBIAS] = "dbias",
        [CC1D_DINITIAL] = "dinitial_states",
        [CC1D_STATE] = "conv_state",
        [CC1D_CACHE] = "cache_seqlens",
        [CC1D_INDICES] = "conv_state_indices",
        [CC1D_ACCEPTED] = "num_accepted_tokens",
    };
    return op == CC1D_OP_VARLEN_STATES && role == CC1D_FINAL ? "states" : names[role];
}

const char *cc1d_dtype_name(int32_t dtype) {
    switch (dtype) {
#define NAME(value, name, bytes, use) \
    case value: return name;
        CC1D_EACH_DTYPE(NAME)
#undef NAME
    default: return "an unsupported dtype";
    }
}

const char *cc1d_device_name(int32_t device, int32_t index, cc1d_device_text *text) {
    static const char *const names[] = {[CC1D_CPU] = "cpu", [CC1D_CUDA] = "cuda", [CC1D_METAL] = "mps"};
    if (device < CC1D_CPU || device > CC1D_METAL) return "an unknown device";
    if (device == CC1D_CPU && index == 0) return names[device]; /* there is only one */
    snprintf(text->text, sizeof text->text, "%s:%d", names[device], (int)index);
    return text->text;
}
