/* test_plan.c - GPU plans: every element is computed exactly once, packs are aligned, limits hold, huge sizes
 * do not overflow. Pure: no GPU is needed. */
#include "plan_cover.h"

static const int dtypes[] = {CC1D_FLOAT32, CC1D_FLOAT16, CC1D_BFLOAT16, CC1D_FLOAT64};
static const int64_t shapes[][3] = {{1, 1, 1},   {2, 3, 5},   {1, 9, 64},   {3, 5, 255}, {2, 33, 256},
                                    {1, 2, 257}, {2, 64, 31}, {1, 1, 5000}, {7, 130, 3}, {1, 257, 1}};

static void test_divisors(void) {
    const uint32_t top = INT32_MAX;
    for (uint32_t d = 1; d < 3000; d++) {
        const cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_FLOAT32, TIME, 1, d, 64, 4);
        cc1d_plan plan;
        CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
        cc1d_conv_params q;
        memcpy(&q, plan.launch[0].words, sizeof q);
        const uint32_t by = (uint32_t)q.middle.divisor;
        CHECK(by == d);
        const uint32_t numbers[] = {0,      1, by - 1, by, by + 1, 12345678, top / by * by - 1, top / by * by,
                                    top - 1};
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
            CHECK(divided(numbers[i], q.middle) == numbers[i] / by);
    }
}

static void cover_all(cc1d_operation op, cc1d_device device) {
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int how = 0; how < LAYOUTS; how++)
            for (int i = 0; i < (device == CC1D_CUDA ? 4 : 3); i++)
                for (int w = 1; w <= 10; w += 3) {
                    cc1d_problem p =
                        convolution(op, dtypes[i], (layout)how, shapes[s][0], shapes[s][1], shapes[s][2], w);
                    cc1d_plan plan;
                    p.device = device;
                    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
                    for (int l = 0; l < plan.launch_count; l++) {
                        const cc1d_launch *launch = &plan.launch[l];
                        check_limits(launch);
                        if (launch->kernel != cc1d_kernel_names[CC1D_KERNEL_BACKWARD_REDUCE] &&
                            launch->kernel != cc1d_kernel_names[CC1D_KERNEL_BACKWARD_WIDE_DWEIGHT])
                            check_cover(&p, launch, p.batch, p.seqlen);
                    }
                }
}

static void test_forward_covers(void) {
    cover_all(CC1D_OP_FORWARD, CC1D_CUDA);
    cover_all(CC1D_OP_FORWARD, CC1D_METAL);
}

static void test_backward_covers(void) {
    cover_all(CC1D_OP_BACKWARD, CC1D_CUDA);
    cover_all(CC1D_OP_BACKWARD, CC1D_METAL);
}

static void test_states_cover(void) {
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        cc1d_problem p =
            convolution(CC1D_OP_FORWARD, CC1D_FLOAT16, TIME, shapes[s][0], shapes[s][1], shapes[s][2], 4);
        add_states(&p, CC1D_INITIAL, 3);
        add_states(&p, CC1D_FINAL, 3);
        cc1d_plan plan;
        CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
        CHECK(plan.launch_count == 2 && is(&plan.launch[1], CC1D_KERNEL_VARLEN_STATES));
        CHECK(binds(&plan.launch[1], CC1D_INITIAL) && binds(&plan.launch[1], CC1D_FINAL));
        check_limits(&plan.launch[1]);
        check_cover(&p, &plan.launch[1], p.sequences, 3);
    }
}

