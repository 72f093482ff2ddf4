/* fuzz_varlen_states.c - cc1d_varlen_states. */
#include "run.h"

const fuzz_role fuzz_roles[] = {
    {"x", "TD", 'F', true, false, false, FUZZ_VALUES},
    {"cu_seqlens", "M", 'I', true, false, false, FUZZ_BOUNDS},
    {"states", "NDS", 'S', true, true, false, FUZZ_VALUES},
};
const int fuzz_role_count = sizeof fuzz_roles / sizeof *fuzz_roles;

static bool fuzz_call(const fuzz_case *c, const cc1d_tensor *const *t, const cc1d_exec *exec, bool may_run,
                      cc1d_status *status) {
    if (!may_run) return false;
    const cc1d_varlen_states_args full = {.x = t[0], .cu_seqlens = t[1], .states = t[2]};
    cc1d_varlen_states_args *args = fuzz_struct(&full, sizeof full, sizeof full + (size_t)c->args_size_off);
    *status = cc1d_varlen_states(args, exec);
    free(args);
    return true;
}

static void fuzz_choose(fuzz_case *c, fuzz_input *in) {
    c->size['B'] = 1;
    c->size['M'] = 1 + fuzz_size(in, 0, 6, 40);
    c->size['N'] = c->size['M'] - 1;
}

static void fuzz_keep(fuzz_case *c) { (void)c; }
