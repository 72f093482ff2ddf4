/* test_validate.c - every kind of bad argument is refused with the status and line that name it, and nothing
 * is written. */
#include "check.h"

enum { B = 2, D = 3, T = 5, W = 4, N = 2 };

/* One good call of each operation; a test spoils one thing and puts it back. */
static float x_data[B * D * T], y_data[B * D * T], weight_data[D * W], bias_data[D],
    states_data[B * D * (W - 1)], final_data[B * D * (W - 1)], big_data[B * D * T * 4];
static int32_t seq_data[B * T], index_data[B], cu_data[N + 1];
static cc1d_tensor x, y, weight, bias, states, final, seq_idx, indices, cu;
static cc1d_forward_args forward;
static cc1d_update_args update;

static void reset(void) {
    x = check_tensor(x_data, CC1D_FLOAT32, 3, B, D, T);
    y = check_tensor(y_data, CC1D_FLOAT32, 3, B, D, T);
    weight = check_tensor(weight_data, CC1D_FLOAT32, 2, D, W, 0);
    bias = check_tensor(bias_data, CC1D_FLOAT32, 1, D, 0, 0);
    states = check_tensor(states_data, CC1D_FLOAT32, 3, B, D, W - 1);
    final = check_tensor(final_data, CC1D_FLOAT32, 3, B, D, W - 1);
    seq_idx = check_tensor(seq_data, CC1D_INT32, 2, B, T, 0);
    indices = check_tensor(index_data, CC1D_INT32, 1, B, 0, 0);
    cu = check_tensor(cu_data, CC1D_INT32, 1, N + 1, 0, 0);
    index_data[0] = 0, index_data[1] = 1;
    cu_data[0] = 0, cu_data[1] = 2, cu_data[2] = T;
    for (int i = 0; i < B * D * T; i++) y_data[i] = 42;
    for (int i = 0; i < B * D * (W - 1); i++) states_data[i] = 7, final_data[i] = 42;
    forward =
        (cc1d_forward_args){.size = sizeof forward, .x = &x, .weight = &weight, .bias = &bias, .out = &y};
    update = (cc1d_update_args){.size = sizeof update,
                                .x = &x,
                                .conv_state = &states,
                                .weight = &weight,
                                .out = &y,
                                .pad_slot_id = -1};
}

static void check_untouched(void) {
    for (int i = 0; i < B * D * T; i++) CHECK(y_data[i] == 42);
    for (int i = 0; i < B * D * (W - 1); i++) CHECK(states_data[i] == 7 && final_data[i] == 42);
}

static void refused(cc1d_status got, cc1d_status expected, const char *line) {
    if (got != expected || strcmp(cc1d_last_error(), line) != 0) {
        check_failures++;
        printf("  expected %s: %s\n  got      %s: %s\n", cc1d_status_name(expected), line,
               cc1d_status_name(got), cc1d_last_error());
    }
    check_untouched();
    reset();
}

static void forward_refused(cc1d_status expected, const char *line) {
    refused(cc1d_forward(&forward, NULL), expected, line);
}
static void update_refused(cc1d_status expected, const char *line) {
    refused(cc1d_update(&update, NULL), expected, line);
}

