/* operations.h - one call of each operation that takes every path on which memory is allocated or steered:
 * more index values than are kept on the stack, enough work for several threads. Each array is an allocation
 * of its own, so that a sanitizer sees accesses past it. */
#ifndef CC1D_TESTS_OPERATIONS_H
#define CC1D_TESTS_OPERATIONS_H

#include <stdlib.h>

#include "check.h"

/* Backward and forward: packed (B = 1) or with a seq_idx. Update: ROWS rows of one step. */
enum { D = 24, T = 3000, W = 4, N = 150, ROWS = 300, POOL = 2 * ROWS, S = 5 };

typedef struct array {
    void *data;
    size_t bytes;
} array;

static float *f_x, *f_dout, *f_weight, *f_initial, *f_residual;             /* read */
static array f_out, f_final, f_dx, f_dweight, f_dbias, f_dinitial, f_state; /* written */
static int64_t *i_cu, *i_seq, *i_rows, *i_cache, *i_accepted;
static void *scratch;
static size_t scratch_size;
static int32_t threads; /* of every call */

static float *floats(size_t count, unsigned seed) {
    float *data = malloc(count * sizeof *data);
    check_fill(data, count, seed);
    return data;
}

static array output(size_t count) { return (array){floats(count, 9), count * sizeof(float)}; }

static void make_arrays(void) {
    f_x = floats(T * D, 1), f_dout = floats(T * D, 2), f_weight = floats(D * W, 3);
    f_initial = floats(N * D * (W - 1), 4), f_residual = floats(T * D, 5);
    f_out = output(T * D), f_final = output(N * D * S), f_dx = output(T * D), f_dweight = output(D * W);
    f_dbias = output(D), f_dinitial = output(N * D * (W - 1)), f_state = output(POOL * D * S);
    i_cu = malloc((N + 1) * sizeof *i_cu), i_seq = malloc(T * sizeof *i_seq);
    i_rows = malloc(ROWS * sizeof *i_rows), i_cache = malloc(ROWS * sizeof *i_cache);
    i_accepted = malloc(ROWS * sizeof *i_accepted);
}

static void fill_indices(void) {
    for (int i = 0; i <= N; i++) i_cu[i] = i * (T / N);
    for (int i = 0; i < T; i++) i_seq[i] = i % 97 == 96 ? -1 : i / 97;
    for (int i = 0; i < ROWS; i++) i_rows[i] = POOL - 1 - 2 * i, i_cache[i] = 7 * i, i_accepted[i] = 1;
}

static cc1d_tensor steps_of(void *data) { return check_tensor(data, CC1D_FLOAT32, 3, 1, D, T); }
static cc1d_tensor integers(int64_t *data, int64_t n) { return check_tensor(data, CC1D_INT64, 1, n, 0, 0); }

static cc1d_exec make_exec(void) { return (cc1d_exec){.size = sizeof(cc1d_exec), .num_threads = threads}; }

static cc1d_status forward_with(bool packed) {
    cc1d_tensor x = steps_of(f_x), out = steps_of(f_out.data), residual = steps_of(f_residual);
    cc1d_tensor weight = check_tensor(f_weight, CC1D_FLOAT32, 2, D, W, 0), cu = integers(i_cu, N + 1);
    cc1d_tensor seq = check_tensor(i_seq, CC1D_INT64, 2, 1, T, 0);
    cc1d_tensor initial = check_tensor(f_initial, CC1D_FLOAT32, 3, packed ? N : 1, D, W - 1), final = initial;
    final.data = f_final.data;
    const cc1d_forward_args args = {.size = sizeof args,
                                    .x = &x,
                                    .weight = &weight,
                                    .seq_idx = packed ? NULL : &seq,
                                    .cu_seqlens = packed ? &cu : NULL,
                                    .initial_states = &initial,
                                    .residual = &residual,
                                    .out = &out,
                                    .final_states = &final,
                                    .activation = CC1D_ACTIVATION_SILU};
    const cc1d_exec exec = make_exec();
    return cc1d_forward(&args, &exec);
}

static cc1d_status backward_with(bool packed) {
    cc1d_tensor x = steps_of(f_x), dout = steps_of(f_dout), dx = steps_of(f_dx.data);
    cc1d_tensor weight = check_tensor(f_weight, CC1D_FLOAT32, 2, D, W, 0), cu = integers(i_cu, N + 1);
    cc1d_tensor seq = check_tensor(i_seq, CC1D_INT64, 2, 1, T, 0), dweight = weight;
    cc1d_tensor dbias = check_tensor(f_dbias.data, CC1D_FLOAT32, 1, D, 0, 0);
    cc1d_tensor initial = check_tensor(f_initial, CC1D_FLOAT32, 3, packed ? N : 1, D, W - 1);
    cc1d_tensor dinitial = initial;
    dinitial.data = f_dinitial.data, dweight.data = f_dweight.data;
    cc1d_backward_args args = {.size = sizeof args,
                               .dout = &dout,
                               .x = &x,
                               .weight = &weight,
                               .seq_idx = packed ? NULL : &seq,
                               .cu_seqlens = packed ? &cu : NULL,
                               .initial_states = &initial,
                               .dfinal_states = &initial,
                               .dx = &dx,
                               .dweight = &dweight,
                               .dbias = &dbias,
                               .dinitial_states = &dinitial,
                               .activation = CC1D_ACTIVATION_SILU};
    CHECK_STATUS(cc1d_backward_scratch(&args, &args.scratch_size), CC1D_OK);
    if (args.scratch_size > scratch_size) {
        free(scratch);
        scratch = malloc(scratch_size = args.scratch_size);
    }
    args.scratch = scratch;
    const cc1d_exec exec = make_exec();
    return cc1d_backward(&args, &exec);
}

