/* fuzz_prefill.c - cc1d_forward from and into a pool of states. */
#include "run.h"

const fuzz_role fuzz_roles[] = {
    {"x", "BDT", 'F', true, false, false, FUZZ_VALUES},
    {"weight", "DW", 'P', true, false, false, FUZZ_VALUES},
    {"conv_states", "PDS", 'K', true, true, true, FUZZ_VALUES},
    {"bias", "D", 'P', false, false, false, FUZZ_VALUES},
    {"cu_seqlens", "M", 'I', false, false, false, FUZZ_BOUNDS},
    {"lengths", "B", 'I', false, false, false, FUZZ_STEPS},
    {"residual", "BDT", 'S', false, false, false, FUZZ_VALUES},
    {"conv_state_indices", "N", 'I', false, false, false, FUZZ_ROWS},
    {"conv_state_out_indices", "N", 'I', false, false, false, FUZZ_OTHER_ROWS},
    {"has_initial_state", "N", 'L', false, false, false, FUZZ_FLAGS},
    {"out", "BDT", 'S', true, true, false, FUZZ_VALUES},
};
const int fuzz_role_count = sizeof fuzz_roles / sizeof *fuzz_roles;
enum { CU = 4, LENGTHS = 5, INDICES = 7, OUT_INDICES = 8 };

static bool fuzz_call(const fuzz_case *c, const cc1d_tensor *const *t, const cc1d_exec *exec, bool may_run,
                      cc1d_status *status) {
    if (!may_run) return false;
    const cc1d_forward_args full = {.x = t[0],
                                    .weight = t[1],
                                    .conv_states = t[2],
                                    .bias = t[3],
                                    .cu_seqlens = t[4],
                                    .lengths = t[5],
                                    .residual = t[6],
                                    .conv_state_indices = t[7],
                                    .conv_state_out_indices = t[8],
                                    .has_initial_state = t[9],
                                    .out = t[10],
                                    .pad_slot_id = c->pad_slot_id,
                                    .activation = c->activation};
    cc1d_forward_args *args = fuzz_struct(&full, sizeof full, sizeof full + (size_t)c->args_size_off);
    *status = cc1d_forward(args, exec);
    free(args);
    return true;
}

static bool indices, written;

static void fuzz_choose(fuzz_case *c, fuzz_input *in) {
    const int64_t kind = fuzz_below(in, 3);
    c->size['M'] = kind == 1 ? 1 + fuzz_size(in, 0, 5, 40) : 0;
    c->size['I'] = kind == 2; /* lengths */
    if (kind == 1) c->size['B'] = 1, c->size['N'] = c->size['M'] - 1;
    indices = fuzz_below(in, 2), written = indices && fuzz_below(in, 2);
    c->size['P'] = c->size['N'] * (written ? 1 + fuzz_below(in, 2) : 1) + fuzz_below(in, 4);
    if (fuzz_rarely(in, 8)) c->pad_slot_id = fuzz_below(in, 6);
}

static void fuzz_keep(fuzz_case *c) {
    c->present[CU] = c->size['M'] > 0, c->present[LENGTHS] = c->size['I'];
    c->present[INDICES] = indices, c->present[OUT_INDICES] = written;
}
