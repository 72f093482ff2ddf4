/* test_plan_gates.c - GPU plans of gated convolutions: gates are cut as x is, and a plain call has none of
 * it. */
#include "plan_cover.h"

static const cc1d_role inputs[] = {CC1D_PRE_GATE, CC1D_POST_GATE};
static const cc1d_role gradients[] = {CC1D_DPRE_GATE, CC1D_DPOST_GATE};

/* which: bits of the gates. */
static void add_gates(cc1d_problem *p, layout how, int which) {
    for (int i = 0; i < 2; i++)
        if (which >> i & 1) {
            p->view[inputs[i]] = tensor_of(p->view[CC1D_X].dtype, how, p->batch, p->dim, p->seqlen);
            if (p->op == CC1D_OP_BACKWARD) p->view[gradients[i]] = p->view[inputs[i]];
        }
}

/* x and its gates are slices of one (batch, T, 3 D) projection, or of (batch, 3 D, T). */
static void slice_projection(cc1d_problem *p, bool channels) {
    const cc1d_role roles[] = {CC1D_PRE_GATE,  CC1D_POST_GATE,  CC1D_X,
                               CC1D_DPRE_GATE, CC1D_DPOST_GATE, CC1D_DX};
    const int64_t d = p->dim, t = p->seqlen;
    for (int i = 0; i < (p->op == CC1D_OP_BACKWARD ? 6 : 3); i++) {
        cc1d_view *v = &p->view[roles[i]];
        *v = channels ? view_of(p->view[CC1D_X].dtype, p->batch, d, t, 3 * d * t, 1, 3 * d)
                      : view_of(p->view[CC1D_X].dtype, p->batch, d, t, 3 * d * t, t, 1);
        v->data = address_of((int)(i % 3 * (channels ? d : d * t) * (int64_t)cc1d_itemsize(v->dtype)));
    }
}

static void check_launches(const cc1d_problem *p, int which) {
    static cc1d_plan plan;
    CHECK_STATUS(cc1d_make_plan(p, &plan), CC1D_OK);
    int read[2] = {0}, written[2] = {0};
    for (int l = 0; l < plan.launch_count; l++) {
        const cc1d_launch *launch = &plan.launch[l];
        check_limits(launch);
        for (int i = 0; i < 2; i++) {
            read[i] += binds(launch, inputs[i]);
            written[i] += binds(launch, gradients[i]);
        }
        if (!is(launch, CC1D_KERNEL_BACKWARD_REDUCE) && !is(launch, CC1D_KERNEL_BACKWARD_WIDE_DWEIGHT))
            check_cover(p, launch, p->batch, p->seqlen);
    }
    for (int i = 0; i < 2; i++) {
        CHECK((read[i] > 0) == (which >> i & 1));
        CHECK(written[i] == (p->op == CC1D_OP_BACKWARD && which >> i & 1));
    }
}

static void test_every_element_once(void) {
    static const int64_t shapes[][3] = {{1, 1, 1}, {3, 5, 255}, {2, 33, 256}, {1, 1, 5000}, {7, 130, 3}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int how = 0; how < LAYOUTS; how++)
            for (int which = 1; which < 4; which++)
                for (int variant = 0; variant < 16; variant++) {
                    const cc1d_operation op = variant & 1 ? CC1D_OP_BACKWARD : CC1D_OP_FORWARD;
                    cc1d_problem p =
                        convolution(op, variant & 2 ? CC1D_FLOAT32 : CC1D_BFLOAT16, (layout)how, shapes[s][0],
                                    shapes[s][1], shapes[s][2], variant & 4 ? 4 : 9);
                    p.device = variant & 8 ? CC1D_METAL : CC1D_CUDA;
                    add_gates(&p, (layout)((how + which) % LAYOUTS), which);
                    check_launches(&p, which);
                }
}

/* The gradients of gates alone are work enough. */
static void test_gradients_of_gates_alone(void) {
    for (int w = 4; w <= 9; w += 5)
        for (int i = 0; i < 2; i++) {
            cc1d_problem p = convolution(CC1D_OP_BACKWARD, CC1D_BFLOAT16, TIME, 2, 8, 100, w);
            add_gates(&p, TIME, 3);
            p.view[CC1D_DX].present = p.view[CC1D_DWEIGHT].present = p.view[CC1D_DBIAS].present = false;
            p.view[gradients[1 - i]].present = false;
            cc1d_plan plan;
            CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
            const cc1d_launch *last = &plan.launch[plan.launch_count - 1];
            CHECK(plan.launch_count == (w == 9 && i == 0 ? 2 : 1) && binds(last, gradients[i]));
            CHECK(!binds(last, CC1D_DX) && binds(last, CC1D_SCRATCH) == (w == 9));
            CHECK((plan.scratch_bytes > 0) == (w == 9));
        }
}

