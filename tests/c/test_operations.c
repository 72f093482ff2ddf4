/* test_operations.c - the four operations through the C API alone: a double reference for forward, finite
 * differences for backward, and the ways of computing the same steps (chunks, packing, update) bit for bit.
 * On every implementation. */
#include <math.h>
#include <stdlib.h>

#include "check.h"

enum { B = 2, D = 19, T = 70, W = 4, H = W - 1 };

static float x_data[B * D * T], weight_data[D * W], bias_data[D], initial_data[B * D * H],
    dout_data[B * D * T];
static cc1d_tensor weight, bias;

static void fill(void) {
    check_fill(x_data, B * D * T, 1), check_fill(weight_data, D * W, 2), check_fill(bias_data, D, 3);
    check_fill(initial_data, B * D * H, 4), check_fill(dout_data, B * D * T, 5);
    weight = check_tensor(weight_data, CC1D_FLOAT32, 2, D, W, 0);
    bias = check_tensor(bias_data, CC1D_FLOAT32, 1, D, 0, 0);
}

/* Steps first..first+steps-1 of every row, as a view of a whole (B, D, T) array. */
static cc1d_tensor steps_of(float *data, int64_t first, int64_t steps) {
    cc1d_tensor t = check_tensor(data + first, CC1D_FLOAT32, 3, B, D, steps);
    t.strides[0] = D * T, t.strides[1] = T;
    return t;
}

static double reference(int b, int d, int t, bool silu) {
    double acc = bias_data[d];
    for (int k = 0; k < W; k++) {
        const int step = t - H + k;
        acc += (double)weight_data[d * W + k] *
               (step >= 0 ? x_data[(b * D + d) * T + step] : initial_data[(b * D + d) * H + H + step]);
    }
    return silu ? acc / (1 + exp(-acc)) : acc;
}

static void test_forward(void) {
    float out_data[B * D * T];
    for (int silu = 0; silu <= 1; silu++) {
        cc1d_tensor x = steps_of(x_data, 0, T), out = steps_of(out_data, 0, T);
        cc1d_tensor initial = check_tensor(initial_data, CC1D_FLOAT32, 3, B, D, H);
        const cc1d_forward_args args = {.size = sizeof args,
                                        .x = &x,
                                        .weight = &weight,
                                        .bias = &bias,
                                        .initial_states = &initial,
                                        .out = &out,
                                        .activation = silu};
        CHECK_STATUS(cc1d_forward(&args, NULL), CC1D_OK);
        for (int b = 0; b < B; b++)
            for (int d = 0; d < D; d++)
                for (int t = 0; t < T; t++)
                    CHECK(fabs(out_data[(b * D + d) * T + t] - reference(b, d, t, silu)) < 1e-6);
    }
}

/* One call, chunks that hand their states on, and step by step: the same bits. */
static void test_same_steps(void) {
    float whole[B * D * T], pieces[B * D * T], state_a[B * D * H], state_b[B * D * H];
    cc1d_tensor x = steps_of(x_data, 0, T), out = steps_of(whole, 0, T);
    cc1d_tensor initial = check_tensor(initial_data, CC1D_FLOAT32, 3, B, D, H);
    cc1d_tensor a = check_tensor(state_a, CC1D_FLOAT32, 3, B, D, H),
                b = check_tensor(state_b, CC1D_FLOAT32, 3, B, D, H);
    const cc1d_forward_args args = {.size = sizeof args,
                                    .x = &x,
                                    .weight = &weight,
                                    .bias = &bias,
                                    .initial_states = &initial,
                                    .out = &out,
                                    .final_states = &a,
                                    .activation = 1};
    CHECK_STATUS(cc1d_forward(&args, NULL), CC1D_OK);

    float end[B * D * H];
    memcpy(end, state_a, sizeof end);
    memcpy(state_b, initial_data, sizeof state_b);
    cc1d_tensor *from = &b, *to = &a;
    for (int64_t t = 0, length = 1; t < T; t += length, length = (length * 5 + 2) % 11) {
        if (length > T - t) length = T - t;
        cc1d_tensor x_part = steps_of(x_data, t, length), out_part = steps_of(pieces, t, length);
        const cc1d_forward_args part = {.size = sizeof part,
                                        .x = &x_part,
                                        .weight = &weight,
                                        .bias = &bias,
                                        .initial_states = from,
                                        .out = &out_part,
                                        .final_states = to,
                                        .activation = 1};
        CHECK_STATUS(cc1d_forward(&part, NULL), CC1D_OK);
        cc1d_tensor *swap = from;
        from = to, to = swap;
    }
    CHECK(memcmp(whole, pieces, sizeof whole) == 0);
    CHECK(memcmp(from->data, end, sizeof end) == 0);

    memset(pieces, 0xff, sizeof pieces);
    memcpy(state_a, initial_data, sizeof state_a);
    for (int64_t t = 0; t < T; t++) {
        cc1d_tensor x_step = steps_of(x_data, t, 1), out_step = steps_of(pieces, t, 1);
        const cc1d_update_args step = {.size = sizeof step,
                                       .x = &x_step,
                                       .conv_state = &a,
                                       .weight = &weight,
                                       .bias = &bias,
                                       .out = &out_step,
                                       .pad_slot_id = -1,
                                       .activation = 1};
        CHECK_STATUS(cc1d_update(&step, NULL), CC1D_OK);
    }
    CHECK(memcmp(whole, pieces, sizeof whole) == 0);
    CHECK(memcmp(state_a, end, sizeof end) == 0);
}

