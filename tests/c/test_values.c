/* test_values.c - index tensors that another thread changes during a call: what is used is what was checked.
 * A parallel-for makes the change, between the checks and the kernels. */
#include "boxes.h"
#include "check.h"

enum { B = 4, D = 4000, W = 4, S = 3, T = 20000, WIDE = 4 };

typedef struct change {
    int32_t *values;
    int count, calls, by;
} change;

static void change_and_run(void *user, int64_t count, void (*task)(void *context, int64_t index),
                           void *context) {
    change *c = user;
    c->calls++;
    for (int64_t i = 0; i < count; i++) {
        for (int j = 0; j < c->count; j++) c->values[j] = c->by ? c->by : i % 3 == 0 ? -1 : (int32_t)(i % 2);
        task(context, i);
    }
}

/* Runs, and runs again while the values change; the results are the same. */
static void check_unchanged(cc1d_status (*run)(const cc1d_exec *), float *results, size_t bytes,
                            int32_t *values, int count, const float *start) {
    static const int32_t wild[] = {1 << 30, -(1 << 30), 3, 0};
    float *want = malloc(bytes);
    int32_t *kept = malloc((size_t)count * sizeof *kept);
    memcpy(kept, values, (size_t)count * sizeof *kept);
    for (int i = -1; i < 4; i++) {
        change c = {values, count, 0, i < 0 ? 0 : wild[i]};
        const cc1d_exec own = {.size = sizeof own, .parallel_for = change_and_run, .parallel_for_user = &c};
        if (start)
            memcpy(results, start, bytes);
        else
            memset(results, 0, bytes);
        CHECK_STATUS(run(i < 0 ? NULL : &own), CC1D_OK);
        CHECK((c.calls > 0) == (i >= 0));
        if (i < 0) memcpy(want, results, bytes);
        CHECK(memcmp(want, results, bytes) == 0);
        memcpy(values, kept, (size_t)count * sizeof *kept);
    }
    free(kept);
    free(want);
}

enum { STATES = 8 * D * 6 };
/* What an update writes: the states, then y. */
static float written[STATES + B * D], start_data[STATES + B * D], x_data[B * D], weight_data[D * W];
static int32_t index_data[B], second_data[B];
static bool circular;

static cc1d_status run_update(const cc1d_exec *exec) {
    const cc1d_tensor x = check_tensor(x_data, CC1D_FLOAT32, 2, B, D, 0),
                      out = check_tensor(written + STATES, CC1D_FLOAT32, 2, B, D, 0),
                      state = check_tensor(written, CC1D_FLOAT32, 3, 8, D, 6),
                      weight = check_tensor(weight_data, CC1D_FLOAT32, 2, D, W, 0),
                      rows = check_tensor(index_data, CC1D_INT32, 1, B, 0, 0),
                      second = check_tensor(second_data, CC1D_INT32, 1, B, 0, 0);
    const cc1d_update_args args = {.size = sizeof args,
                                   .x = &x,
                                   .conv_state = &state,
                                   .weight = &weight,
                                   .out = &out,
                                   .conv_state_indices = &rows,
                                   .cache_seqlens = circular ? &second : NULL,
                                   .num_accepted_tokens = circular ? NULL : &second,
                                   .pad_slot_id = -1};
    return cc1d_update(&args, exec);
}

static void test_update(void) {
    check_fill(x_data, B * D, 1), check_fill(start_data, STATES, 2), check_fill(weight_data, D * W, 3);
    for (int i = 0; i < B; i++) index_data[i] = 7 - 2 * i, second_data[i] = 1;
    for (int i = 0; i < 2; i++) {
        circular = i;
        check_unchanged(run_update, written, sizeof written, index_data, B, start_data);
        check_unchanged(run_update, written, sizeof written, second_data, B, start_data);
    }
}

static float long_x[WIDE * T], long_y[WIDE * T], long_weight[WIDE * W];
static int32_t bounds[200], ids[T];
static cc1d_tensor packed_x, packed_y, packed_weight, cu, seq_idx;

static cc1d_status run_packed(const cc1d_exec *exec) {
    const cc1d_forward_args args = {
        .size = sizeof args, .x = &packed_x, .weight = &packed_weight, .cu_seqlens = &cu, .out = &packed_y};
    return cc1d_forward(&args, exec);
}

static void make_packed(void) {
    check_fill(long_x, WIDE * T, 1), check_fill(long_weight, WIDE * W, 3);
    packed_x = check_tensor(long_x, CC1D_FLOAT32, 3, 1, WIDE, T);
    packed_y = check_tensor(long_y, CC1D_FLOAT32, 3, 1, WIDE, T);
    packed_weight = check_tensor(long_weight, CC1D_FLOAT32, 2, WIDE, W, 0);
    seq_idx = check_tensor(ids, CC1D_INT32, 2, 1, T, 0);
}

static void test_packed(void) {
    make_packed();
    for (int count = 5; count <= 200; count += 195) { /* few values, and many */
        for (int i = 0; i < count; i++) bounds[i] = (int32_t)((int64_t)T * i / (count - 1));
        cu = check_tensor(bounds, CC1D_INT32, 1, count, 0, 0);
        check_unchanged(run_packed, long_y, sizeof long_y, bounds, count, NULL);
    }
}

