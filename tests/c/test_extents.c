/* test_extents.c - sizes, strides and addresses near and beyond what 64 bits hold. Nothing overflows (run
 * under UBSan), and no walk is as long as a tensor that takes no memory says it is. */
#include "check.h"
#include "core/run.h"
#include "core/validate.h"
#include "core/validate_tensor.h"

#define POWER(n) ((int64_t)1 << (n))

static float memory[64];
static int64_t zero[1];

static cc1d_tensor tensor(int32_t ndim, int64_t n0, int64_t n1, int64_t n2, int64_t s0, int64_t s1,
                          int64_t s2) {
    return (cc1d_tensor){.data = memory, .ndim = ndim, .shape = {n0, n1, n2}, .strides = {s0, s1, s2}};
}

static void refused(cc1d_status got, const char *line) {
    CHECK_STATUS(got, CC1D_ERROR_VALUE);
    CHECK(strcmp(cc1d_last_error(), line) == 0);
    if (strcmp(cc1d_last_error(), line) != 0)
        printf("  expected %s\n  got      %s\n", line, cc1d_last_error());
}

static cc1d_status scratch_of(const cc1d_tensor *x, const cc1d_tensor *weight, const cc1d_tensor *dx) {
    size_t bytes;
    const cc1d_backward_args args = {.size = sizeof args, .dout = x, .x = x, .weight = weight, .dx = dx};
    return cc1d_backward_scratch(&args, &bytes);
}

static void test_bounds(void) {
    const cc1d_tensor x = tensor(3, 1, 1, 4, 4, 4, 1), weight = tensor(2, 1, 1, 0, 1, 1, 0);
    cc1d_tensor bad = tensor(3, 1, 1, 4, 0, 0, POWER(62));
    refused(scratch_of(&x, &weight, &bad),
            "dx: expected at most 2^62 bytes, got shape (1, 1, 4) with strides "
            "(0, 0, 4611686018427387904) of float32");
    bad = tensor(3, POWER(31), POWER(31), POWER(31), 0, 0, 0);
    refused(scratch_of(&bad, &weight, NULL),
            "x: expected at most 2^62 bytes, got shape (2147483648, 2147483648, 2147483648) with strides "
            "(0, 0, 0) of float32");
    bad = tensor(3, POWER(40), POWER(40), 0, 0, 0, 0); /* no element, but B * D alone is too much */
    refused(scratch_of(&bad, &weight, NULL),
            "x: expected at most 2^62 bytes, got shape (1099511627776, 1099511627776, 0) with strides "
            "(0, 0, 0) of float32");
    bad = tensor(2, 1, POWER(62), 0, 0, 0, 0);
    refused(scratch_of(&x, &bad, NULL), "weight: expected width W <= 1073741824, got 4611686018427387904");
    bad = tensor(2, 1, POWER(30), 0, 0, 0, 0);
    const cc1d_tensor wide = tensor(3, 1, 1, POWER(29), 0, 0, 0);
    refused(scratch_of(&wide, &bad, NULL),
            "x: expected at most 2^58 steps of work, got shape (1, 1, 536870912) "
            "with W = 1073741824 and 1073741823 steps of state");
    bad = x;
    bad.data = (void *)(uintptr_t)64, bad.byte_offset = UINT64_MAX - 70;
    refused(scratch_of(&bad, &weight, NULL),
            "x: expected memory inside the address space, got 16 bytes at 0x40 + 18446744073709551545");
    cc1d_tensor all = tensor(3, 1, POWER(20), 4, 0, 0, 0), state = tensor(3, 1, 1, POWER(50), 0, 0, 1);
    const cc1d_tensor many = tensor(2, POWER(20), 1, 0, 0, 0, 0), out = tensor(3, 1, POWER(20), 4, 4, 4, 1);
    all.shape[2] = 1, state.shape[1] = POWER(20), state.strides[1] = 0;
    const cc1d_update_args update = {
        .size = sizeof update, .x = &all, .weight = &many, .conv_state = &state, .out = &out};
    CHECK_STATUS(cc1d_update(&update, NULL), CC1D_ERROR_VALUE);
}