/* The loss sum(dout * y) as a function of one input, for finite differences. */
static double loss(void) {
    double sum = 0;
    for (int b = 0; b < B; b++)
        for (int d = 0; d < D; d++)
            for (int t = 0; t < T; t++) sum += dout_data[(b * D + d) * T + t] * reference(b, d, t, true);
    return sum;
}

static void check_gradient(float *input, double gradient) {
    const float kept = *input;
    const float h = 1.0f / 64;
    *input = kept + h;
    const double above = loss();
    *input = kept - h;
    const double below = loss();
    *input = kept;
    CHECK(fabs((above - below) / (2 * h) - gradient) < 2e-3 * (1 + fabs(gradient)));
}

static void test_backward(void) {
    float dx_data[B * D * T], dweight_data[D * W], dbias_data[D], dinitial_data[B * D * H];
    cc1d_tensor x = steps_of(x_data, 0, T), dout = steps_of(dout_data, 0, T), dx = steps_of(dx_data, 0, T);
    cc1d_tensor initial = check_tensor(initial_data, CC1D_FLOAT32, 3, B, D, H);
    cc1d_tensor dinitial = check_tensor(dinitial_data, CC1D_FLOAT32, 3, B, D, H);
    cc1d_tensor dweight = check_tensor(dweight_data, CC1D_FLOAT32, 2, D, W, 0);
    cc1d_tensor dbias = check_tensor(dbias_data, CC1D_FLOAT32, 1, D, 0, 0);
    cc1d_backward_args args = {.size = sizeof args,
                               .dout = &dout,
                               .x = &x,
                               .weight = &weight,
                               .bias = &bias,
                               .initial_states = &initial,
                               .dx = &dx,
                               .dweight = &dweight,
                               .dbias = &dbias,
                               .dinitial_states = &dinitial,
                               .activation = 1};
    CHECK_STATUS(cc1d_backward_scratch(&args, &args.scratch_size), CC1D_OK);
    args.scratch = malloc(args.scratch_size);
    CHECK_STATUS(cc1d_backward(&args, NULL), CC1D_OK);
    free(args.scratch);
    for (int i = 0; i < B * D * T; i += 97) check_gradient(&x_data[i], dx_data[i]);
    for (int i = 0; i < D * W; i += 5) check_gradient(&weight_data[i], dweight_data[i]);
    for (int i = 0; i < D; i += 6) check_gradient(&bias_data[i], dbias_data[i]);
    for (int i = 0; i < B * D * H; i += 7) check_gradient(&initial_data[i], dinitial_data[i]);
}