/* seq_idx is only compared: whatever it holds when, nothing outside of the tensors is touched. */
static void test_seq_idx(void) {
    make_packed();
    static float states[2][WIDE * (W - 1)];
    cc1d_tensor final = check_tensor(states[0], CC1D_FLOAT32, 3, 1, WIDE, W - 1),
                dfinal = check_tensor(states[1], CC1D_FLOAT32, 3, 1, WIDE, W - 1);
    box x = box_make(CC1D_FLOAT32, 3, packed_x.shape, (int[]){0, 1, 2}, 1, 0);
    box dx = box_make(CC1D_FLOAT32, 3, packed_x.shape, (int[]){0, 1, 2}, 1, 0);
    box_fill(&x, 0);
    for (int channel = 0; channel < 2; channel++) {
        if (channel)
            x.tensor.strides[1] = dx.tensor.strides[1] = 1, x.tensor.strides[2] = dx.tensor.strides[2] = WIDE;
        for (int i = 0; i < T; i++) ids[i] = i / 37 % 5 - 1;
        change c = {ids, T, 0, 0};
        const cc1d_exec own = {.size = sizeof own, .parallel_for = change_and_run, .parallel_for_user = &c};
        const cc1d_forward_args forward = {.size = sizeof forward,
                                           .x = &x.tensor,
                                           .weight = &packed_weight,
                                           .seq_idx = &seq_idx,
                                           .out = &dx.tensor,
                                           .final_states = &final};
        CHECK_STATUS(cc1d_forward(&forward, &own), CC1D_OK);
        cc1d_backward_args backward = {.size = sizeof backward,
                                       .dout = &x.tensor,
                                       .x = &x.tensor,
                                       .weight = &packed_weight,
                                       .seq_idx = &seq_idx,
                                       .dfinal_states = &dfinal,
                                       .dx = &dx.tensor};
        CHECK_STATUS(cc1d_backward_scratch(&backward, &backward.scratch_size), CC1D_OK);
        backward.scratch = malloc(backward.scratch_size);
        CHECK_STATUS(cc1d_backward(&backward, &own), CC1D_OK);
        free(backward.scratch);
        CHECK(c.calls > 1);
    }
    box_free(&x), box_free(&dx);
}

/* A prefill of B sequences of four steps; two share a row that neither writes. */
static int32_t lengths_data[B];
_Alignas(int32_t) static unsigned char flags_data[4 * B]; /* changed as int32_t are */
static float prefill_x[B * D * 4], prefilled[STATES + B * D * 4];

static cc1d_status run_prefill(const cc1d_exec *exec) {
    const cc1d_tensor x = check_tensor(prefill_x, CC1D_FLOAT32, 3, B, D, 4),
                      out = check_tensor(prefilled + STATES, CC1D_FLOAT32, 3, B, D, 4),
                      pool = check_tensor(prefilled, CC1D_FLOAT32, 3, 8, D, 6),
                      weight = check_tensor(weight_data, CC1D_FLOAT32, 2, D, W, 0),
                      rows = check_tensor(index_data, CC1D_INT32, 1, B, 0, 0),
                      written_rows = check_tensor(second_data, CC1D_INT32, 1, B, 0, 0),
                      lengths = check_tensor(lengths_data, CC1D_INT32, 1, B, 0, 0),
                      flags = check_tensor(flags_data, CC1D_BOOL, 1, B, 0, 0);
    const cc1d_forward_args args = {.size = sizeof args,
                                    .x = &x,
                                    .weight = &weight,
                                    .out = &out,
                                    .lengths = &lengths,
                                    .conv_states = &pool,
                                    .conv_state_indices = &rows,
                                    .conv_state_out_indices = &written_rows,
                                    .has_initial_state = &flags,
                                    .pad_slot_id = -1};
    return cc1d_forward(&args, exec);
}

static void test_prefill(void) {
    static float start[STATES + B * D * 4];
    check_fill(prefill_x, B * D * 4, 1), check_fill(start, STATES, 2), check_fill(weight_data, D * W, 3);
    const int32_t read_rows[B] = {6, 6, 1, -1}, written_rows[B] = {0, 2, 1, 3}, lengths[B] = {4, 0, 3, 99};
    memcpy(index_data, read_rows, sizeof read_rows), memcpy(second_data, written_rows, sizeof written_rows);
    memcpy(lengths_data, lengths, sizeof lengths), memset(flags_data, 1, sizeof flags_data);
    int32_t *const each[] = {index_data, second_data, lengths_data, (int32_t *)(void *)flags_data};
    for (int i = 0; i < 4; i++) check_unchanged(run_prefill, prefilled, sizeof prefilled, each[i], B, start);
}

int main(void) {
    const check_test tests[] = {{"update", test_update},
                                {"prefill", test_prefill},
                                {"cu_seqlens", test_packed},
                                {"seq_idx", test_seq_idx}};
    return check_run(tests, sizeof tests / sizeof *tests);
}
