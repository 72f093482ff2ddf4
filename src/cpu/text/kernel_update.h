/* kernel_update.h - part of the kernel text: update. A vector holds channels; the taps of all its steps are
 * collected first, because states usually hold the steps of one channel side by side. */
#include "kernel_arith.h"

#include "kernel_gather.h"

/* The taps of node t of a tree, in turn, from those of the state and of all nodes. */
SIMD_TARGET static const REAL *NAME(node_taps)(const cc1d_problem *p, int64_t b, int64_t t, const REAL *taps,
                                               REAL *found) {
    const int64_t back = p->width - 1;
    for (int64_t k = 0; k <= back; k++)
        memcpy(found + k * LANES, taps + (back + cc1d_update_tap(p, b, t, back - k)) * LANES,
               LANES * sizeof(REAL));
    return found;
}

/* Step t of channels d..d+n-1. */
SIMD_TARGET static VEC NAME(update_column)(const cc1d_view *v, int64_t b, int64_t d, int64_t t, int n) {
    REAL gathered[LANES];
    NAME(gather)
    (gathered, v, b * v->stride[0] + d * v->stride[1] + t * v->stride[2], v->stride[1], n);
    return LOAD_N(gathered, DTYPE, n);
}

/* The same of x, as taps. */
SIMD_TARGET static void NAME(update_step)(const cc1d_problem *p, int64_t b, int64_t d, int64_t t, REAL *tap,
                                          int n) {
    const cc1d_view *x = &p->view[CC1D_X], *gate = &p->view[CC1D_PRE_GATE];
    _Alignas(64) char rounded[LANES * sizeof(REAL)];
    NAME(gather)(tap, x, b * x->stride[0] + d * x->stride[1] + t * x->stride[2], x->stride[1], n);
    if (!gate->present) return;
    STORE_N(rounded, x->dtype, MUL(LOAD_N(tap, DTYPE, n), NAME(update_column)(gate, b, d, t, n)), n);
    STORE_N(tap, DTYPE, LOAD_N(rounded, x->dtype, n), n);
}

/* y of channels d..d+n-1; in place, also their state moved on. */
SIMD_TARGET static void NAME(update_vector)(const cc1d_problem *p, int64_t b, int64_t row, int64_t d, int n) {
    enum { ROWS = CC1D_MAX_WIDTH + CC1D_UPDATE_STEPS };
    const cc1d_view *x = &p->view[CC1D_X], *state = &p->view[CC1D_STATE], *out = &p->view[CC1D_OUT];
    const cc1d_view *weight = &p->view[CC1D_WEIGHT], *bias = &p->view[CC1D_BIAS];
    const cc1d_view *residual = &p->view[CC1D_RESIDUAL], *gate = &p->view[CC1D_POST_GATE];
    const bool tree = cc1d_has(p, CC1D_PARENTS);
    const int64_t item = (int64_t)cc1d_itemsize(x->dtype), width = p->width;
    const int64_t kept = width < CC1D_UPDATE_KEPT ? width : CC1D_UPDATE_KEPT - 1;
    REAL weights[CC1D_UPDATE_KEPT * LANES], biases[LANES] = {0}, taps[ROWS * LANES];
    REAL found[CC1D_MAX_WIDTH * LANES];
    for (int64_t k = 0; k < kept; k++) NAME(gather)
    (weights + k * LANES, weight, d * weight->stride[0] + k * weight->stride[1], weight->stride[0], n);
    if (bias->present) NAME(gather)(biases, bias, d * bias->stride[0], bias->stride[0], n);
    for (int64_t j = 0; j < width - 1; j++) NAME(gather)
    (taps + j * LANES, state,
     row * state->stride[0] + d * state->stride[1] +
         cc1d_update_position(p, b, j - (width - 1)) * state->stride[2],
     state->stride[1], n);
    for (int64_t t = 0; t < p->seqlen; t++) NAME(update_step)(p, b, d, t, taps + (width - 1 + t) * LANES, n);
    if (p->in_place) cc1d_update_state(p, b, row, d, d + n); /* y is written over x */
    for (int64_t t = 0; t < p->seqlen; t++) {
        _Alignas(64) char packed[LANES * sizeof(REAL)];
        const REAL *oldest = tree ? NAME(node_taps)(p, b, t, taps, found) : taps + t * LANES;
        VEC y = LOAD_N(biases, DTYPE, n);
        for (int64_t k = 0; k < kept; k++)
            y = FMA(LOAD_N(weights + k * LANES, DTYPE, n), LOAD_N(oldest + k * LANES, DTYPE, n), y);
        for (int64_t k = kept; k < width; k++) { /* in turn in the last row */
            REAL *turn = weights + kept * LANES;
            NAME(gather)
            (turn, weight, d * weight->stride[0] + k * weight->stride[1], weight->stride[0], n);
            y = FMA(LOAD_N(turn, DTYPE, n), LOAD_N(oldest + k * LANES, DTYPE, n), y);
        }
        NAME(activate)
        (&y, p->activation, NAME(form_of)(out->dtype, residual->present || cc1d_has_gates(p)), 1);
        if (gate->present) /* an fma, so that no compiler makes another one of it and the sum below */
            y = FMA(y, NAME(update_column)(gate, b, d, t, n), SET((REAL)-0.0));
        if (residual->present) y = ADD(y, NAME(update_column)(residual, b, d, t, n));
        STORE_N(packed, out->dtype, y, n);
        cc1d_copy(cc1d_element(out, b, d, t), out->stride[1], packed, 1, n, item);
    }
}

SIMD_TARGET static void NAME(update)(const cc1d_problem *p, int64_t b, int64_t row, int64_t d0, int64_t d1) {
    static const char zero[sizeof(double)];
    const cc1d_view *out = &p->view[CC1D_OUT];
    if (row < 0) {
        for (int64_t t = 0; t < p->seqlen; t++)
            cc1d_copy(cc1d_element(out, b, d0, t), out->stride[1], zero, 0, d1 - d0,
                      (int64_t)cc1d_itemsize(out->dtype));
    }
    for (int64_t d = d0; d < d1 && row >= 0; d += LANES)
        NAME(update_vector)(p, b, row, d, d1 - d < LANES ? (int)(d1 - d) : LANES);
    cc1d_update_after(p, b, row, d0, d1);
}