/* Packed sequences give what each gives alone, and varlen_states what forward leaves as final states. */
static void test_packing(void) {
    enum { N = 4 };
    const int32_t bounds[N + 1] = {0, 2, 2, 30, T}; /* shorter than a state, empty, long */
    float packed_data[D * T], alone_data[D * T], final_data[N * D * H], states_data[N * D * H];
    cc1d_tensor cu = check_tensor((void *)bounds, CC1D_INT32, 1, N + 1, 0, 0);
    cc1d_tensor x = check_tensor(x_data, CC1D_FLOAT32, 3, 1, D, T),
                out = check_tensor(packed_data, CC1D_FLOAT32, 3, 1, D, T);
    cc1d_tensor final = check_tensor(final_data, CC1D_FLOAT32, 3, N, D, H);
    const cc1d_forward_args args = {.size = sizeof args,
                                    .x = &x,
                                    .weight = &weight,
                                    .cu_seqlens = &cu,
                                    .out = &out,
                                    .final_states = &final};
    CHECK_STATUS(cc1d_forward(&args, NULL), CC1D_OK);
    for (int n = 0; n < N; n++) {
        cc1d_tensor x_alone = steps_of(x_data, bounds[n], bounds[n + 1] - bounds[n]);
        cc1d_tensor out_alone = steps_of(alone_data, bounds[n], bounds[n + 1] - bounds[n]);
        x_alone.shape[0] = out_alone.shape[0] = 1;
        const cc1d_forward_args alone = {
            .size = sizeof alone, .x = &x_alone, .weight = &weight, .out = &out_alone};
        CHECK_STATUS(cc1d_forward(&alone, NULL), CC1D_OK);
    }
    CHECK(memcmp(packed_data, alone_data, sizeof packed_data) == 0);
    cc1d_tensor rows = check_tensor(x_data, CC1D_FLOAT32, 2, T, D, 0);
    rows.strides[0] = 1, rows.strides[1] = T;
    cc1d_tensor states = check_tensor(states_data, CC1D_FLOAT32, 3, N, D, H);
    const cc1d_varlen_states_args varlen = {
        .size = sizeof varlen, .x = &rows, .cu_seqlens = &cu, .states = &states};
    CHECK_STATUS(cc1d_varlen_states(&varlen, NULL), CC1D_OK);
    CHECK(memcmp(states_data, final_data, sizeof states_data) == 0);
}

/* A state after any step: of the sequence that the step belongs to, and what came before it. */
static void test_positions(void) {
    enum { N = 3, M = 6, STEPS = 2, ROWS = 8 };
    const int64_t bounds[N + 1] = {1, 4, 4, 7}, positions[M] = {4, 1, 5, 99, 7, 2},
                             rows[M] = {0, 7, 3, -1, 5, 2};
    const float want[ROWS][STEPS] = {{3, 4}, {7, 7}, {-1, 2}, {-5, 5}, {7, 7}, {6, 7}, {7, 7}, {-2, -1}};
    float xs[9], past[N][STEPS + 1], found[ROWS][STEPS];
    for (int t = 0; t < 9; t++) xs[t] = (float)(t + 1);
    for (int n = 0; n < N; n++)
        for (int i = 0; i <= STEPS; i++) past[n][i] = (float)(-2 * n - 1 - (STEPS - i));
    for (int i = 0; i < ROWS * STEPS; i++) found[i / STEPS][i % STEPS] = 7;
    const cc1d_tensor x = check_tensor(xs, CC1D_FLOAT32, 2, 9, 1, 0),
                      cu = check_tensor((void *)bounds, CC1D_INT64, 1, N + 1, 0, 0),
                      initial = check_tensor(past, CC1D_FLOAT32, 3, N, 1, STEPS + 1),
                      at = check_tensor((void *)positions, CC1D_INT64, 1, M, 0, 0),
                      to = check_tensor((void *)rows, CC1D_INT64, 1, M, 0, 0),
                      pool = check_tensor(found, CC1D_FLOAT32, 3, ROWS, 1, STEPS);
    const cc1d_varlen_states_args args = {.size = sizeof args,
                                          .x = &x,
                                          .cu_seqlens = &cu,
                                          .states = &pool,
                                          .initial_states = &initial,
                                          .positions = &at,
                                          .out_indices = &to};
    CHECK_STATUS(cc1d_varlen_states(&args, NULL), CC1D_OK);
    CHECK(memcmp(found, want, sizeof want) == 0);
    cc1d_varlen_states_args old = args; /* of 0.1, which ends before them */
    const cc1d_tensor ends = check_tensor(found, CC1D_FLOAT32, 3, N, 1, STEPS);
    old.size = offsetof(cc1d_varlen_states_args, initial_states), old.states = &ends;
    CHECK_STATUS(cc1d_varlen_states(&old, NULL), CC1D_OK);
    CHECK(found[0][1] == 4 && found[1][1] == 0 && found[2][0] == 6);
}

