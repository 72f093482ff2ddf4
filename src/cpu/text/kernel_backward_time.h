/* kernel_backward_time.h - part of the kernel text: backward where the steps of a channel are contiguous in
 * memory, or have been packed so. A block of steps goes through two passes: the gradients of the
 * pre-activation, with the weight gradients' sums, into a buffer; then dx from the buffer. */

/* Vectors that make the 16 lanes of a weight gradient's sum. */
#define GROUP (16 / LANES)

/* What a task keeps in its workspace: a thread's stack may be small. */
typedef struct NAME(room) {
    REAL *dpre;          /* the pre-activation's gradients of a block and the W-1 steps after it */
    REAL *weights;       /* W + 1 */
    VEC *sums;           /* (W + 1) * GROUP */
    char *collected;     /* the taps of 16 steps that are not direct */
    REAL *widened;       /* 16-bit steps of a block, as REALs */
    char *x, *dout, *dx; /* GENERAL: packed steps */
} NAME(room);

static NAME(room) NAME(make_room)(const cc1d_problem *p, void *workspace) {
    const cc1d_cpu_room at = cc1d_cpu_room_of(p->width);
    REAL *base = workspace;
    return (NAME(room)){.dpre = base,
                        .weights = base + at.weights,
                        .sums = (VEC *)(void *)(base + at.sums),
                        .collected = (char *)(base + at.collected),
                        .widened = base + at.widened,
                        .x = (char *)(base + at.x),
                        .dout = (char *)(base + at.dout),
                        .dx = (char *)(base + at.dx)};
}

/* Adds dpre[t] * tap of n steps, whole groups, to sums[k * GROUP + i]: lanes i * LANES.. of coefficient k's
 * sum, k = W the bias. x: REALs, the oldest tap of the first step. */
SIMD_INLINE void NAME(sum_steps_of)(VEC *sums, const REAL *dpre, const char *x, int64_t n, int64_t width) {
    for (int64_t t = 0; t < n; t += 16)
        SIMD_EACH (h, GROUP) {
            const int64_t at = t + h * LANES;
            const VEC gradient = LOAD(dpre + at, DTYPE);
            SIMD_UNROLL
            for (int64_t k = 0; k < width; k++) {
                const VEC tap = LOAD(x + (at + k) * (int64_t)sizeof(REAL), DTYPE);
                sums[k * GROUP + h] = FMA(gradient, tap, sums[k * GROUP + h]);
            }
            sums[width * GROUP + h] = ADD(gradient, sums[width * GROUP + h]);
        }
}

SIMD_TARGET static void NAME(sum_steps)(VEC *sums, const REAL *dpre, const char *x, int64_t n,
                                        int64_t width) {
#define SUM_STEPS(constant)                                      \
    if (width == constant) { /* the sums stay in registers */    \
        VEC kept[(constant + 1) * GROUP];                        \
        SIMD_EACH (i, (constant + 1) * GROUP) kept[i] = sums[i]; \
        NAME(sum_steps_of)(kept, dpre, x, n, constant);          \
        SIMD_EACH (i, (constant + 1) * GROUP) sums[i] = kept[i]; \
    } else
    CC1D_EACH_WIDTH(SUM_STEPS)
    NAME(sum_steps_of)(sums, dpre, x, n, width);
#undef SUM_STEPS
}

/* x: REALs. */
SIMD_TARGET static void NAME(convolve_block)(REAL *acc, const REAL *weights, const char *x, int64_t n,
                                             int64_t width) {
    NAME(convolve_as)(acc, weights, x, n, width, DTYPE);
}

/* The pre-activation's gradients of n direct steps, whole groups of one block of sums, to dpre on. x: the
 * oldest tap of the first. */
SIMD_TARGET static void NAME(backward_run)(const cc1d_problem *p, const NAME(room) * room, const char *x,
                                           const char *dout, REAL *dpre, int64_t n) {
    NAME(block) block;
    const int dtype = p->view[CC1D_X].dtype;
    const int64_t item = (int64_t)cc1d_itemsize(dtype);
    if (dtype != DTYPE) {
        NAME(widen_row)(room->widened, x, n + p->width - 1, dtype);
        x = (const char *)room->widened;
    }
    for (int64_t i = 0, m; i < n; i += m) {
        m = n - i < CC1D_BLOCK ? n - i : CC1D_BLOCK;
        if (p->activation != CC1D_ACTIVATION_NONE) NAME(convolve_block)
        (block.acc, room->weights, x + i * (int64_t)sizeof(REAL), m, p->width);
        NAME(block_prepare)(&block, m, p->activation, NAME(SLOPE));
        NAME(block_slopes)(&block, 0, dout + i * item, dpre + i, m, dtype, p->activation);
    }
    NAME(sum_steps)(room->sums, dpre, x, n, p->width);
}