/* States of positions: as many as those, whatever the sequences and the rows that they are written to. */
static void test_positions_cover(void) {
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        enum { ROWS = 1000, STEPS = 5 };
        const int64_t wanted = 2 * shapes[s][0] + 1;
        cc1d_problem p = convolution(CC1D_OP_VARLEN_STATES, CC1D_FLOAT16, TIME, 1, shapes[s][1], 64, 1);
        p.view[CC1D_CU] = view_of(CC1D_INT32, 2, 1, 1, 1, 1, 1);
        p.view[CC1D_POSITIONS] = p.view[CC1D_OUT_INDICES] = view_of(CC1D_INT64, wanted, 1, 1, 1, 1, 1);
        p.view[CC1D_INITIAL] = view_of(CC1D_FLOAT32, 1, p.dim, STEPS + 2, 1, STEPS + 2, 1);
        p.view[CC1D_FINAL] = view_of(CC1D_BFLOAT16, ROWS, p.dim, STEPS, p.dim * STEPS, STEPS, 1);
        p.entries = wanted, p.pool_rows = ROWS, p.state_len = STEPS, p.initial_len = STEPS + 2;
        cc1d_plan plan;
        CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
        CHECK(plan.launch_count == 1 && is(&plan.launch[0], CC1D_KERNEL_VARLEN_STATES));
        CHECK(binds(&plan.launch[0], CC1D_POSITIONS) && binds(&plan.launch[0], CC1D_OUT_INDICES));
        check_limits(&plan.launch[0]);
        check_cover(&p, &plan.launch[0], wanted, STEPS);
        p.entries = 0;
        CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
        CHECK(plan.launch_count == 0);
    }
}

/* Which (sequence, channel) each thread of the pool's launch takes. */
static void check_pool_cover(const cc1d_problem *p, const cc1d_launch *l) {
    cc1d_conv_params q;
    memcpy(&q, l->words, sizeof q);
    const size_t count = (size_t)(p->sequences * p->dim);
    uint8_t *counts = calloc(count, 1);
    for (uint32_t slab = 0; slab < l->groups[1]; slab++)
        for (uint32_t unit = 0; unit < l->groups[0] * l->group_size[0]; unit++) {
            const uint32_t row = divided(unit, q.inner), d = unit - row * (uint32_t)q.inner.divisor;
            const int64_t n = row + (int64_t)slab * q.slab;
            if (unit < (uint32_t)q.units && n < q.sequences) counts[n * p->dim + d]++;
        }
    for (size_t i = 0; i < count; i++) CHECK(counts[i] == 1);
    free(counts);
}

/* Rows are read by forward's launch and written by one that comes after it. */
static void test_pool(void) {
    static const int64_t sizes[][4] = {
        {1, 1, 1, 3}, {2, 33, 5, 3}, {3, 64, 300, 5}, {70, 257, 2, 9}, {2, 8, 64, 0}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int how = 0; how < LAYOUTS; how++)
            for (int device = CC1D_CUDA; device <= CC1D_METAL; device++) {
                const int64_t *n = sizes[s];
                cc1d_problem p =
                    convolution(CC1D_OP_FORWARD, CC1D_BFLOAT16, (layout)how, n[0], n[1], n[2], n[3] ? 4 : 1);
                p.device = (cc1d_device)device;
                add_pool(&p, CC1D_FLOAT32, n[0] + 2, n[3], n[1] * n[3]);
                cc1d_plan plan;
                CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
                CHECK(plan.launch_count == (n[3] ? 2 : 1) && binds(&plan.launch[0], CC1D_INDICES));
                CHECK(binds(&plan.launch[0], CC1D_HAS_INITIAL) == (n[3] > 0));
                check_limits(&plan.launch[0]);
                check_cover(&p, &plan.launch[0], p.batch, p.seqlen);
                if (!n[3]) continue;
                const cc1d_launch *last = &plan.launch[1];
                CHECK(is(last, CC1D_KERNEL_POOL_STATES) && last->waits_itself && binds(last, CC1D_STATE));
                check_limits(last);
                check_pool_cover(&p, last);
            }
}

/* A pool that is not read costs forward nothing; one without new steps is written nonetheless, by a launch
 * that has none of ours to wait for. */
