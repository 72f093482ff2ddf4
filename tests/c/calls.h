/* calls.h - one call of every operation on problems of a kind, for tests of what must not matter: the results
 * lie in one block of bytes. */
#ifndef CC1D_TESTS_CALLS_H
#define CC1D_TESTS_CALLS_H

#include <stdlib.h>

#include "check.h"
#include "cpu/convert.h"

enum { CALLS_B = 2, CALLS_MOST_STEPS = 600, CALLS_N = 3, CALLS_STATE = 300 };

typedef struct calls_kind {
    int32_t dtype;
    int width;
    int layout;      /* 0: time contiguous, 1: channels contiguous, 2: neither */
    bool ids;        /* seq_idx with padding; else cu_seqlens */
    double smallest; /* a factor of every third value */
    int dim, steps;  /* 600 steps of 40 channels are enough for several threads */
} calls_kind;

typedef struct calls_arena {
    char *at, *base;
    size_t size;
} calls_arena;

/* A (n0, n1, n2) tensor of the arena in the kind's layout. */
static inline cc1d_tensor calls_tensor(calls_arena *arena, int32_t dtype, int layout, int64_t n0, int64_t n1,
                                       int64_t n2) {
    const size_t item = cc1d_itemsize(dtype);
    cc1d_tensor t = check_tensor(arena->at, dtype, 3, n0, n1, n2);
    if (layout == 1) t.strides[0] = n1 * n2, t.strides[1] = 1, t.strides[2] = n1;
    if (layout == 2) t.strides[0] = 2 * n1 * n2, t.strides[1] = 2 * n2, t.strides[2] = 2;
    arena->at += ((size_t)(2 * n0 * n1 * n2) * item + 63) / 64 * 64;
    if (arena->at > arena->base + arena->size) abort();
    return t;
}

static inline cc1d_tensor calls_filled(calls_arena *arena, const calls_kind *kind, int layout, int64_t n0,
                                       int64_t n1, int64_t n2, unsigned seed) {
    const cc1d_tensor t = calls_tensor(arena, kind->dtype, layout, n0, n1, n2);
    const int64_t count = n0 * n1 * n2 * (layout == 2 ? 2 : 1);
    for (int64_t i = 0; i < count; i++) {
        const double value = (double)((i * 37 + seed * 101) % 251) / 125 - 1;
        cc1d_store_f64((char *)t.data + (size_t)i * cc1d_itemsize(t.dtype), t.dtype,
                       i % 3 == 0 ? value * kind->smallest : value * 3);
    }
    return t;
}

/* All operations' arguments. Not to be moved: they point into it. */
typedef struct calls {
    calls_arena arena;
    char *results;
    size_t bytes; /* of the results */
    cc1d_tensor seq, cu, rows, x, residual, dout, initial, dfinal, weight, bias, steps, flat;
    cc1d_tensor state, y, final, dx, dinitial, dweight, dbias, stepped, tails;
    int32_t ids[CALLS_B * CALLS_MOST_STEPS], bounds[CALLS_N + 1], row[CALLS_B];
    cc1d_forward_args forward;
    cc1d_backward_args backward;
    cc1d_update_args update;
    cc1d_varlen_states_args varlen;
} calls;

static inline cc1d_tensor calls_flat(const cc1d_tensor *t, int32_t ndim, int64_t n0, int64_t n1) {
    return check_tensor(t->data, t->dtype, ndim, n0, n1, 0);
}