/* Overlap is decided exactly where addresses are 2^61 bytes apart. */
static void test_far_overlap(void) {
    const cc1d_tensor weight = tensor(2, 1, 1, 0, 1, 1, 0);
    const cc1d_tensor x = tensor(3, 1, 1, 2, 0, 0, POWER(59));
    cc1d_tensor dx = x;
    dx.byte_offset = 4;
    CHECK_STATUS(scratch_of(&x, &weight, &dx), CC1D_OK);
    dx.byte_offset = (uint64_t)POWER(61) - 4;
    CHECK_STATUS(scratch_of(&x, &weight, &dx), CC1D_OK);
    dx.byte_offset = (uint64_t)POWER(61) + 2;
    refused(scratch_of(&x, &weight, &dx), "dx: expected memory of its own, got memory that overlaps dout");
    dx.byte_offset = (uint64_t)POWER(61) + 4;
    CHECK_STATUS(scratch_of(&x, &weight, &dx), CC1D_OK);
}

/* Index tensors of 2^59 elements that are all the same one: each is a value, read once. */
static void test_long_index_tensors(void) {
    cc1d_tensor x = tensor(3, 1, 2, 0, 0, 0, 0), weight = tensor(2, 2, 1, 0, 1, 1, 0);
    cc1d_tensor cu = tensor(1, POWER(59), 0, 0, 0, 0, 0), states = tensor(3, 3, 2, 0, 0, 0, 0), out = x;
    cu.data = zero, cu.dtype = CC1D_INT64;
    cc1d_forward_args args = {
        .size = sizeof args, .x = &x, .weight = &weight, .cu_seqlens = &cu, .out = &out};
    CHECK_STATUS(cc1d_forward(&args, NULL), CC1D_OK); /* that many empty sequences */
    args.initial_states = &states;
    refused(cc1d_forward(&args, NULL),
            "initial_states: expected shape (N, D, W-1) = (576460752303423487, 2, 0), "
            "got (3, 2, 0)");
    args.initial_states = NULL, x.shape[2] = out.shape[2] = 1;
    out.data = memory + 8, out.strides[1] = 1;
    memory[8] = memory[9] = 7;
    CHECK_STATUS(cc1d_forward(&args, NULL), CC1D_OK); /* and a step behind them all */
    CHECK(memory[8] == 0 && memory[9] == 0);

    cc1d_tensor none = tensor(3, POWER(56), 0, 1, 0, 0, 0), indices = tensor(1, POWER(56), 0, 0, 0, 0, 0),
                pool = tensor(3, 5, 0, 0, 0, 0, 0);
    cc1d_tensor filter = tensor(2, 0, 1, 0, 0, 0, 0);
    int64_t row[1] = {-1};
    indices.data = row, indices.dtype = CC1D_INT64;
    cc1d_tensor nothing = none;
    const cc1d_update_args update = {.size = sizeof update,
                                     .x = &none,
                                     .conv_state = &pool,
                                     .weight = &filter,
                                     .out = &nothing,
                                     .conv_state_indices = &indices,
                                     .pad_slot_id = -1};
    CHECK_STATUS(cc1d_update(&update, NULL), CC1D_OK);
    row[0] = 4;
    refused(cc1d_update(&update, NULL),
            "conv_state_indices: expected each live index once, got 4 again at element 1");
    row[0] = 5;
    refused(cc1d_update(&update, NULL),
            "conv_state_indices: expected values below the pool's 5 rows, got 5 at element 0");
}

/* ---- Arbitrary structs: whatever passes is inside the bounds ---- */

static uint64_t state = 88172645463325252u;

static uint64_t pick(uint64_t below) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state % below;
}

static int64_t wild(void) {
    static const int64_t values[] = {0,         1,         2,         3,         POWER(20), POWER(31) - 1,
                                     POWER(31), POWER(40), POWER(59), POWER(61), POWER(62), INT64_MAX,
                                     INT64_MIN, -1,        4,         POWER(30), 5,         1};
    return values[pick(sizeof values / sizeof *values)];
}