static void test_pool_alone(void) {
    cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_FLOAT16, TIME, 2, 8, 100, 4);
    static cc1d_plan plain, plan;
    CHECK_STATUS(cc1d_make_plan(&p, &plain), CC1D_OK);
    add_pool(&p, CC1D_FLOAT16, 4, 3, 24);
    p.view[CC1D_INDICES].present = p.view[CC1D_HAS_INITIAL].present = false;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(plan.launch_count == 2 && memcmp(plan.launch[0].key, plain.launch[0].key, CC1D_PLAN_KEY) == 0);
    CHECK(plan.launch[0].word_count == plain.launch[0].word_count);
    p.seqlen = p.view[CC1D_X].shape[2] = p.view[CC1D_OUT].shape[2] = 0;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(plan.launch_count == 1 && is(plan.launch, CC1D_KERNEL_POOL_STATES) && !plan.launch->waits_itself);
}

/* Rows of a pool may be parts of something much larger: x's offsets stay narrow. */
static void test_pool_rows_far_apart(void) {
    cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_BFLOAT16, CHANNEL, 1, 256, 1000, 4);
    add_pool(&p, CC1D_BFLOAT16, 1000, 3, (int64_t)1 << 40);
    cc1d_plan plan;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    for (int l = 0; l < plan.launch_count; l++) {
        cc1d_conv_params q;
        memcpy(&q, plan.launch[l].words, sizeof q);
        CHECK(!plan.launch[l].key[CC1D_KEY_OFFSET64] && long_of(q.initial.stride[0]) == (int64_t)1 << 40);
        CHECK(q.rows == 1000 && q.state_len == 3 && long_of(q.pad_slot_id) == -1);
    }
    p.view[CC1D_STATE].shape[2] = p.state_len = INT32_MAX - 65536;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_ERROR_UNSUPPORTED);
    CHECK(strstr(cc1d_last_error(), "conv_states: ") == cc1d_last_error());
}

/* The parts that the gradients' first pass writes are the parts that the reduction reads, inside the scratch.
 */
static void test_scratch(void) {
    for (int how = 0; how < LAYOUTS; how++)
        for (int w = 4; w <= 9; w += 5) {
            const cc1d_problem p = convolution(CC1D_OP_BACKWARD, CC1D_BFLOAT16, (layout)how, 3, 40, 1000, w);
            cc1d_plan plan;
            CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
            const cc1d_launch *last = &plan.launch[plan.launch_count - 1], *first = last - 1;
            CHECK(is(last, CC1D_KERNEL_BACKWARD_REDUCE) && binds(first, CC1D_SCRATCH));
            cc1d_reduce_params r;
            cc1d_conv_params q;
            memcpy(&r, last->words, sizeof r);
            memcpy(&q, first->words, sizeof q);
            CHECK(r.parts == q.parts && r.parts > 0);
            CHECK(long_of(r.partials) == long_of(q.partials));
            const int64_t end = long_of(r.partials) + (int64_t)r.parts * (w + 1) * p.dim;
            CHECK((int64_t)plan.scratch_bytes >= end * 4);
            CHECK((int64_t)plan.scratch_bytes <= end * 4 + 64);
        }
}

static void test_gradients_on_request(void) {
    cc1d_problem p = convolution(CC1D_OP_BACKWARD, CC1D_FLOAT32, TIME, 2, 8, 100, 4);
    cc1d_plan plan;
    p.view[CC1D_DWEIGHT].present = p.view[CC1D_DBIAS].present = false;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(plan.launch_count == 1 && plan.scratch_bytes == 0 && binds(&plan.launch[0], CC1D_DX));
    p.view[CC1D_DX].present = false;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(plan.launch_count == 0);
    p.view[CC1D_DBIAS].present = true;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(plan.launch_count == 2 && !binds(&plan.launch[0], CC1D_DX));
    CHECK(binds(&plan.launch[1], CC1D_DBIAS) && !binds(&plan.launch[1], CC1D_DWEIGHT));
    add_states(&p, CC1D_DINITIAL, 3);
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(plan.launch_count == 3 && binds(&plan.launch[2], CC1D_DINITIAL));
}