SIMD_INLINE void NAME(dx_at)(const REAL *weights, const REAL *dpre, char *out, int64_t width, int dtype,
                             int64_t at, int count) {
    VEC sum[SIMD_VECTORS];
    SIMD_EACH (i, count) sum[i] = SET(0);
    SIMD_UNROLL
    for (int64_t k = 0; k < width; k++) {
        SIMD_EACH (i, count)
            sum[i] = FMA(SET(weights[k]), LOAD(dpre + at + i * LANES + width - 1 - k, DTYPE), sum[i]);
    }
    SIMD_EACH (i, count) STORE(out + (at + i * LANES) * (int64_t)cc1d_itemsize(dtype), dtype, sum[i]);
}

SIMD_INLINE void NAME(dx_as)(const REAL *weights, const REAL *dpre, char *out, int64_t n, int64_t width,
                             int dtype) {
    const int64_t whole = n / LANES * LANES;
#define DX(constant) \
    if (width == constant) EACH_VECTORS(whole, 1, NAME(dx_at), weights, dpre, out, constant, dtype) else
    CC1D_EACH_WIDTH(DX)
    EACH_VECTORS(whole, 1, NAME(dx_at), weights, dpre, out, width, dtype)
#undef DX
    if (whole == n) return;
    VEC sum = SET(0);
    for (int64_t k = 0; k < width; k++)
        sum = FMA(SET(weights[k]), LOAD(dpre + whole + width - 1 - k, DTYPE), sum);
    STORE_N(out + whole * (int64_t)cc1d_itemsize(dtype), dtype, sum, (int)(n - whole));
}

