/* fuzz_forward.c - cc1d_forward. */
#include "run.h"

const fuzz_role fuzz_roles[] = {
    {"x", "BDT", 'F', true, false, false, FUZZ_VALUES},
    {"weight", "DW", 'P', true, false, false, FUZZ_VALUES},
    {"bias", "D", 'P', false, false, false, FUZZ_VALUES},
    {"seq_idx", "BT", 'I', false, false, false, FUZZ_IDS},
    {"cu_seqlens", "M", 'I', false, false, false, FUZZ_BOUNDS},
    {"initial_states", "NDV", 'S', false, false, false, FUZZ_VALUES},
    {"residual", "BDT", 'S', false, false, false, FUZZ_VALUES},
    {"out", "BDT", 'S', true, true, false, FUZZ_VALUES},
    {"final_states", "NDV", 'S', false, true, false, FUZZ_VALUES},
};
const int fuzz_role_count = sizeof fuzz_roles / sizeof *fuzz_roles;

static bool fuzz_call(const fuzz_case *c, const cc1d_tensor *const *t, const cc1d_exec *exec, bool may_run,
                      cc1d_status *status) {
    if (!may_run) return false;
    const cc1d_forward_args full = {.x = t[0],
                                    .weight = t[1],
                                    .bias = t[2],
                                    .seq_idx = t[3],
                                    .cu_seqlens = t[4],
                                    .initial_states = t[5],
                                    .residual = t[6],
                                    .out = t[7],
                                    .final_states = t[8],
                                    .activation = c->activation};
    cc1d_forward_args *args = fuzz_struct(&full, sizeof full, sizeof full + (size_t)c->args_size_off);
    *status = cc1d_forward(args, exec);
    free(args);
    return true;
}

static void fuzz_choose(fuzz_case *c, fuzz_input *in) { fuzz_packing(c, in); }

static void fuzz_keep(fuzz_case *c) { fuzz_keep_packing(c); }