static void test_empty(void) {
    cc1d_plan plan;
    for (int i = 0; i < 3; i++) {
        const int64_t n[3] = {i == 0 ? 0 : 2, i == 1 ? 0 : 8, i == 2 ? 0 : 16};
        cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_FLOAT32, TIME, n[0], n[1], n[2], 4);
        CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
        CHECK(plan.launch_count == 0);
        p = convolution(CC1D_OP_BACKWARD, CC1D_FLOAT32, TIME, n[0], n[1], n[2], 4);
        CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
        /* Gradients of weights that nothing used are zeros, which somebody must write. */
        CHECK(plan.launch_count == (n[1] > 0) && (n[1] == 0 || is(plan.launch, CC1D_KERNEL_BACKWARD_REDUCE)));
    }
}

/* Whether every pack of `vec` elements that starts at a multiple of vec of the dense dimension is aligned. */
static bool aligned(const cc1d_view *v, int dense, int64_t vec) {
    const int64_t item = (int64_t)cc1d_itemsize(v->dtype);
    if ((int64_t)((uintptr_t)v->data) % (vec * item)) return false;
    for (int i = 0; i < 3; i++)
        if (i != dense && v->shape[i] > 1 && v->stride[i] % vec) return false;
    return vec == 1 || v->shape[dense] == 1 || v->stride[dense] == 1;
}

static void test_packs_are_aligned(void) {
    for (int how = 0; how < LAYOUTS; how++)
        for (int i = 0; i < 4; i++)
            for (int64_t d = 1; d < 40; d++) {
                const cc1d_problem p = convolution(CC1D_OP_FORWARD, dtypes[i], (layout)how, 2, d, 24, 4);
                cc1d_plan plan;
                CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
                const cc1d_launch *l = &plan.launch[0];
                const int vec = l->key[CC1D_KEY_VEC];
                if (is(l, CC1D_KERNEL_FORWARD_CHANNEL))
                    CHECK(aligned(&p.view[CC1D_X], 1, vec) && aligned(&p.view[CC1D_OUT], 1, vec));
                else if (!l->key[CC1D_KEY_PARTIAL_PACKS])
                    CHECK(aligned(&p.view[CC1D_X], 2, vec) && aligned(&p.view[CC1D_OUT], 2, vec));
            }
}

static void test_skewed_rows(void) {
    cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_BFLOAT16, TIME, 2, 8, 1024, 4);
    cc1d_plan plan;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(!plan.launch[0].key[CC1D_KEY_X_SKEWED] && !plan.launch[0].key[CC1D_KEY_PARTIAL_PACKS]);
    p.view[CC1D_X] = tensor_of(CC1D_BFLOAT16, TIME_SLICE, 2, 8, 1024);
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(plan.launch[0].key[CC1D_KEY_X_SKEWED] && plan.launch[0].key[CC1D_KEY_PARTIAL_PACKS]);
    p.view[CC1D_OUT] = p.view[CC1D_X];
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(!plan.launch[0].key[CC1D_KEY_X_SKEWED] && plan.launch[0].key[CC1D_KEY_PARTIAL_PACKS]);
}

static void test_weights_are_loaded_wide_where_they_may(void) {
    cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_BFLOAT16, TIME, 1, 8, 64, 4);
    cc1d_plan plan;
    cc1d_make_plan(&p, &plan);
    CHECK(plan.launch[0].key[CC1D_KEY_WEIGHT_WORDS] == 4);
    p.view[CC1D_WEIGHT].data = address_of(4);
    cc1d_make_plan(&p, &plan);
    CHECK(plan.launch[0].key[CC1D_KEY_WEIGHT_WORDS] == 0);
    p.view[CC1D_WEIGHT] = view_of(CC1D_FLOAT16, 8, 4, 1, 4, 1, 1);
    cc1d_make_plan(&p, &plan);
    CHECK(plan.launch[0].key[CC1D_KEY_WEIGHT_WORDS] == 2);
    p.view[CC1D_WEIGHT] = view_of(CC1D_FLOAT16, 8, 4, 1, 1, 8, 1);
    cc1d_make_plan(&p, &plan);
    CHECK(plan.launch[0].key[CC1D_KEY_WEIGHT_WORDS] == 0);
}

