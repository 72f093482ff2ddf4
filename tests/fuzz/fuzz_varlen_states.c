/* fuzz_varlen_states.c - cc1d_varlen_states. */
#include "run.h"

const fuzz_role fuzz_roles[] = {
    {"x", "TD", 'F', true, false, false, FUZZ_VALUES},
    {"cu_seqlens", "M", 'I', true, false, false, FUZZ_BOUNDS},
    {"initial_states", "NDL", 'K', false, false, false, FUZZ_VALUES},
    {"positions", "Q", 'I', false, false, false, FUZZ_POSITIONS},
    {"out_indices", "Q", 'I', false, false, false, FUZZ_ROWS},
    {"states", "RDS", 'K', true, true, true, FUZZ_VALUES},
};
const int fuzz_role_count = sizeof fuzz_roles / sizeof *fuzz_roles;
enum { POSITIONS = 3, OUT_INDICES = 4 };

static bool fuzz_call(const fuzz_case *c, const cc1d_tensor *const *t, const cc1d_exec *exec, bool may_run,
                      cc1d_status *status) {
    if (!may_run) return false;
    const cc1d_varlen_states_args full = {.x = t[0],
                                          .cu_seqlens = t[1],
                                          .initial_states = t[2],
                                          .positions = t[3],
                                          .out_indices = t[4],
                                          .states = t[5]};
    cc1d_varlen_states_args *args = fuzz_struct(&full, sizeof full, sizeof full + (size_t)c->args_size_off);
    *status = cc1d_varlen_states(args, exec);
    free(args);
    return true;
}

static bool positions, listed;

static void fuzz_choose(fuzz_case *c, fuzz_input *in) {
    positions = fuzz_below(in, 2), listed = fuzz_below(in, 2);
    c->size['B'] = 1;
    c->size['M'] = 1 + fuzz_size(in, positions, 6, 40);
    c->size['N'] = c->size['M'] - 1;
    c->size['Q'] = positions ? fuzz_size(in, 0, 9, 60) : c->size['N'];
    c->size['P'] = c->size['R'] = c->size['Q'] + (listed ? fuzz_below(in, 4) : 0);
    c->size['L'] = c->size['S'] + fuzz_below(in, 3);
    c->pad_slot_id = -1;
}

static void fuzz_keep(fuzz_case *c) { c->present[POSITIONS] = positions, c->present[OUT_INDICES] = listed; }