/* The final state is that of the last step that is no padding; its gradient goes back where it came from. */
static void test_padding(void) {
    enum { ROWS = 5, STEPS = 4, PAST = 2 };
    static const int32_t ids[ROWS][STEPS] = {
        {0, 0, -1, -1}, {-1, -1, 0, 0}, {0, -1, 0, -2}, {-1, -1, -1, -1}, {0, 1, 1, -1}};
    static const float want[ROWS][PAST] = {{1, 2}, {3, 4}, {0, 3}, {8, 9}, {2, 3}};
    static const float want_dx[ROWS][STEPS] = {
        {5, 6, 0, 0}, {0, 0, 5, 6}, {0, 0, 6, 0}, {0, 0, 0, 0}, {0, 5, 6, 0}};
    static const float want_dinitial[ROWS][PAST] = {{0, 0}, {0, 0}, {0, 0}, {5, 6}, {0, 0}};
    float xs[ROWS][STEPS], past[ROWS][PAST], finals[ROWS][PAST], dfinals[ROWS][PAST], dinitials[ROWS][PAST];
    float y[ROWS][STEPS], zero[ROWS][STEPS] = {{0}}, dx[ROWS][STEPS], ones[3] = {1, 1, 1};
    for (int b = 0; b < ROWS; b++) {
        for (int t = 0; t < STEPS; t++) xs[b][t] = (float)(t + 1);
        past[b][0] = 8, past[b][1] = 9, dfinals[b][0] = 5, dfinals[b][1] = 6;
    }
    const cc1d_tensor x = check_tensor(xs, CC1D_FLOAT32, 3, ROWS, 1, STEPS),
                      out = check_tensor(y, CC1D_FLOAT32, 3, ROWS, 1, STEPS),
                      dout = check_tensor(zero, CC1D_FLOAT32, 3, ROWS, 1, STEPS),
                      dx_out = check_tensor(dx, CC1D_FLOAT32, 3, ROWS, 1, STEPS),
                      initial = check_tensor(past, CC1D_FLOAT32, 3, ROWS, 1, PAST),
                      final = check_tensor(finals, CC1D_FLOAT32, 3, ROWS, 1, PAST),
                      dfinal = check_tensor(dfinals, CC1D_FLOAT32, 3, ROWS, 1, PAST),
                      dinitial = check_tensor(dinitials, CC1D_FLOAT32, 3, ROWS, 1, PAST),
                      filter = check_tensor(ones, CC1D_FLOAT32, 2, 1, 3, 0),
                      seq_idx = check_tensor((void *)(uintptr_t)ids, CC1D_INT32, 2, ROWS, STEPS, 0);
    const cc1d_forward_args forward = {.size = sizeof forward,
                                       .x = &x,
                                       .weight = &filter,
                                       .seq_idx = &seq_idx,
                                       .initial_states = &initial,
                                       .out = &out,
                                       .final_states = &final};
    CHECK_STATUS(cc1d_forward(&forward, NULL), CC1D_OK);
    CHECK(memcmp(finals, want, sizeof want) == 0);
    cc1d_backward_args backward = {.size = sizeof backward,
                                   .dout = &dout,
                                   .x = &x,
                                   .weight = &filter,
                                   .seq_idx = &seq_idx,
                                   .initial_states = &initial,
                                   .dfinal_states = &dfinal,
                                   .dx = &dx_out,
                                   .dinitial_states = &dinitial};
    CHECK_STATUS(cc1d_backward_scratch(&backward, &backward.scratch_size), CC1D_OK);
    backward.scratch = malloc(backward.scratch_size);
    CHECK_STATUS(cc1d_backward(&backward, NULL), CC1D_OK);
    free(backward.scratch);
    CHECK(memcmp(dx, want_dx, sizeof dx) == 0);
    CHECK(memcmp(dinitials, want_dinitial, sizeof dinitials) == 0);
}

static void test_empty(void) {
    float nothing[1] = {0};
    for (int empty = 0; empty < 3; empty++) {
        cc1d_tensor x = check_tensor(nothing, CC1D_FLOAT32, 3, empty == 0 ? 0 : B, empty == 1 ? 0 : D,
                                     empty == 2 ? 0 : T);
        x.data = NULL;
        cc1d_tensor out = x, rows = weight;
        rows.shape[0] = x.shape[1];
        const cc1d_forward_args args = {.size = sizeof args, .x = &x, .weight = &rows, .out = &out};
        CHECK_STATUS(cc1d_forward(&args, NULL), CC1D_OK);
    }
}

int main(void) {
    const check_test tests[] = {{"forward", test_forward},     {"same steps", test_same_steps},
                                {"backward", test_backward},   {"packing", test_packing},
                                {"positions", test_positions}, {"padding", test_padding},
                                {"empty", test_empty}};
    int failed = 0;
    const char *name;
    for (int i = 0; (name = cc1d_cpu_implementation(i)); i++) {
        printf("%s:\n", name);
        fill();
        cc1d_set_cpu_implementation(name);
        failed |= check_run(tests, sizeof tests / sizeof *tests);
    }
    return failed;
}