static inline calls *calls_make(const calls_kind *kind) {
    calls *c = calloc(1, sizeof *c);
    calls_arena *arena = &c->arena;
    const int32_t dtype = kind->dtype;
    const int l = kind->layout, d = kind->dim, w = kind->width;
    const int64_t b = kind->ids ? CALLS_B : 1, n = kind->ids ? CALLS_B : CALLS_N;
    const int64_t t = kind->ids ? kind->steps : CALLS_B * kind->steps;
    arena->size = (size_t)16 << 20;
    arena->base = arena->at = calloc(1, arena->size);
    for (int i = 0; i < CALLS_B * kind->steps; i++)
        c->ids[i] = i % kind->steps > kind->steps - 50 || i % 100 < 7 ? -1 : i % kind->steps / 150;
    c->bounds[1] = 2, c->bounds[2] = kind->steps + 50, c->bounds[3] = CALLS_B * kind->steps;
    c->row[0] = 1;
    c->seq = check_tensor(c->ids, CC1D_INT32, 2, CALLS_B, kind->steps, 0);
    c->cu = check_tensor(c->bounds, CC1D_INT32, 1, CALLS_N + 1, 0, 0);
    c->rows = check_tensor(c->row, CC1D_INT32, 1, CALLS_B, 0, 0);
    c->x = calls_filled(arena, kind, l, b, d, t, 1);
    c->residual = calls_filled(arena, kind, l, b, d, t, 2);
    c->dout = calls_filled(arena, kind, l, b, d, t, 3);
    c->initial = calls_filled(arena, kind, 0, n, d, w - 1, 4);
    c->dfinal = calls_filled(arena, kind, 0, n, d, w - 1, 5);
    const cc1d_tensor weight = calls_filled(arena, kind, 0, 1, d, w, 6),
                      bias = calls_filled(arena, kind, 0, 1, 1, d, 7);
    c->weight = calls_flat(&weight, 2, d, w);
    c->bias = calls_flat(&bias, 1, d, 0);
    c->steps = calls_filled(arena, kind, 0, CALLS_B, d, 3, 8);
    c->results = arena->at;
    c->state = calls_filled(arena, kind, 0, CALLS_B, d, CALLS_STATE, 9);
    c->y = calls_tensor(arena, dtype, l, b, d, t);
    c->final = calls_tensor(arena, dtype, 0, n, d, w - 1);
    c->dx = calls_tensor(arena, dtype, l, b, d, t);
    c->dinitial = calls_tensor(arena, dtype, 0, n, d, w - 1);
    c->stepped = calls_tensor(arena, dtype, 0, CALLS_B, d, 3);
    c->tails = calls_tensor(arena, dtype, 0, CALLS_N, d, w);
    const cc1d_tensor dweight = calls_tensor(arena, dtype, 0, 1, d, w),
                      dbias = calls_tensor(arena, dtype, 0, 1, 1, d);
    c->dweight = calls_flat(&dweight, 2, d, w);
    c->dbias = calls_flat(&dbias, 1, d, 0);
    c->bytes = (size_t)(arena->at - c->results);
    c->flat = calls_flat(&c->x, 2, t, d);
    c->flat.strides[0] = c->x.strides[2], c->flat.strides[1] = c->x.strides[1];

    c->forward = (cc1d_forward_args){.size = sizeof c->forward,
                                     .x = &c->x,
                                     .weight = &c->weight,
                                     .bias = &c->bias,
                                     .seq_idx = kind->ids ? &c->seq : NULL,
                                     .cu_seqlens = kind->ids ? NULL : &c->cu,
                                     .initial_states = &c->initial,
                                     .residual = &c->residual,
                                     .out = &c->y,
                                     .final_states = &c->final,
                                     .activation = CC1D_ACTIVATION_SILU};
    c->backward = (cc1d_backward_args){.size = sizeof c->backward,
                                       .dout = &c->dout,
                                       .x = &c->x,
                                       .weight = &c->weight,
                                       .bias = &c->bias,
                                       .seq_idx = c->forward.seq_idx,
                                       .cu_seqlens = c->forward.cu_seqlens,
                                       .initial_states = &c->initial,
                                       .dfinal_states = &c->dfinal,
                                       .dx = &c->dx,
                                       .dweight = &c->dweight,
                                       .dbias = &c->dbias,
                                       .dinitial_states = &c->dinitial,
                                       .activation = CC1D_ACTIVATION_SILU};
    CHECK_STATUS(cc1d_backward_scratch(&c->backward, &c->backward.scratch_size), CC1D_OK);
    c->backward.scratch = malloc(c->backward.scratch_size);
    c->update = (cc1d_update_args){.size = sizeof c->update,
                                   .x = &c->steps,
                                   .conv_state = &c->state,
                                   .weight = &c->weight,
                                   .bias = &c->bias,
                                   .conv_state_indices = &c->rows,
                                   .out = &c->stepped,
                                   .pad_slot_id = -1,
                                   .activation = CC1D_ACTIVATION_SILU};
    if (!kind->ids)
        c->varlen = (cc1d_varlen_states_args){
            .size = sizeof c->varlen, .x = &c->flat, .cu_seqlens = &c->cu, .states = &c->tails};
    return c;
}

/* Every operation once; CC1D_OK or the first other status. */
static inline cc1d_status calls_run(const calls *c, const cc1d_exec *exec) {
    cc1d_status status = cc1d_forward(&c->forward, exec);
    if (!status) status = cc1d_backward(&c->backward, exec);
    if (!status) status = cc1d_update(&c->update, exec);
    if (!status && c->varlen.x) status = cc1d_varlen_states(&c->varlen, exec);
    return status;
}

static inline void calls_free(calls *c) {
    free(c->backward.scratch);
    free(c->arena.base);
    free(c);
}

#endif
