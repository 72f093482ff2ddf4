/* scalar_text.h - the scalar arithmetic, included by scalar.c once for float and once for double.
 * Parameters: REAL, the type computed in; NAME(name), a function's name for that type. Both are undefined at
 * the end. */

static REAL NAME(load)(const char *at, int32_t dtype) {
    return at ? (REAL)(sizeof(REAL) == 8 ? cc1d_load_f64(at, dtype) : cc1d_load_f32(at, dtype)) : 0;
}

static void NAME(store)(const cc1d_view *v, int64_t i, int64_t j, int64_t k, REAL value) {
    char *to = cc1d_element(v, i, j, k);
    if (sizeof(REAL) == 8)
        cc1d_store_f64(to, v->dtype, value);
    else
        cc1d_store_f32(to, v->dtype, (float)value);
}

static REAL NAME(fused)(REAL a, REAL b, REAL c) {
    return (REAL)(sizeof(REAL) == 8 ? fma(a, b, c) : fmaf((float)a, (float)b, (float)c));
}

/* A product that no compiler makes one operation of with a sum that it enters. */
static REAL NAME(product)(REAL a, REAL b) { return NAME(fused)(a, b, (REAL)-0.0); }

static REAL NAME(weight)(const cc1d_problem *p, int64_t d, int64_t k) {
    return NAME(load)(cc1d_element(&p->view[CC1D_WEIGHT], d, k, 0), p->view[CC1D_WEIGHT].dtype);
}

static REAL NAME(bias)(const cc1d_problem *p, int64_t d) {
    return cc1d_has(p, CC1D_BIAS)
               ? NAME(load)(cc1d_element(&p->view[CC1D_BIAS], d, 0, 0), p->view[CC1D_BIAS].dtype)
               : 0;
}

static REAL NAME(activated)(const cc1d_problem *p, REAL acc) {
    const bool brief =
        cc1d_is_brief(p->view[CC1D_X].dtype) && !cc1d_has(p, CC1D_RESIDUAL) && !cc1d_has_gates(p);
    return NAME(cc1d_activate)(p->activation, acc, brief);
}

/* An element of x, or of what has its shape. */
static REAL NAME(at)(const cc1d_problem *p, cc1d_role role, int64_t b, int64_t d, int64_t t) {
    return NAME(load)(cc1d_element(&p->view[role], b, d, t), p->view[role].dtype);
}

/* Step t of x as a tap. */
static REAL NAME(step)(const cc1d_problem *p, int64_t b, int64_t d, int64_t t) {
    const REAL x = NAME(at)(p, CC1D_X, b, d, t);
    if (!cc1d_has(p, CC1D_PRE_GATE)) return x;
    const REAL tap = NAME(product)(x, NAME(at)(p, CC1D_PRE_GATE, b, d, t));
    return sizeof(REAL) == 8 ? tap : (REAL)cc1d_rounded_f32((float)tap, p->view[CC1D_X].dtype);
}

/* y from what the activation gives. */
static REAL NAME(finished)(const cc1d_problem *p, REAL y, int64_t b, int64_t d, int64_t t) {
    if (cc1d_has(p, CC1D_POST_GATE)) y = NAME(product)(y, NAME(at)(p, CC1D_POST_GATE, b, d, t));
    return cc1d_has(p, CC1D_RESIDUAL) ? y + NAME(at)(p, CC1D_RESIDUAL, b, d, t) : y;
}

static REAL NAME(tap)(const cc1d_problem *p, const cc1d_segment *s, int64_t d, int64_t now, int64_t step) {
    const char *tap = cc1d_tap(p, s, d, now, step);
    if (!tap) return 0;
    return step < s->start ? NAME(load)(tap, s->past->dtype) : NAME(step)(p, s->b, d, step);
}

/* The pre-activation of step t. */
static REAL NAME(convolve)(const cc1d_problem *p, const cc1d_segment *s, int64_t d, int64_t t) {
    REAL acc = NAME(bias)(p, d);
    for (int64_t k = 0; k < p->width; k++)
        acc = NAME(fused)(NAME(weight)(p, d, k), NAME(tap)(p, s, d, t, t - (p->width - 1) + k), acc);
    return acc;
}

