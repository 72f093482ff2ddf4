/* test_plan_texts.c - the texts of GPU launches: complete, and few for a model of any length and batch. */
#include "plan_cover.h"

/* Texts that some calls compile: kernels with different keys. */
typedef struct texts {
    int count;
    cc1d_launch first[64]; /* of each */
} texts;

static void add_texts(texts *found, cc1d_problem *p, bool gated) {
    static cc1d_plan plan;
    if (gated) p->view[CC1D_PRE_GATE] = p->view[CC1D_POST_GATE] = p->view[CC1D_X];
    if (gated && p->op == CC1D_OP_BACKWARD)
        p->view[CC1D_DPRE_GATE] = p->view[CC1D_DPOST_GATE] = p->view[CC1D_X];
    CHECK_STATUS(cc1d_make_plan(p, &plan), CC1D_OK);
    for (int l = 0; l < plan.launch_count; l++) {
        int i = 0;
        while (i < found->count && (found->first[i].kernel != plan.launch[l].kernel ||
                                    memcmp(found->first[i].key, plan.launch[l].key, CC1D_PLAN_KEY)))
            i++;
        if (i == found->count && i < 64) found->first[found->count++] = plan.launch[l];
    }
}

/* Each is compiled at its first use, so lengths and batches share them. most: for training steps of all
 * lengths, for prefill, for decoding of all batches, for prefill from and into a pool. */
static void check_few_texts(cc1d_device device, const int most[4], int dtype, layout how, int64_t dim,
                            bool gated) {
    static texts training, prefill, decoding_steps, pool;
    training.count = prefill.count = decoding_steps.count = pool.count = 0;
    for (int64_t t = 1; t <= 4096; t++) {
        cc1d_problem p = convolution(CC1D_OP_FORWARD, dtype, how, 8, dim, t, 4);
        p.device = device;
        add_texts(&training, &p, gated);
        add_states(&p, CC1D_FINAL, 3);
        add_texts(&prefill, &p, gated);
        p = convolution(CC1D_OP_FORWARD, dtype, how, 1, dim, t, 4);
        p.device = device;
        p.sequences = p.entries = 1 + t % 64;
        p.view[CC1D_CU] = view_of(CC1D_INT32, p.sequences + 1, 1, 1, 1, 1, 1);
        add_pool(&p, CC1D_FLOAT32, 100, 3 + t % 5, (dim + t) << 31); /* other rows, the same texts */
        add_texts(&pool, &p, gated);
        p = convolution(CC1D_OP_BACKWARD, dtype, how, 8, dim, t, 4);
        p.device = device;
        add_texts(&training, &p, gated);
    }
    for (int64_t b = 1; b <= 1024; b++) {
        cc1d_problem p = decoding(dtype, how, b, dim, 1, 4, 3);
        p.device = device;
        add_texts(&decoding_steps, &p, gated);
    }
    CHECK(training.count <= most[0] && prefill.count <= most[1] && decoding_steps.count <= most[2]);
    CHECK(pool.count <= most[3]);
}

static void test_few_texts(void) {
    /* On CUDA rows of few lanes are faster with a text of their own. */
    static const int metal[4] = {10, 5, 3, 5}, cuda[4] = {36, 20, 8, 14};
    for (int dtype = CC1D_FLOAT32; dtype <= CC1D_BFLOAT16; dtype++)
        for (int how = TIME; how <= CHANNEL; how++)
            for (int64_t dim = 33; dim <= 2048; dim += 2015) {
                const bool gated = dim > 33 && dtype != CC1D_FLOAT16; /* as few with gates */
                check_few_texts(CC1D_METAL, metal, dtype, (layout)how, dim, false);
                check_few_texts(CC1D_CUDA, cuda, dtype, (layout)how, dim, false);
                if (!gated) continue;
                check_few_texts(CC1D_METAL, metal, dtype, (layout)how, dim, true);
                check_few_texts(CC1D_CUDA, cuda, dtype, (layout)how, dim, true);
            }
}

static void test_source(void) {
    const cc1d_problem p = convolution(CC1D_OP_FORWARD, CC1D_BFLOAT16, TIME, 2, 8, 300, 4);
    cc1d_plan plan;
    CHECK_STATUS(cc1d_make_plan(&p, &plan), CC1D_OK);
    for (int language = CC1D_LANGUAGE_METAL; language <= CC1D_LANGUAGE_CUDA; language++) {
        const size_t length = cc1d_launch_source(plan.launch, (cc1d_language)language, NULL, 0);
        char *text = malloc(length + 1), *cut = malloc(101);
        CHECK(cc1d_launch_source(plan.launch, (cc1d_language)language, text, length + 1) == length);
        CHECK(strlen(text) == length);
        CHECK(cc1d_launch_source(plan.launch, (cc1d_language)language, cut, 101) == length);
        CHECK(strlen(cut) == 100 && memcmp(cut, text, 100) == 0);
        CHECK(strstr(text, "#define CC1D_KERNEL_FORWARD_TIME 1\n") != NULL);
        CHECK(strstr(text, "#define CC1D_X_DTYPE 2\n") != NULL);
        CHECK(strstr(text, "#define CC1D_BUFFERS IN(cc1d_x_t, x, 0) IN(cc1d_weight_t, weight, 1) "
                           "IN(cc1d_bias_t, bias, 2) OUT(cc1d_x_t, target, 3)\n") != NULL);
        CHECK(strstr(text, "#define CC1D_PARAMS_INDEX 4\n") != NULL);
        CHECK(strstr(text, "ENTRY(cc1d_forward_time, cc1d_conv_params)") != NULL);
        CHECK((strstr(text, "metal_stdlib") != NULL) == (language == CC1D_LANGUAGE_METAL));
        for (size_t i = 0; i < length; i++) CHECK((text[i] >= 32 && text[i] < 127) || text[i] == '\n');
        free(text);
        free(cut);
    }
}

int main(void) {
    static const check_test tests[] = {
        {"source", test_source},
        {"few texts", test_few_texts},
    };
    return check_run(tests, sizeof tests / sizeof *tests);
}
