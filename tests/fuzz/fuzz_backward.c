/* fuzz_backward.c - cc1d_backward_scratch and cc1d_backward. */
#include "run.h"

const fuzz_role fuzz_roles[] = {
    {"x", "BDT", 'F', true, false, false, FUZZ_VALUES},
    {"weight", "DW", 'P', true, false, false, FUZZ_VALUES},
    {"bias", "D", 'P', false, false, false, FUZZ_VALUES},
    {"seq_idx", "BT", 'I', false, false, false, FUZZ_IDS},
    {"cu_seqlens", "M", 'I', false, false, false, FUZZ_BOUNDS},
    {"initial_states", "NDV", 'S', false, false, false, FUZZ_VALUES},
    {"dout", "BDT", 'S', true, false, false, FUZZ_VALUES},
    {"dfinal_states", "NDV", 'S', false, false, false, FUZZ_VALUES},
    {"dx", "BDT", 'S', false, true, false, FUZZ_VALUES},
    {"dweight", "DW", 'w', false, true, false, FUZZ_VALUES},
    {"dbias", "D", 'b', false, true, false, FUZZ_VALUES},
    {"dinitial_states", "NDV", 'S', false, true, false, FUZZ_VALUES},
};
const int fuzz_role_count = sizeof fuzz_roles / sizeof *fuzz_roles;
enum { SCRATCH = 8 << 20 };

static fuzz_slot scratch_slot;
static int64_t scratch_damage; /* 0: none */

/* No result has an element, so nothing runs and no scratch is looked at. */
static bool writes_nothing(const cc1d_backward_args *a) {
    const cc1d_tensor *const results[] = {a->dx, a->dweight, a->dbias, a->dinitial_states};
    for (int i = 0; i < 4; i++)
        if (results[i] && fuzz_count(results[i]) > 0) return false;
    return true;
}

static bool fuzz_call(const fuzz_case *c, const cc1d_tensor *const *t, const cc1d_exec *exec, bool may_run,
                      cc1d_status *status) {
    const cc1d_backward_args full = {.x = t[0],
                                     .weight = t[1],
                                     .bias = t[2],
                                     .seq_idx = t[3],
                                     .cu_seqlens = t[4],
                                     .initial_states = t[5],
                                     .dout = t[6],
                                     .dfinal_states = t[7],
                                     .dx = t[8],
                                     .dweight = t[9],
                                     .dbias = t[10],
                                     .dinitial_states = t[11],
                                     .activation = c->activation};
    if (!may_run && t[4]) return false;
    size_t bytes = 1234;
    cc1d_backward_args *args = fuzz_struct(&full, sizeof full, sizeof full + (size_t)c->args_size_off);
    *status = cc1d_backward_scratch(args, &bytes);
    FUZZ_CHECK(*status == CC1D_OK || bytes == 1234, "a refused call wrote the size of its scratch");
    if (*status == CC1D_OK && may_run && bytes <= SCRATCH) {
        if (!scratch_slot.memory) fuzz_slot_map(&scratch_slot, SCRATCH);
        args->scratch = fuzz_slot_take(&scratch_slot, bytes, 16, true, 0xc3);
        args->scratch_size = bytes;
        if (scratch_damage == 1) args->scratch = NULL;
        if (scratch_damage == 2) args->scratch_size -= args->scratch_size > 0;
        if (scratch_damage == 3) args->scratch = (char *)args->scratch - 8;
        *status = cc1d_backward(args, exec);
        FUZZ_CHECK(!scratch_damage || bytes == 0 || *status || writes_nothing(args),
                   "a scratch that does not do was accepted");
    } else if (*status) {
        const cc1d_status same = cc1d_backward(args, exec);
        FUZZ_CHECK(same == *status, "%s, but cc1d_backward_scratch says %s", cc1d_status_name(same),
                   cc1d_status_name(*status));
    } else {
        free(args);
        return false;
    }
    free(args);
    return true;
}

static void fuzz_choose(fuzz_case *c, fuzz_input *in) {
    scratch_damage = fuzz_rarely(in, 16) ? 1 + fuzz_below(in, 3) : 0;
    c->clean = !scratch_damage;
    fuzz_packing(c, in);
}

static void fuzz_keep(fuzz_case *c) { fuzz_keep_packing(c); }