/* dx of n steps whose own sequence fills the buffer around them. dpre: of the first of them. */
SIMD_TARGET static void NAME(dx_run)(const REAL *weights, const REAL *dpre, char *out, int64_t n,
                                     int64_t width, int dtype) {
#define DX_RUN(as) \
    if (dtype == CC1D_##as) NAME(dx_as)(weights, dpre, out, n, width, CC1D_##as);
    EACH_DTYPE(DX_RUN)
#undef DX_RUN
}

/* Which steps of a stretch t0..t1-1 have plain neighbourhoods, whatever the channel. */
typedef struct NAME(stretch) {
    int64_t t0, t1;
    cc1d_spans taps;  /* of the stretch and the W-1 steps after it: whose taps are direct */
    cc1d_spans ahead; /* of the stretch: which reach only steps of their own sequence */
} NAME(stretch);

/* n <= 16 steps from t on of channel d, direct or not. counted: false where they count in another block. */
SIMD_TARGET static void NAME(backward_group)(const cc1d_problem *p, const cc1d_segment *s,
                                             const NAME(room) * room, int64_t d, int64_t t, int64_t n,
                                             bool direct, cc1d_line x, const char *dout, REAL *dpre,
                                             bool counted) {
    const int dtype = p->view[CC1D_X].dtype;
    const int64_t item = (int64_t)cc1d_itemsize(dtype);
    const bool pads = !direct && cc1d_has_ids(p);
    const char *taps = room->collected;
    int64_t step = 1;
    if (direct)
        taps = cc1d_at(x, t - (p->width - 1), item);
    else
        step = cc1d_collect_taps(p, s, x, d, t, (int)n, room->collected);
    for (int64_t at = 0; at < n; at += LANES) {
        const int lanes = n - at < LANES ? (int)(n - at) : LANES;
        const char *from = taps + at * item;
        VEC gradient = LOAD_N(dout + at * item, dtype, lanes);
        const VEC acc = NAME(convolve_lanes)(room->weights, from, step, p->width, dtype, lanes);
        NAME(deactivate)(&gradient, &acc, p->activation, 1);
        STORE_N(dpre + at, DTYPE, gradient, lanes);
        for (int64_t i = at; i < at + lanes && pads; i++)
            if (cc1d_sequence_id(p, s, t + i) < 0) dpre[i] = 0;
        gradient = LOAD_N(dpre + at, DTYPE, lanes); /* without what is past the end */
        for (int64_t k = 0; k <= p->width && counted; k++) {
            VEC *sum = &room->sums[k * GROUP + at / LANES];
            *sum = k == p->width ? ADD(gradient, *sum)
                                 : FMA(gradient, LOAD_N(from + k * step * item, dtype, lanes), *sum);
        }
    }
}

/* The pre-activation's gradients of steps t0..t1-1 of one channel, to dpre on. */
SIMD_TARGET static void NAME(backward_spans)(const cc1d_problem *p, const cc1d_segment *s,
                                             const NAME(stretch) * stretch, const NAME(room) * room,
                                             int64_t d, int64_t t0, int64_t t1, cc1d_line x, cc1d_line dout,
                                             REAL *dpre, bool counted) {
    const int64_t item = (int64_t)cc1d_itemsize(p->view[CC1D_X].dtype);
    for (int i = 0; i < stretch->taps.count; i++) {
        const cc1d_span span = cc1d_span_within(&stretch->taps, i, t0, t1);
        int64_t t = span.t0;
        if (span.direct && counted && t < span.t1) {
            const int64_t n = (span.t1 - t) / 16 * 16;
            NAME(backward_run)
            (p, room, cc1d_at(x, t - (p->width - 1), item), cc1d_at(dout, t, item), dpre + (t - t0), n);
            t += n;
        }
        for (; t < span.t1; t += 16) NAME(backward_group)
        (p, s, room, d, t, span.t1 - t < 16 ? span.t1 - t : 16, span.direct, x, cc1d_at(dout, t, item),
         dpre + (t - t0), counted);
    }
}

/* dx of n <= LANES steps from t on that reach over the end of their sequence. */
SIMD_TARGET static void NAME(dx_collected)(const cc1d_problem *p, const cc1d_segment *s, const REAL *weights,
                                           int64_t d, int64_t t, int n, const REAL *dpre, char *out) {
    const cc1d_view *dfinal = &p->view[CC1D_DFINAL];
    REAL seed[LANES] = {0}, padding[LANES] = {0}, gradient[LANES];
    for (int i = 0; i < n; i++) {
        const char *from = cc1d_dfinal(p, s, d, t + i);
        if (from)
            seed[i] = (REAL)(sizeof(REAL) == 8 ? cc1d_load_f64(from, dfinal->dtype)
                                               : cc1d_load_f32(from, dfinal->dtype));
        padding[i] = cc1d_sequence_id(p, s, t + i) < 0 ? 1 : 0;
    }
    VEC sum = LOAD(seed, DTYPE);
    for (int64_t k = 0; k < p->width; k++) {
        const int64_t later = p->width - 1 - k;
        for (int i = 0; i < n; i++) {
            const int64_t step = t + i + later; /* dpre is 0 from the end on */
            const bool counts =
                step >= s->end || cc1d_sequence_id(p, s, step) == cc1d_sequence_id(p, s, t + i);
            gradient[i] = counts ? dpre[i + later] : 0;
        }
        sum = FMA(SET(weights[k]), LOAD_N(gradient, DTYPE, n), sum);
    }
    STORE_N(out, p->view[CC1D_DX].dtype, SELECT_LESS(SET(0), LOAD(padding, DTYPE), SET(0), sum), n);
}

/* dx of steps t0..t1-1 of one channel. dpre: of step t0. */
SIMD_TARGET static void NAME(dx_spans)(const cc1d_problem *p, const cc1d_segment *s,
                                       const NAME(stretch) * stretch, const REAL *weights, int64_t d,
                                       int64_t t0, int64_t t1, const REAL *dpre, cc1d_line dx) {
    const int64_t item = (int64_t)cc1d_itemsize(p->view[CC1D_DX].dtype);
    for (int i = 0; i < stretch->ahead.count; i++) {
        const cc1d_span span = cc1d_span_within(&stretch->ahead, i, t0, t1);
        const int64_t step = span.direct ? span.t1 - span.t0 : LANES;
        for (int64_t t = span.t0; t < span.t1; t += step) {
            const int64_t n = span.t1 - t < step ? span.t1 - t : step;
            if (span.direct) NAME(dx_run)
            (weights, dpre + (t - t0), cc1d_at(dx, t, item), n, p->width, p->view[CC1D_DX].dtype);
            else NAME(dx_collected)(p, s, weights, d, t, (int)n, dpre + (t - t0), cc1d_at(dx, t, item));
        }
    }
}

/* Adds the sums of a block to partial. */
SIMD_TARGET static void NAME(add_sums)(const cc1d_problem *p, VEC *sums, double *partial) {
    for (int64_t k = 0; k <= p->width; k++, sums += GROUP) {
        for (int half = GROUP / 2; half > 0; half /= 2)
            for (int i = 0; i < half; i++) sums[i] = ADD(sums[i], sums[i + half]);
        partial[k * p->dim] += (double)SUM(sums[0]);
    }
}

/* Lays out a stretch from t0 on: to limit, or as far as one list of spans goes. */
static void NAME(lay_out)(const cc1d_problem *p, const cc1d_segment *s, int64_t t0, int64_t limit,
                          NAME(stretch) * stretch) {
    enum { MOST = CC1D_SPAN_UNITS * 16 / 2 }; /* the W-1 steps after the stretch go into the same list */
    const int64_t back = p->width - 1;
    stretch->t0 = t0;
    stretch->t1 = cc1d_has_ids(p) && limit - t0 > MOST ? t0 + MOST : limit;
    const int64_t halo = s->end - stretch->t1 < back ? s->end : stretch->t1 + back;
    cc1d_cpu_spans(p, s, t0, halo, 16, back, 0, &stretch->taps);
    /* Past the end the buffer holds zeros: nothing to look out for unless ids or a gradient of the final
     * state do. */
    const bool plain = !cc1d_has_ids(p) && !cc1d_has(p, CC1D_DFINAL);
    cc1d_cpu_spans(p, s, t0, stretch->t1, 16, 0, plain ? 0 : back, &stretch->ahead);
}

/* One channel of a stretch, block by block. */
SIMD_TARGET static void NAME(backward_line)(const cc1d_problem *p, const cc1d_segment *s,
                                            const NAME(stretch) * stretch, int64_t d, cc1d_line x,
                                            cc1d_line dout, cc1d_line dx, double *partial,
                                            const NAME(room) * room) {
    const int64_t back = p->width - 1;
    REAL *dpre = room->dpre;
    NAME(row_weights)(p, d, room->weights);
    for (int64_t t0 = stretch->t0, t1; t0 < stretch->t1; t0 = t1) {
        t1 = stretch->t1 - t0 < CC1D_DW_BLOCK ? stretch->t1 : t0 + CC1D_DW_BLOCK;
        const int64_t halo = s->end - t1 < back ? s->end : t1 + back;
        for (int64_t i = 0; i < (p->width + 1) * GROUP; i++) room->sums[i] = SET(0);
        NAME(backward_spans)(p, s, stretch, room, d, t0, t1, x, dout, dpre, true);
        if (partial) NAME(add_sums)(p, room->sums, partial);
        if (!dx.base) continue;
        NAME(backward_spans)(p, s, stretch, room, d, t1, halo, x, dout, dpre + (t1 - t0), false);
        memset(dpre + (halo - t0), 0, (size_t)(t1 + back - halo) * sizeof(REAL));
        NAME(dx_spans)(p, s, stretch, room->weights, d, t0, t1, dpre, dx);
    }
}

SIMD_TARGET static void NAME(backward_time)(const cc1d_problem *p, const cc1d_segment *s, double *partial,
                                            void *workspace) {
    const NAME(room) room = NAME(make_room)(p, workspace);
    NAME(stretch) stretch;
    for (int64_t t = s->t0; t < s->t1; t = stretch.t1) {
        NAME(lay_out)(p, s, t, s->t1, &stretch);
        for (int64_t d = s->d0; d < s->d1; d++) NAME(backward_line)
        (p, s, &stretch, d, cc1d_line_of(&p->view[CC1D_X], s->b, d),
         cc1d_line_of(&p->view[CC1D_DOUT], s->b, d), cc1d_line_of(&p->view[CC1D_DX], s->b, d),
         partial ? partial + (d - s->d0) : NULL, &room);
    }
}

SIMD_TARGET static void NAME(backward_general)(const cc1d_problem *p, const cc1d_segment *s, double *partial,
                                               void *workspace) {
    const NAME(room) room = NAME(make_room)(p, workspace);
    const cc1d_view *to = &p->view[CC1D_DX];
    const int64_t back = p->width - 1;
    NAME(stretch) stretch;
    for (int64_t t = s->t0; t < s->t1; t = stretch.t1) {
        NAME(lay_out)(p, s, t, s->t1 - t < CC1D_DW_BLOCK ? s->t1 : t + CC1D_DW_BLOCK, &stretch);
        const int64_t first = t - back > s->start ? t - back : s->start;
        const int64_t halo = s->end - stretch.t1 < back ? s->end : stretch.t1 + back;
        for (int64_t d = s->d0; d < s->d1; d++) {
            NAME(backward_line)
            (p, s, &stretch, d, cc1d_pack(&p->view[CC1D_X], s->b, d, first, halo, room.x),
             cc1d_pack(&p->view[CC1D_DOUT], s->b, d, t, halo, room.dout),
             (cc1d_line){to->present ? room.dx : NULL, t}, partial ? partial + (d - s->d0) : NULL, &room);
            if (to->present)
                cc1d_copy(cc1d_element(to, s->b, d, t), to->stride[2], room.dx, 1, stretch.t1 - t,
                          (int64_t)cc1d_itemsize(to->dtype));
        }
    }
}

#undef GROUP