/* Slices of a projection move in whole packs. */
static void test_slices_of_a_projection(void) {
    for (int variant = 0; variant < 8; variant++) {
        const bool channels = variant & 1;
        cc1d_problem p = convolution(variant & 2 ? CC1D_OP_BACKWARD : CC1D_OP_FORWARD, CC1D_BFLOAT16,
                                     channels ? CHANNEL : TIME, 4, 2048, 2048, 3);
        p.device = variant & 4 ? CC1D_METAL : CC1D_CUDA;
        slice_projection(&p, channels);
        check_launches(&p, 3);
        cc1d_plan plan;
        CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
        const uint8_t *key = plan.launch[0].key;
        CHECK(key[CC1D_KEY_VEC] >= (channels ? 2 : 8));
        CHECK(!key[CC1D_KEY_PARTIAL_PACKS] && !key[CC1D_KEY_GATES_SKEWED] && !key[CC1D_KEY_CHANNEL_TAIL]);
        p.view[CC1D_POST_GATE].data += 2;
        CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
        CHECK(channels ? key[CC1D_KEY_VEC] == 1 : key[CC1D_KEY_GATES_SKEWED] && key[CC1D_KEY_PARTIAL_PACKS]);
    }
}

/* The params of a gated launch are those of a plain one, of its pool if it has one, and then of its gates. */
static void test_params_follow(void) {
    for (int pool = 0; pool < 2; pool++) {
        cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_BFLOAT16, CHANNEL, 2, 64, 100, 4);
        static cc1d_plan plain, gated;
        if (pool) add_pool(&p, CC1D_BFLOAT16, 4, 3, 192);
        CHECK_STATUS(cc1d_make_plan(&p, &plain), CC1D_OK);
        add_gates(&p, CHANNEL_SLICE, 3);
        CHECK_STATUS(cc1d_make_plan(&p, &gated), CC1D_OK);
        CHECK(plain.launch_count == 1 + pool && gated.launch_count == 1 + pool);
        for (int l = 0; l < plain.launch_count; l++) {
            const int32_t *words = gated.launch[l].words + plain.launch[l].word_count;
            const cc1d_conv_params *q = NULL;
            const size_t size = sizeof *q - offsetof(cc1d_conv_params, pre_gate);
            CHECK(gated.launch[l].word_count == plain.launch[l].word_count + (int32_t)(size / 4));
            cc1d_place first;
            memcpy(&first, words, sizeof first);
            CHECK(long_of(first.stride[0]) == (64 + 12) * 100 && long_of(first.stride[2]) == 64 + 12);
        }
        if (pool) CHECK(binds(&gated.launch[1], CC1D_PRE_GATE) && !binds(&gated.launch[1], CC1D_POST_GATE));
    }
    cc1d_problem p = decoding(CC1D_BFLOAT16, CHANNEL, 8, 64, 1, 4, 3);
    static cc1d_plan plain, gated;
    CHECK_STATUS(cc1d_make_plan(&p, &plain), CC1D_OK);
    add_gates(&p, TIME, 3);
    CHECK_STATUS(cc1d_make_plan(&p, &gated), CC1D_OK);
    CHECK(plain.launch->word_count * sizeof(int32_t) == offsetof(cc1d_update_params, pre_gate));
    CHECK(gated.launch->word_count * sizeof(int32_t) == sizeof(cc1d_update_params));
    CHECK(is(gated.launch, CC1D_KERNEL_UPDATE_STEP) && binds(gated.launch, CC1D_POST_GATE));
}

int main(void) {
    static const check_test tests[] = {
        {"every element once", test_every_element_once},
        {"gradients of gates alone", test_gradients_of_gates_alone},
        {"slices of a projection", test_slices_of_a_projection},
        {"params follow each other", test_params_follow},
    };
    return check_run(tests, sizeof tests / sizeof *tests);
}