static void NAME(forward)(const cc1d_problem *p, const cc1d_segment *s) {
    for (int64_t d = s->d0; d < s->d1; d++) {
        for (int64_t t = s->t0; t < s->t1; t++) {
            REAL y = 0;
            if (!is_padding(p, s, t))
                y = NAME(finished)(p, NAME(activated)(p, NAME(convolve)(p, s, d, t)), s->b, d, t);
            NAME(store)(&p->view[CC1D_OUT], s->b, d, t, y);
        }
    }
}

/* The gradient of step t's pre-activation; 0 at padding and past the sequence. */
static REAL NAME(dpre)(const cc1d_problem *p, const cc1d_segment *s, int64_t d, int64_t t) {
    if (t < s->start || t >= s->end || is_padding(p, s, t)) return 0;
    REAL dout = NAME(at)(p, CC1D_DOUT, s->b, d, t);
    if (cc1d_has(p, CC1D_POST_GATE)) dout = NAME(product)(dout, NAME(at)(p, CC1D_POST_GATE, s->b, d, t));
    if (p->activation == CC1D_ACTIVATION_NONE) return dout;
    return NAME(cc1d_deactivate)(p->activation, dout, NAME(convolve)(p, s, d, t));
}

/* The gradient of step `step`, or of the initial state before the sequence. dpre[i] belongs to step t0 + i;
 * NULL: computed here. */
static REAL NAME(dtap)(const cc1d_problem *p, const cc1d_segment *s, int64_t d, int64_t step,
                       const REAL *dpre, int64_t t0) {
    const int64_t id = s->end > s->start ? cc1d_sequence_id(p, s, step) : 0;
    if (id < 0 && step >= s->start) return 0;
    REAL sum = NAME(load)(cc1d_dfinal(p, s, d, step), p->view[CC1D_DFINAL].dtype);
    if (id < 0 || s->end == s->start) return sum; /* no step sees this state: a weight of infinity neither */
    for (int64_t k = 0; k < p->width; k++) {
        const int64_t t = step + p->width - 1 - k;
        REAL gradient = 0;
        if (t >= s->start && t < s->end && cc1d_sequence_id(p, s, t) == id)
            gradient = dpre ? dpre[t - t0] : NAME(dpre)(p, s, d, t);
        sum = NAME(fused)(NAME(weight)(p, d, k), gradient, sum);
    }
    return sum;
}

/* Sums of dpre[t] * tap over steps t0..t1-1 for coefficient k (W: the bias), in the order of kernels.h. */
static REAL NAME(sum_block)(const cc1d_problem *p, const cc1d_segment *s, int64_t d, int64_t k, int64_t t0,
                            int64_t t1, int64_t lanes, const REAL *dpre) {
    REAL sum[16] = {0};
    for (int64_t t = t0; t < t1; t++) {
        REAL *lane = &sum[(t - t0) % lanes];
        if (k == p->width)
            *lane += dpre[t - t0];
        else
            *lane = NAME(fused)(dpre[t - t0], NAME(tap)(p, s, d, t, t - (p->width - 1) + k), *lane);
    }
    for (int64_t half = lanes / 2; half > 0; half /= 2)
        for (int64_t l = 0; l < half; l++) sum[l] += sum[l + half];
    return sum[0];
}

/* What becomes of the gradient of step t as a tap. dpre: from step t0 on. */
static void NAME(store_gradients)(const cc1d_problem *p, const cc1d_segment *s, int64_t d, int64_t t,
                                  const REAL *dpre, int64_t t0) {
    const bool live = !is_padding(p, s, t);
    const REAL gradient = live ? NAME(dtap)(p, s, d, t, dpre, t0) : 0;
    const bool gated = live && cc1d_has(p, CC1D_PRE_GATE);
    if (cc1d_has(p, CC1D_DX)) NAME(store)
    (&p->view[CC1D_DX], s->b, d, t,
     gated ? NAME(product)(gradient, NAME(at)(p, CC1D_PRE_GATE, s->b, d, t)) : gradient);
    if (cc1d_has(p, CC1D_DPRE_GATE)) NAME(store)
    (&p->view[CC1D_DPRE_GATE], s->b, d, t,
     gated ? NAME(product)(gradient, NAME(at)(p, CC1D_X, s->b, d, t)) : gradient);
}