static cc1d_status update_with(bool circular) {
    cc1d_tensor x = check_tensor(f_x, CC1D_FLOAT32, 2, ROWS, D / 4, 0), out = x;
    cc1d_tensor state = check_tensor(f_state.data, CC1D_FLOAT32, 3, POOL, D / 4, S);
    cc1d_tensor weight = check_tensor(f_weight, CC1D_FLOAT32, 2, D / 4, W, 0), rows = integers(i_rows, ROWS);
    cc1d_tensor cache = integers(i_cache, ROWS), accepted = integers(i_accepted, ROWS);
    out.data = f_out.data;
    const cc1d_update_args args = {.size = sizeof args,
                                   .x = &x,
                                   .conv_state = &state,
                                   .weight = &weight,
                                   .conv_state_indices = &rows,
                                   .cache_seqlens = circular ? &cache : NULL,
                                   .num_accepted_tokens = circular ? NULL : &accepted,
                                   .out = &out,
                                   .pad_slot_id = -1};
    const cc1d_exec exec = make_exec();
    return cc1d_update(&args, &exec);
}

static cc1d_status forward_packed(void) { return forward_with(true); }
static cc1d_status forward_ids(void) { return forward_with(false); }
static cc1d_status backward_packed(void) { return backward_with(true); }
static cc1d_status backward_ids(void) { return backward_with(false); }
static cc1d_status update_circular(void) { return update_with(true); }
static cc1d_status update_accepted(void) { return update_with(false); }

static cc1d_status varlen_states_with(bool pool) {
    cc1d_tensor x = check_tensor(f_x, CC1D_FLOAT32, 2, T, D, 0), cu = integers(i_cu, N + 1);
    cc1d_tensor states = check_tensor(f_final.data, CC1D_FLOAT32, 3, N, D, S);
    cc1d_tensor initial = check_tensor(f_initial, CC1D_FLOAT32, 3, N, D, W - 1);
    cc1d_tensor positions = integers(i_cache, ROWS), rows = integers(i_rows, ROWS);
    const cc1d_tensor few = check_tensor(f_state.data, CC1D_FLOAT32, 3, POOL, D, W - 1);
    const cc1d_varlen_states_args args = {.size = sizeof args,
                                          .x = &x,
                                          .cu_seqlens = &cu,
                                          .states = pool ? &few : &states,
                                          .initial_states = pool ? &initial : NULL,
                                          .positions = pool ? &positions : NULL,
                                          .out_indices = pool ? &rows : NULL};
    const cc1d_exec exec = make_exec();
    return cc1d_varlen_states(&args, &exec);
}

static cc1d_status varlen_states(void) { return varlen_states_with(false); }
static cc1d_status varlen_states_pool(void) { return varlen_states_with(true); }

typedef struct operation {
    const char *name;
    cc1d_status (*run)(void);
} operation;

static const operation operations[] = {
    {"forward, cu_seqlens", forward_packed},    {"forward, seq_idx", forward_ids},
    {"backward, cu_seqlens", backward_packed},  {"backward, seq_idx", backward_ids},
    {"update, cache_seqlens", update_circular}, {"update, num_accepted_tokens", update_accepted},
    {"varlen_states", varlen_states},           {"varlen_states, positions", varlen_states_pool}};
enum { OPERATIONS = sizeof operations / sizeof *operations };

/* ---- What a call wrote ---- */

static array *const written[] = {&f_out, &f_final, &f_dx, &f_dweight, &f_dbias, &f_dinitial, &f_state};
enum { WRITTEN = sizeof written / sizeof *written };

typedef struct snapshot {
    void *copy[WRITTEN];
} snapshot;

static snapshot take_snapshot(void) {
    snapshot s;
    for (int i = 0; i < WRITTEN; i++)
        s.copy[i] = malloc(written[i]->bytes), memcpy(s.copy[i], written[i]->data, written[i]->bytes);
    return s;
}

static void restore(const snapshot *s) {
    for (int i = 0; i < WRITTEN; i++) memcpy(written[i]->data, s->copy[i], written[i]->bytes);
}

static bool is_snapshot(const snapshot *s) {
    bool same = true;
    for (int i = 0; i < WRITTEN; i++) same = same && !memcmp(written[i]->data, s->copy[i], written[i]->bytes);
    return same;
}

static void free_snapshot(snapshot *s) {
    for (int i = 0; i < WRITTEN; i++) free(s->copy[i]);
}

#endif