static void test_forward(void) {
    reset();
    char line[96];
    snprintf(line, sizeof line, "args: expected size = %zu, got 8", sizeof forward);
    forward.size = 8;
    forward_refused(CC1D_ERROR_VALUE, line);
    forward.x = NULL;
    forward_refused(CC1D_ERROR_VALUE, "x: expected a tensor, got none");
    forward.out = NULL;
    forward_refused(CC1D_ERROR_VALUE, "out: expected a tensor, got none");
    x.ndim = 2;
    forward_refused(CC1D_ERROR_VALUE, "x: expected shape (B, D, T), got (2, 3)");
    x.ndim = 4;
    forward_refused(CC1D_ERROR_VALUE, "x: expected shape (B, D, T), got a 4-dimensional tensor");
    x.dtype = CC1D_INT32;
    forward_refused(CC1D_ERROR_TYPE, "x: expected float32, float16, bfloat16 or float64, got int32");
    x.dtype = 77;
    forward_refused(CC1D_ERROR_TYPE,
                    "x: expected float32, float16, bfloat16 or float64, got an unsupported dtype");
    x.device = 9;
    forward_refused(CC1D_ERROR_VALUE, "x: expected a cpu, cuda or mps tensor, got an unknown device");
    x.data = NULL;
    forward_refused(CC1D_ERROR_VALUE, "x: expected a data pointer, got NULL");
    x.strides[1] = -1;
    forward_refused(CC1D_ERROR_VALUE,
                    "x: expected shape and strides >= 0, got size 3 and stride -1 at dimension 1");
    weight.shape[0] = 4;
    forward_refused(CC1D_ERROR_VALUE, "weight: expected shape (D, W) = (3, 4), got (4, 4)");
    weight.shape[1] = 0;
    forward_refused(CC1D_ERROR_VALUE, "weight: expected width W >= 1, got 0");
    weight.dtype = CC1D_FLOAT64;
    forward_refused(
        CC1D_ERROR_TYPE,
        "weight: expected float32, float16 or bfloat16 (float64 only with float64 x), got float64");
    bias.shape[0] = 2;
    forward_refused(CC1D_ERROR_VALUE, "bias: expected shape (D) = (3,), got (2,)");
    bias.device = CC1D_CUDA;
    forward_refused(CC1D_ERROR_VALUE, "bias: expected device cpu like x, got cuda:0");
    y.dtype = CC1D_BFLOAT16;
    forward_refused(CC1D_ERROR_TYPE, "out: expected float32 like x, got bfloat16");
    y.shape[2] = 4;
    forward_refused(CC1D_ERROR_VALUE, "out: expected shape (B, D, T) = (2, 3, 5), got (2, 3, 4)");
    forward.activation = 2;
    forward_refused(CC1D_ERROR_UNSUPPORTED, "activation: expected 0 (none) or 1 (silu), got 2");
    static const char metal[] =
        "mps tensors run on PyTorch's own stream (Python only); the C library has no host code for mps";
    x.device = weight.device = bias.device = y.device = CC1D_METAL;
    cc1d_backward_args backward = {.size = sizeof backward, .x = &x, .weight = &weight, .dout = &x};
    size_t bytes;
    backward.dweight = &y, y.ndim = 2, y.shape[0] = D, y.shape[1] = W, y.strides[0] = W, y.strides[1] = 1;
    CHECK_STATUS(cc1d_backward_scratch(&backward, &bytes), CC1D_ERROR_UNSUPPORTED);
    CHECK(strcmp(cc1d_last_error(), metal) == 0);
    reset();
    x.device = weight.device = bias.device = y.device = CC1D_METAL;
    forward_refused(CC1D_ERROR_UNSUPPORTED, metal);
    cc1d_exec exec = {.size = sizeof exec + 8};
    snprintf(line, sizeof line, "exec: expected size = %zu, got %zu", sizeof exec, sizeof exec + 8);
    refused(cc1d_forward(&forward, &exec), CC1D_ERROR_VALUE, line);
}

static void test_sequences(void) {
    reset();
    forward.seq_idx = &seq_idx, forward.cu_seqlens = &cu;
    forward_refused(CC1D_ERROR_VALUE, "seq_idx, cu_seqlens: expected at most one of them, got both");
    forward.seq_idx = &seq_idx, seq_idx.dtype = CC1D_FLOAT32;
    forward_refused(CC1D_ERROR_TYPE, "seq_idx: expected int32 or int64, got float32");
    forward.seq_idx = &seq_idx, seq_idx.shape[1] = 4;
    forward_refused(CC1D_ERROR_VALUE, "seq_idx: expected shape (B, T) = (2, 5), got (2, 4)");
    forward.cu_seqlens = &cu;
    forward_refused(CC1D_ERROR_VALUE, "cu_seqlens: expected x with batch size 1, got 2");
    x.shape[0] = y.shape[0] = 1, forward.cu_seqlens = &cu, cu_data[0] = 1;
    forward_refused(CC1D_ERROR_VALUE, "cu_seqlens: expected to start at 0, got 1");
    x.shape[0] = y.shape[0] = 1, forward.cu_seqlens = &cu, cu_data[1] = 6;
    forward_refused(CC1D_ERROR_VALUE,
                    "cu_seqlens: expected non-decreasing values from 0 to 5, got 6 after 0 at element 1");
    x.shape[0] = y.shape[0] = 1, forward.cu_seqlens = &cu, cu.shape[0] = 0;
    forward_refused(CC1D_ERROR_VALUE, "cu_seqlens: expected at least one element, got none");
    forward.initial_states = &states, states.shape[2] = 2;
    forward_refused(CC1D_ERROR_VALUE,
                    "initial_states: expected shape (B, D, W-1) = (2, 3, 3), got (2, 3, 2)");
    forward.final_states = &final, final.dtype = CC1D_FLOAT16;
    forward_refused(CC1D_ERROR_TYPE, "final_states: expected float32 like x, got float16");
}

static void test_overlap(void) {
    reset();
    forward.out = &x;
    forward_refused(CC1D_ERROR_VALUE, "out: expected memory of its own, got memory that overlaps x");
    y.strides[2] = 0;
    forward_refused(CC1D_ERROR_VALUE,
                    "out: expected memory without overlap inside the tensor, got strides (15, 5, 0)");
    forward.initial_states = &states, forward.final_states = &states;
    forward_refused(CC1D_ERROR_VALUE,
                    "final_states: expected memory of its own, got memory that overlaps initial_states");
    forward.residual = &y;
    forward_refused(CC1D_ERROR_VALUE, "out: expected memory of its own, got memory that overlaps residual");

    /* Neighbouring slices of one wide row lie inside each other's range without sharing an element. */
    reset();
    x.data = big_data, y.data = big_data + T;
    x.strides[1] = y.strides[1] = 2 * T, x.strides[0] = y.strides[0] = 2 * T * D;
    CHECK_STATUS(cc1d_forward(&forward, NULL), CC1D_OK);
    y.data = big_data + T - 1;
    CHECK_STATUS(cc1d_forward(&forward, NULL), CC1D_ERROR_VALUE);
    y.data = big_data + 2 * T * D - 1; /* the last row of one meets the first of the next batch row */
    CHECK_STATUS(cc1d_forward(&forward, NULL), CC1D_ERROR_VALUE);
    /* Channel-last beside channel-last. */
    reset();
    x.data = big_data, y.data = big_data + D;
    x.strides[0] = y.strides[0] = 2 * D * T, x.strides[1] = y.strides[1] = 1,
    x.strides[2] = y.strides[2] = 2 * D;
    CHECK_STATUS(cc1d_forward(&forward, NULL), CC1D_OK);
}