/* Forward computes one load per team, however many rows there are to spread over. */
static void test_packed_forward(void) {
    const int64_t many_rows[][3] = {{8, 512, 2048}, {1, 4096, 512}, {2, 1024, 4096}};
    for (size_t i = 0; i < sizeof many_rows / sizeof *many_rows; i++)
        for (int dtype = CC1D_FLOAT32; dtype <= CC1D_BFLOAT16; dtype++) {
            const int64_t *n = many_rows[i];
            cc1d_problem p = convolution(CC1D_OP_FORWARD, dtype, TIME, n[0], n[1], n[2], 4);
            p.view[CC1D_SEQ_IDX] = view_of(CC1D_INT32, n[0], n[2], 1, n[2], 1, 0);
            cc1d_plan plan;
            CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
            check_cover(&p, &plan.launch[0], n[0], n[2]);
        }
}

static void test_update(void) {
    for (int how = 0; how < LAYOUTS; how++)
        for (int i = 0; i < 4; i++)
            for (int64_t s = 3; s < 6; s++) {
                const cc1d_problem p = decoding(dtypes[i], (layout)how, 512, 2048, 1, 4, s);
                cc1d_plan plan;
                CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
                const cc1d_launch *l = &plan.launch[0];
                const int64_t vec = l->key[CC1D_KEY_VEC], rows = l->key[CC1D_KEY_UNROLL];
                CHECK(plan.launch_count == 1 && is(l, CC1D_KERNEL_UPDATE_STEP));
                check_limits(l);
                cc1d_update_params q;
                memcpy(&q, l->words, sizeof q);
                const int64_t columns = (int64_t)1 << q.column_bits, bundles = l->group_size[0] / columns;
                CHECK(p.dim % vec == 0 && l->groups[0] == (uint32_t)q.units);
                CHECK(q.units % q.slab == 0 && q.units / q.slab * columns * vec >= p.dim);
                CHECK((int64_t)q.slab * l->groups[1] * bundles * rows >= p.batch);
                CHECK(aligned(&p.view[CC1D_X], 1, 1) && aligned(&p.view[CC1D_STATE], how == TIME ? 2 : 1, 1));
                /* A pack of a state in rows is part of vec channels' steps. */
                const bool several = dtypes[i] != CC1D_FLOAT64; /* of which a pack holds one */
                const int64_t bytes = s * (int64_t)cc1d_itemsize(dtypes[i]);
                if (how == TIME && (bytes == 8 || bytes == 16)) /* one access of 16 bytes */
                    CHECK(vec * bytes == 16 && l->key[CC1D_KEY_STATE_ROWS] == 2);
                else if (how == TIME)
                    CHECK((vec > 1) == several && l->key[CC1D_KEY_STATE_ROWS] == several);
                if (how == CHANNEL) CHECK((vec > 1) == several && !l->key[CC1D_KEY_STATE_ROWS]);
                if (how == EVERY_SECOND) CHECK(vec == 1);
            }
    cc1d_problem p = decoding(CC1D_FLOAT16, TIME, 4, 64, 3, 4, 8);
    cc1d_plan plan;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(is(&plan.launch[0], CC1D_KERNEL_UPDATE));
    /* No row, but steps whose y is 0. */
    p = decoding(CC1D_FLOAT16, CHANNEL, 1, 64, 3, 4, 8);
    p.batch = p.sequences = 0;
    p.view[CC1D_CU] = view_of(CC1D_INT32, 1, 1, 1, 1, 1, 1);
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(plan.launch_count == 1 && is(&plan.launch[0], CC1D_KERNEL_UPDATE));
    cc1d_update_params q;
    memcpy(&q, plan.launch[0].words, sizeof q);
    CHECK(q.batch == 1 && q.sequences == 0 && q.total == 3 && q.units == 64);
}