static void scramble(cc1d_tensor *t, int32_t ndim) {
    *t =
        (cc1d_tensor){.data = pick(8) ? memory : NULL, .dtype = pick(20) ? 0 : (int32_t)wild(), .ndim = ndim};
    if (pick(10) == 0) t->byte_offset = (uint64_t)wild();
    if (pick(30) == 0) t->ndim = (int32_t)pick(5) - 1, t->device = (int32_t)pick(5) - 1;
    for (int i = 0; i < 3; i++) t->shape[i] = wild(), t->strides[i] = wild();
}

/* Whether the arguments are accepted; then every extent is in bounds. */
static int check_prepared(const cc1d_arguments *arguments) {
    static cc1d_prepared prepared;
    cc1d_prepare(arguments, &prepared);
    cc1d_problem p;
    if (cc1d_validate(arguments, &p)) return 0;
    for (int role = 0; role < CC1D_ROLES; role++) {
        const cc1d_view *v = &p.view[role];
        long double count = 1, reach = 1;
        for (int i = 0; i < 3 && v->present; i++) {
            count *= v->shape[i] > 1 ? (long double)v->shape[i] : 1;
            reach += v->shape[i] > 1 ? (long double)(v->shape[i] - 1) * (long double)v->stride[i] : 0;
        }
        CHECK(count <= CC1D_MOST_BYTES && reach <= CC1D_MOST_BYTES);
    }
    return 1;
}

static void test_arbitrary(void) {
    int passed = 0;
    for (int round = 0; round < 50000; round++) {
        cc1d_tensor x, like, weight, states, indices;
        scramble(&x, 3), scramble(&weight, 2), scramble(&states, 3), scramble(&indices, 1),
            scramble(&like, 3);
        memcpy(like.shape, x.shape, sizeof like.shape);
        weight.shape[0] = x.shape[1], states.shape[1] = x.shape[1];
        if (pick(2)) states.shape[0] = x.shape[0], states.shape[2] = weight.shape[1] - (weight.shape[1] > 0);
        indices.dtype = CC1D_INT64;
        if (pick(2)) indices.shape[0] = x.shape[0];
        cc1d_tensor *const use = pick(2) ? &states : NULL, *const use_indices = pick(2) ? &indices : NULL;
        const cc1d_arguments backward = {.op = CC1D_OP_BACKWARD,
                                         .tensor = {[CC1D_DOUT] = &like,
                                                    [CC1D_X] = &x,
                                                    [CC1D_WEIGHT] = &weight,
                                                    [CC1D_DINITIAL] = use,
                                                    [CC1D_DX] = &like}};
        passed += check_prepared(&backward);
        const cc1d_arguments forward = {.op = CC1D_OP_FORWARD,
                                        .tensor = {[CC1D_X] = &x,
                                                   [CC1D_WEIGHT] = &weight,
                                                   [CC1D_OUT] = &like,
                                                   [CC1D_CU] = use_indices,
                                                   [CC1D_FINAL] = use}};
        passed += check_prepared(&forward);
        const cc1d_arguments update = {.op = CC1D_OP_UPDATE,
                                       .tensor = {[CC1D_X] = &x,
                                                  [CC1D_WEIGHT] = &weight,
                                                  [CC1D_OUT] = &like,
                                                  [CC1D_STATE] = &states,
                                                  [CC1D_INDICES] = use_indices}};
        passed += check_prepared(&update);
        x.ndim = 2;
        const cc1d_arguments varlen = {.op = CC1D_OP_VARLEN_STATES,
                                       .tensor = {[CC1D_X] = &x,
                                                  [CC1D_CU] = &indices,
                                                  [CC1D_INITIAL] = use_indices ? &like : NULL,
                                                  [CC1D_POSITIONS] = use_indices,
                                                  [CC1D_OUT_INDICES] = use_indices,
                                                  [CC1D_FINAL] = &states}};
        passed += check_prepared(&varlen);
    }
    CHECK(passed > 100);
}

int main(void) {
    const check_test tests[] = {{"bounds", test_bounds},
                                {"far overlap", test_far_overlap},
                                {"long index tensors", test_long_index_tensors},
                                {"arbitrary structs", test_arbitrary}};
    return check_run(tests, sizeof tests / sizeof *tests);
}
