/* fuzz_ragged.c - cc1d_update with cu_seqlens: rows of different lengths. */
#include "run.h"

const fuzz_role fuzz_roles[] = {
    {"x", "TD", 'F', true, false, false, FUZZ_VALUES},
    {"weight", "DW", 'P', true, false, false, FUZZ_VALUES},
    {"conv_state", "PDS", 'K', true, true, true, FUZZ_VALUES},
    {"bias", "D", 'P', false, false, false, FUZZ_VALUES},
    {"cache_seqlens", "N", 'I', false, false, false, FUZZ_LENGTHS},
    {"conv_state_indices", "N", 'I', false, false, false, FUZZ_ROWS},
    {"num_accepted_tokens", "N", 'I', false, false, false, FUZZ_ACCEPTED},
    {"conv_state_out_indices", "N", 'I', false, false, false, FUZZ_OTHER_ROWS},
    {"out", "TD", 'S', true, true, false, FUZZ_VALUES},
    {"cu_seqlens", "M", 'I', true, false, false, FUZZ_BOUNDS},
    {"residual", "TD", 'S', false, false, false, FUZZ_VALUES},
};
const int fuzz_role_count = sizeof fuzz_roles / sizeof *fuzz_roles;
enum { STATE = 2, CACHE = 4, INDICES = 5, ACCEPTED = 6, OUT_INDICES = 7, OUT = 8 };

static bool fuzz_call(const fuzz_case *c, const cc1d_tensor *const *t, const cc1d_exec *exec, bool may_run,
                      cc1d_status *status) {
    if (!may_run) return false;
    const cc1d_update_args full = {.x = t[0],
                                   .weight = t[1],
                                   .conv_state = t[2],
                                   .bias = t[3],
                                   .cache_seqlens = t[4],
                                   .conv_state_indices = t[5],
                                   .num_accepted_tokens = t[6],
                                   .conv_state_out_indices = t[7],
                                   .out = t[8],
                                   .cu_seqlens = t[9],
                                   .residual = t[10],
                                   .max_seqlen = c->max_seqlen,
                                   .pad_slot_id = c->pad_slot_id,
                                   .activation = c->activation};
    cc1d_update_args *args = fuzz_struct(&full, sizeof full, sizeof full + (size_t)c->args_size_off);
    *status = cc1d_update(args, exec);
    free(args);
    return true;
}

static bool indices, accepted, cache, in_place, written;

static void fuzz_choose(fuzz_case *c, fuzz_input *in) {
    c->size['M'] = 1 + fuzz_size(in, c->size['T'] > 0, 5, 40);
    c->size['N'] = c->size['M'] - 1;
    c->max_seqlen = c->size['T'] + (fuzz_rarely(in, 4) ? fuzz_below(in, 9) : 0);
    indices = fuzz_below(in, 2), accepted = fuzz_below(in, 2);
    cache = !accepted && fuzz_below(in, 2);
    if (accepted && c->max_seqlen > 1) c->size['S'] += c->max_seqlen - 1;
    written = indices && fuzz_below(in, 2);
    c->size['P'] = c->size['N'] * (written ? 1 + fuzz_below(in, 2) : 1) + (indices ? fuzz_below(in, 4) : 0);
    if (fuzz_rarely(in, 8)) c->pad_slot_id = fuzz_below(in, 6);
    in_place = fuzz_rarely(in, 4);
}

static void fuzz_keep(fuzz_case *c) {
    c->present[CACHE] = cache, c->present[INDICES] = indices, c->present[ACCEPTED] = accepted;
    c->present[OUT_INDICES] = written;
    in_place = in_place && (c->size['T'] <= 1 || c->tensor[STATE].dtype == c->tensor[OUT].dtype);
    if (in_place) c->tensor[0] = c->tensor[OUT], c->alias[OUT] = 0;
}