static void test_huge(void) {
    const int64_t million = 1 << 20;
    const int64_t sizes[][3] = {{1, 4096, 4 * million},
                                {8 * million, 4096, 1},
                                {2 * million, 2048, 64},
                                {1, 200 * million, 16},
                                {3, 1, 2000 * million}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int how = TIME; how <= CHANNEL; how++)
            for (int op = CC1D_OP_FORWARD; op <= CC1D_OP_BACKWARD; op++) {
                const cc1d_problem p = convolution((cc1d_operation)op, CC1D_BFLOAT16, (layout)how,
                                                   sizes[i][0], sizes[i][1], sizes[i][2], 4);
                cc1d_plan plan;
                CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
                for (int l = 0; l < plan.launch_count; l++) {
                    check_limits(&plan.launch[l]);
                    CHECK(plan.launch[l].key[CC1D_KEY_OFFSET64] == 1);
                }
                cc1d_conv_params q;
                memcpy(&q, plan.launch[0].words, sizeof q);
                CHECK(q.slab > 0 && q.units > 0);
                CHECK((int64_t)q.slab * plan.launch[0].groups[1] >= p.batch);
                CHECK((int64_t)q.slab * (plan.launch[0].groups[1] - 1) < p.batch);
                CHECK(long_of(q.x.stride[0]) == (p.batch > 1 ? p.view[CC1D_X].stride[0] : 0));
            }
}