static void test_update(void) {
    reset();
    states.shape[2] = 2;
    update_refused(CC1D_ERROR_VALUE, "conv_state: expected state length S >= W-1 = 3, got 2");
    states.shape[0] = 1;
    update_refused(CC1D_ERROR_VALUE, "conv_state: expected shape (B, D, S) = (2, 3, 3), got (1, 3, 3)");
    states.dtype = CC1D_FLOAT64;
    update_refused(
        CC1D_ERROR_TYPE,
        "conv_state: expected float32, float16 or bfloat16 (float64 only with float64 x), got float64");
    x.ndim = 1;
    update_refused(CC1D_ERROR_VALUE, "x: expected shape (B, D) or (B, D, T), got (2,)");
    update.conv_state_indices = &indices, index_data[1] = 2;
    update_refused(CC1D_ERROR_VALUE,
                   "conv_state_indices: expected values below the pool's 2 rows, got 2 at element 1");
    update.conv_state_indices = &indices, index_data[1] = 0;
    update_refused(CC1D_ERROR_VALUE,
                   "conv_state_indices: expected each live index once, got 0 again at element 1");
    update.conv_state_out_indices = &indices, index_data[0] = 1, index_data[1] = 0;
    update_refused(
        CC1D_ERROR_VALUE,
        "conv_state_out_indices: expected no row that is read for another row of x, got 0, which is "
        "read for element 0");
    update.cache_seqlens = &indices, index_data[0] = -3;
    update_refused(CC1D_ERROR_VALUE, "cache_seqlens: expected values >= 0, got -3 at element 0");
    update.cache_seqlens = update.num_accepted_tokens = &indices;
    update_refused(CC1D_ERROR_VALUE,
                   "num_accepted_tokens, cache_seqlens: expected at most one of them, got both");
    update.num_accepted_tokens = &indices;
    update_refused(CC1D_ERROR_VALUE,
                   "conv_state: expected state length S >= W-2 + T = 7 with num_accepted_tokens, got 3");
}

static void test_backward(void) {
    reset();
    float dx_data[B * D * T], dweight_data[D * W];
    cc1d_tensor dx = check_tensor(dx_data, CC1D_FLOAT32, 3, B, D, T),
                dweight = check_tensor(dweight_data, CC1D_FLOAT16, 2, D, W, 0);
    cc1d_backward_args args = {
        .size = sizeof args, .dout = &y, .x = &x, .weight = &weight, .dx = &dx, .dweight = &dweight};
    refused(cc1d_backward(&args, NULL), CC1D_ERROR_TYPE,
            "dweight: expected float32 like weight, got float16");
    dweight.dtype = CC1D_FLOAT32;
    size_t bytes = 0;
    CHECK_STATUS(cc1d_backward_scratch(&args, &bytes), CC1D_OK);
    CHECK(bytes > 0);
    CHECK_STATUS(cc1d_backward(&args, NULL), CC1D_ERROR_VALUE);
    CHECK(strncmp(cc1d_last_error(), "scratch: expected at least ", 27) == 0);
    args.dout = NULL;
    refused(cc1d_backward(&args, NULL), CC1D_ERROR_VALUE, "dout: expected a tensor, got none");
}

static void test_implementation(void) {
    CHECK_STATUS(cc1d_set_cpu_implementation("abacus"), CC1D_ERROR_VALUE);
    CHECK(strstr(cc1d_last_error(), "scalar") != NULL);
    CHECK_STATUS(cc1d_set_cpu_implementation("scalar"), CC1D_OK);
    reset();
    CHECK_STATUS(cc1d_forward(&forward, NULL), CC1D_OK);
    CHECK(strcmp(cc1d_last_kernel(), "cpu/scalar/forward") == 0);
    CHECK_STATUS(cc1d_set_cpu_implementation(NULL), CC1D_OK);
    CHECK(cc1d_cpu_implementation(0) != NULL && cc1d_cpu_implementation(99) == NULL);
    char detail[8];
    CHECK(cc1d_device_available(CC1D_CPU, detail, sizeof detail) == 1 && memchr(detail, 0, sizeof detail));
    CHECK(cc1d_device_available(CC1D_CPU, NULL, 0) == 1);
}

int main(void) {
    const check_test tests[] = {{"forward", test_forward},   {"sequences", test_sequences},
                                {"overlap", test_overlap},   {"update", test_update},
                                {"backward", test_backward}, {"implementation", test_implementation}};
    return check_run(tests, sizeof tests / sizeof *tests);
}