static void NAME(store_post_gradient)(const cc1d_problem *p, const cc1d_segment *s, int64_t d, int64_t t) {
    REAL gradient = 0;
    if (!is_padding(p, s, t))
        gradient =
            NAME(product)(NAME(at)(p, CC1D_DOUT, s->b, d, t), NAME(activated)(p, NAME(convolve)(p, s, d, t)));
    NAME(store)(&p->view[CC1D_DPOST_GATE], s->b, d, t, gradient);
}

static void NAME(backward)(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s, double *partial,
                           void *workspace) {
    REAL *dpre = workspace;
    const int64_t step = path == CC1D_PATH_CHANNEL ? CC1D_DW_RUN : CC1D_DW_BLOCK,
                  lanes = path == CC1D_PATH_CHANNEL ? 1 : 16;
    for (int64_t d = s->d0; d < s->d1; d++) {
        for (int64_t t0 = s->t0; t0 < s->t1; t0 += step) {
            const int64_t t1 = t0 + step < s->t1 ? t0 + step : s->t1;
            for (int64_t t = t0; t < t1 + p->width - 1; t++) dpre[t - t0] = NAME(dpre)(p, s, d, t);
            if (cc1d_has(p, CC1D_DX) || cc1d_has(p, CC1D_DPRE_GATE))
                for (int64_t t = t0; t < t1; t++) NAME(store_gradients)(p, s, d, t, dpre, t0);
            for (int64_t t = t0; t < t1 && cc1d_has(p, CC1D_DPOST_GATE); t++)
                NAME(store_post_gradient)(p, s, d, t);
            if (partial)
                for (int64_t k = 0; k <= p->width; k++)
                    partial[k * p->dim + d - s->d0] +=
                        (double)NAME(sum_block)(p, s, d, k, t0, t1, lanes, dpre);
        }
    }
}

static void NAME(dinitial)(const cc1d_problem *p, const cc1d_segment *s) {
    enum { BUFFERED = 256 };
    REAL dpre[BUFFERED];
    const int64_t steps = p->width - 1; /* the sequence's first W-1 steps are all that a state reaches */
    for (int64_t d = s->d0; d < s->d1; d++) {
        for (int64_t i = 0; i < steps && steps <= BUFFERED; i++) dpre[i] = NAME(dpre)(p, s, d, s->start + i);
        for (int64_t j = 0; j < steps; j++) {
            const REAL *buffered = steps <= BUFFERED ? dpre : NULL;
            NAME(store)
            (&p->view[CC1D_DINITIAL], s->n, d, j,
             NAME(dtap)(p, s, d, s->start - steps + j, buffered, s->start));
        }
    }
}

static void NAME(update)(const cc1d_problem *p, int64_t b, int64_t row, int64_t d) {
    for (int64_t t = 0; t < p->seqlen; t++) {
        REAL y = 0;
        if (row >= 0) {
            REAL acc = NAME(bias)(p, d);
            for (int64_t k = 0; k < p->width; k++) {
                int32_t dtype;
                const int64_t step = cc1d_update_tap(p, b, t, p->width - 1 - k);
                const char *at = tap_address(p, b, row, d, t, step, &dtype);
                const REAL tap = is_in_x(p, t, step) ? NAME(step)(p, b, d, step) : NAME(load)(at, dtype);
                acc = NAME(fused)(NAME(weight)(p, d, k), tap, acc);
            }
            y = NAME(finished)(p, NAME(activated)(p, acc), b, d, t);
            if (p->in_place) cc1d_update_state_step(p, b, row, d, t);
        }
        NAME(store)(&p->view[CC1D_OUT], b, d, t, y);
    }
}

#undef REAL
#undef NAME