/* Refused, with the argument's name, before any count of 32 or 64 bits overflows. */
static void test_too_large(void) {
    const int64_t most = INT32_MAX - 65536;
    const struct {
        cc1d_operation op;
        int64_t batch, dim, seqlen, width;
        const char *text;
    } cases[] = {
        {CC1D_OP_FORWARD, 1, 1, (int64_t)1 << 40, 4, "seqlen: "},
        {CC1D_OP_FORWARD, 1, 1, 8, INT64_MAX, "width: "},
        {CC1D_OP_FORWARD, 1, 1, most, 4, "weight: "},
        {CC1D_OP_BACKWARD, 1, 1, 8, most, "weight: "},
        {CC1D_OP_BACKWARD, most, most, most - 9, 9, "x: "},
        {CC1D_OP_BACKWARD, most, 1, 65536, 4, "x: "},      /* more than 2^31 parts of 4096 steps */
        {CC1D_OP_BACKWARD, 1 << 24, 1, 1 << 20, 9, "x: "}, /* and of 512 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int how = TIME; how <= CHANNEL; how++) {
            cc1d_problem p = convolution(cases[i].op, CC1D_FLOAT32, (layout)how, 1, 1, 8, 4);
            p.batch = p.sequences = p.entries = cases[i].batch;
            p.dim = cases[i].dim;
            p.seqlen = cases[i].seqlen;
            p.width = cases[i].width;
            cc1d_plan plan;
            CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_ERROR_UNSUPPORTED);
            CHECK(strstr(cc1d_last_error(), cases[i].text) == cc1d_last_error());
        }
}

static void test_offsets_stay_narrow_below_two_to_the_31(void) {
    const cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_BFLOAT16, TIME, 8, 4096, 2048, 4);
    cc1d_plan plan;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    CHECK(plan.launch[0].key[CC1D_KEY_OFFSET64] == 0);
}

static void test_float64_is_refused_on_metal(void) {
    cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_FLOAT64, TIME, 1, 8, 64, 4);
    cc1d_plan plan;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    p.device = CC1D_METAL;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_ERROR_UNSUPPORTED);
    CHECK(strstr(cc1d_last_error(), "float64") != NULL && strstr(cc1d_last_error(), "mps") != NULL);
}

/* A plan is a value: the same twice, and the key and words do not depend on where aligned data lies. */
static void test_plans_are_values(void) {
    for (int how = 0; how < LAYOUTS; how++) {
        cc1d_problem p = convolution(CC1D_OP_BACKWARD, CC1D_FLOAT16, (layout)how, 3, 40, 777, 4);
        static cc1d_plan a, b;
        memset(&a, 0, sizeof a);
        memset(&b, 0, sizeof b);
        cc1d_make_plan(&p, &a);
        for (int role = 0; role < CC1D_ROLES; role++)
            if (p.view[role].present) p.view[role].data += 1 << 16;
        cc1d_make_plan(&p, &b);
        CHECK(memcmp(&a, &b, sizeof a) == 0);
    }
}

/* On Metal data is an offset into a buffer that the host knows as an object only: where that lies, aligned or
 * not, is no part of the plan; the offset is. */
static void test_metal_buffers_have_no_address(void) {
    static const cc1d_operation operations[] = {CC1D_OP_FORWARD, CC1D_OP_BACKWARD, CC1D_OP_UPDATE};
    for (int how = 0; how < LAYOUTS; how++)
        for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
            for (int offset = 0; offset <= 16; offset += 4) {
                cc1d_problem p = operations[i] == CC1D_OP_UPDATE
                                     ? decoding(CC1D_FLOAT16, (layout)how, 512, 2048, 1, 4, 4)
                                     : convolution(operations[i], CC1D_FLOAT16, (layout)how, 3, 40, 776, 4);
                static cc1d_plan plans[2];
                memset(plans, 0, sizeof plans);
                p.device = CC1D_METAL;
                for (int j = 0; j < 2; j++) {
                    for (int role = 0; role < CC1D_ROLES; role++) {
                        cc1d_view *v = &p.view[role];
                        if (!v->present) continue;
                        const size_t start =
                            (size_t)(v->data - (char *)v->buffer) + (j ? 0u : (size_t)offset);
                        v->buffer = address_of(j ? 1001 * (role + 1) : 0);
                        v->data = (char *)v->buffer + start;
                    }
                    CHECK_STATUS(cc1d_make_plan(&p, &plans[j]), CC1D_OK);
                }
                CHECK(memcmp(&plans[0], &plans[1], sizeof plans[0]) == 0);
                cc1d_conv_params q;
                memcpy(&q, plans[0].launch[0].words, sizeof q);
                if (operations[i] == CC1D_OP_FORWARD && how == TIME) CHECK(q.x_offset == offset / 2 % 8);
            }
}

int main(void) {
    static const check_test tests[] = {
        {"divisors divide", test_divisors},
        {"forward computes every element once", test_forward_covers},
        {"backward computes every element once", test_backward_covers},
        {"states: every element once", test_states_cover},
        {"states of positions", test_positions_cover},
        {"a pool: every row once", test_pool},
        {"a pool that is not read", test_pool_alone},
        {"a pool with rows far apart", test_pool_rows_far_apart},
        {"scratch holds what is summed", test_scratch},
        {"only the gradients that are wanted", test_gradients_on_request},
        {"empty tensors", test_empty},
        {"packs are aligned", test_packs_are_aligned},
        {"rows that lie differently", test_skewed_rows},
        {"wide loads of weights", test_weights_are_loaded_wide_where_they_may},
        {"packed forward", test_packed_forward},
        {"update", test_update},
        {"huge sizes", test_huge},
        {"too large", test_too_large},
        {"narrow offsets", test_offsets_stay_narrow_below_two_to_the_31},
        {"float64 on Metal", test_float64_is_refused_on_metal},
        {"Metal buffers have no address", test_metal_buffers_have_no_address},
        {"plans are values", test_plans_are_values},
    };
    return check_run(tests, sizeof tests / sizeof *tests);
}
