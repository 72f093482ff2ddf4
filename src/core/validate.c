/* validate.c - the rules on the arguments of each operation. See validate.h. */
#include "validate.h"

#include <string.h>

#include "names.h"
#include "validate_overlap.h"
#include "validate_tensor.h"

static const int64_t MOST_WIDTH = (int64_t)1 << 30;
static const double MOST_WORK = 0x1p58;

/* An optional tensor: absent is fine. */
#define OPTIONAL(role, tensor, rule, ndim, letters, n0, n1, n2)                                     \
    do {                                                                                            \
        if (tensor) {                                                                               \
            CC1D_CHECK(cc1d_check_shape(p, (role), (tensor), (ndim), (letters), (n0), (n1), (n2))); \
            CC1D_CHECK(cc1d_take_tensor(p, (role), (tensor), (rule)));                              \
        }                                                                                           \
    } while (0)

static void begin(cc1d_problem *p, cc1d_operation op) {
    memset(p, 0, sizeof *p);
    p->op = op;
}

static cc1d_status require(const cc1d_problem *p, cc1d_role role, const cc1d_tensor *tensor) {
    if (tensor) return CC1D_OK;
    return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected a tensor, got none", cc1d_role_name(p->op, role));
}

static cc1d_status take_activation(cc1d_problem *p, int32_t activation) {
    if (activation != CC1D_ACTIVATION_NONE && activation != CC1D_ACTIVATION_SILU)
        return cc1d_fail(CC1D_ERROR_UNSUPPORTED, "activation: expected 0 (none) or 1 (silu), got %d",
                         (int)activation);
    p->activation = (cc1d_activation)activation;
    return CC1D_OK;
}

/* x (B, D, T); the problem's sizes and device come from it. */
static cc1d_status take_x(cc1d_problem *p, const cc1d_tensor *x) {
    CC1D_CHECK(require(p, CC1D_X, x));
    CC1D_CHECK(cc1d_check_ndim(p, CC1D_X, x, 3, "(B, D, T)"));
    p->device = (cc1d_device)x->device;
    p->device_index = x->device_index;
    CC1D_CHECK(cc1d_take_tensor(p, CC1D_X, x, CC1D_ANY_FLOAT));
    p->batch = x->shape[0];
    p->dim = x->shape[1];
    p->seqlen = x->shape[2];
    p->sequences = p->batch;
    return CC1D_OK;
}

static cc1d_status take_weight(cc1d_problem *p, const cc1d_tensor *weight, const cc1d_tensor *bias) {
    CC1D_CHECK(require(p, CC1D_WEIGHT, weight));
    CC1D_CHECK(cc1d_check_ndim(p, CC1D_WEIGHT, weight, 2, "(D, W)"));
    if (weight->shape[1] < 1)
        return cc1d_fail(CC1D_ERROR_VALUE, "weight: expected width W >= 1, got %lld",
                         (long long)weight->shape[1]);
    if (weight->shape[1] > MOST_WIDTH)
        return cc1d_fail(CC1D_ERROR_VALUE, "weight: expected width W <= %lld, got %lld",
                         (long long)MOST_WIDTH, (long long)weight->shape[1]);
    p->width = weight->shape[1];
    CC1D_CHECK(cc1d_check_shape(p, CC1D_WEIGHT, weight, 2, "(D, W)", p->dim, p->width, 0));
    CC1D_CHECK(cc1d_take_tensor(p, CC1D_WEIGHT, weight, CC1D_PARAMETER));
    OPTIONAL(CC1D_BIAS, bias, CC1D_PARAMETER, 1, "(D)", p->dim, 0, 0);
    return CC1D_OK;
}

static double at_least_one(int64_t size) { return size > 0 ? (double)size : 1; }

/* Counts of work: every product of sizes that a backend forms, such as the bytes of its partial sums, is at
 * most a few times `each` for every element of x. */
static cc1d_status check_work(const cc1d_problem *p, int64_t each) {
    const double rows = at_least_one(p->batch) * at_least_one(p->dim);
    if (rows * at_least_one(p->seqlen) * (double)(p->width + 1) <= MOST_WORK &&
        rows * (double)each <= MOST_WORK)
        return CC1D_OK;
    return cc1d_fail(CC1D_ERROR_VALUE,
                     "x: expected at most 2^58 steps of work, got shape (%lld, %lld, %lld) with W = %lld and "
                     "%lld steps of state",
                     (long long)p->batch, (long long)p->dim, (long long)p->seqlen, (long long)p->width,
                     (long long)p->state_len);
}

/* cu_seqlens; the problem has as many sequences as it says. Its values are read later. */
static cc1d_status take_cu_seqlens(cc1d_problem *p, const cc1d_tensor *cu_seqlens) {
    CC1D_CHECK(cc1d_check_ndim(p, CC1D_CU, cu_seqlens, 1, "(N+1)"));
    CC1D_CHECK(cc1d_take_tensor(p, CC1D_CU, cu_seqlens, CC1D_INDEX));
    if (cu_seqlens->shape[0] < 1)
        return cc1d_fail(CC1D_ERROR_VALUE, "cu_seqlens: expected at least one element, got none");
    p->sequences = cu_seqlens->shape[0] - 1;
    return CC1D_OK;
}

/* What forward and backward share: x, weight, bias, the sequence structure and the initial states. */
static cc1d_status take_convolution(cc1d_problem *p, const cc1d_tensor *x, const cc1d_tensor *weight,
                                    const cc1d_tensor *bias, const cc1d_tensor *seq_idx,
                                    const cc1d_tensor *cu_seqlens, const cc1d_tensor *initial_states,
                                    int32_t activation) {
    CC1D_CHECK(take_x(p, x));
    CC1D_CHECK(take_weight(p, weight, bias));
    CC1D_CHECK(take_activation(p, activation));
    p->state_len = p->width - 1;
    CC1D_CHECK(check_work(p, 0));
    if (seq_idx && cu_seqlens)
        return cc1d_fail(CC1D_ERROR_VALUE, "seq_idx, cu_seqlens: expected at most one of them, got both");
    OPTIONAL(CC1D_SEQ_IDX, seq_idx, CC1D_INDEX, 2, "(B, T)", p->batch, p->seqlen, 0);
    if (cu_seqlens) {
        CC1D_CHECK(take_cu_seqlens(p, cu_seqlens));
        if (p->batch != 1)
            return cc1d_fail(CC1D_ERROR_VALUE, "cu_seqlens: expected x with batch size 1, got %lld",
                             (long long)p->batch);
    }
    OPTIONAL(CC1D_INITIAL, initial_states, CC1D_LIKE_X, 3, cu_seqlens ? "(N, D, W-1)" : "(B, D, W-1)",
             p->sequences, p->dim, p->state_len);
    return CC1D_OK;
}

cc1d_status cc1d_validate_forward(const cc1d_forward_args *a, cc1d_problem *p) {
    begin(p, CC1D_OP_FORWARD);
    CC1D_CHECK(take_convolution(p, a->x, a->weight, a->bias, a->seq_idx, a->cu_seqlens, a->initial_states,
                                a->activation));
    OPTIONAL(CC1D_RESIDUAL, a->residual, CC1D_LIKE_X, 3, "(B, D, T)", p->batch, p->dim, p->seqlen);
    CC1D_CHECK(require(p, CC1D_OUT, a->out));
    OPTIONAL(CC1D_OUT, a->out, CC1D_LIKE_X, 3, "(B, D, T)", p->batch, p->dim, p->seqlen);
    OPTIONAL(CC1D_FINAL, a->final_states, CC1D_LIKE_X, 3, a->cu_seqlens ? "(N, D, W-1)" : "(B, D, W-1)",
             p->sequences, p->dim, p->state_len);
    return cc1d_check_overlap(p);
}

cc1d_status cc1d_validate_backward(const cc1d_backward_args *a, cc1d_problem *p) {
    begin(p, CC1D_OP_BACKWARD);
    CC1D_CHECK(take_convolution(p, a->x, a->weight, a->bias, a->seq_idx, a->cu_seqlens, a->initial_states,
                                a->activation));
    const char *states = a->cu_seqlens ? "(N, D, W-1)" : "(B, D, W-1)";
    CC1D_CHECK(require(p, CC1D_DOUT, a->dout));
    OPTIONAL(CC1D_DOUT, a->dout, CC1D_LIKE_X, 3, "(B, D, T)", p->batch, p->dim, p->seqlen);
    OPTIONAL(CC1D_DFINAL, a->dfinal_states, CC1D_LIKE_X, 3, states, p->sequences, p->dim, p->state_len);
    OPTIONAL(CC1D_DX, a->dx, CC1D_LIKE_X, 3, "(B, D, T)", p->batch, p->dim, p->seqlen);
    OPTIONAL(CC1D_DWEIGHT, a->dweight, CC1D_PARAMETER, 2, "(D, W)", p->dim, p->width, 0);
    OPTIONAL(CC1D_DBIAS, a->dbias, CC1D_PARAMETER, 1, "(D)", p->dim, 0, 0);
    OPTIONAL(CC1D_DINITIAL, a->dinitial_states, CC1D_LIKE_X, 3, states, p->sequences, p->dim, p->state_len);
    if (a->dweight && a->dweight->dtype != a->weight->dtype)
        return cc1d_fail(CC1D_ERROR_TYPE, "dweight: expected %s like weight, got %s",
                         cc1d_dtype_name(a->weight->dtype), cc1d_dtype_name(a->dweight->dtype));
    const cc1d_tensor *like = a->bias ? a->bias : a->weight;
    if (a->dbias && a->dbias->dtype != like->dtype)
        return cc1d_fail(CC1D_ERROR_TYPE, "dbias: expected %s like %s, got %s", cc1d_dtype_name(like->dtype),
                         a->bias ? "bias" : "weight", cc1d_dtype_name(a->dbias->dtype));
    return cc1d_check_overlap(p);
}

cc1d_status cc1d_validate_update(const cc1d_update_args *a, cc1d_problem *p) {
    begin(p, CC1D_OP_UPDATE);
    CC1D_CHECK(require(p, CC1D_X, a->x));
    if (a->x->ndim != 2 && a->x->ndim != 3)
        CC1D_CHECK(cc1d_check_ndim(p, CC1D_X, a->x, 3, "(B, D) or (B, D, T)"));
    const bool one_step = a->x->ndim == 2;
    cc1d_tensor x = *a->x;
    if (one_step) x.ndim = 3, x.shape[2] = 1, x.strides[2] = 0;
    CC1D_CHECK(take_x(p, &x));
    CC1D_CHECK(take_weight(p, a->weight, a->bias));
    CC1D_CHECK(take_activation(p, a->activation));
    p->pad_slot_id = a->pad_slot_id;

    CC1D_CHECK(require(p, CC1D_STATE, a->conv_state));
    const char *letters = a->conv_state_indices ? "(pool, D, S)" : "(B, D, S)";
    CC1D_CHECK(cc1d_check_ndim(p, CC1D_STATE, a->conv_state, 3, letters));
    p->state_len = a->conv_state->shape[2];
    p->sequences = a->conv_state->shape[0];
    CC1D_CHECK(cc1d_check_shape(p, CC1D_STATE, a->conv_state, 3, letters,
                                a->conv_state_indices ? p->sequences : p->batch, p->dim, p->state_len));
    if (p->state_len < p->width - 1)
        return cc1d_fail(CC1D_ERROR_VALUE, "conv_state: expected state length S >= W-1 = %lld, got %lld",
                         (long long)(p->width - 1), (long long)p->state_len);
    CC1D_CHECK(cc1d_take_tensor(p, CC1D_STATE, a->conv_state, CC1D_LIKE_X));
    CC1D_CHECK(check_work(p, p->seqlen + p->state_len));
    if (a->num_accepted_tokens && a->cache_seqlens)
        return cc1d_fail(CC1D_ERROR_VALUE,
                         "num_accepted_tokens: expected no cache_seqlens beside it, got both (pass the "
                         "accepted length in cache_seqlens instead)");
    OPTIONAL(CC1D_CACHE, a->cache_seqlens, CC1D_INDEX, 1, "(B)", p->batch, 0, 0);
    OPTIONAL(CC1D_INDICES, a->conv_state_indices, CC1D_INDEX, 1, "(B)", p->batch, 0, 0);
    OPTIONAL(CC1D_ACCEPTED, a->num_accepted_tokens, CC1D_INDEX, 1, "(B)", p->batch, 0, 0);
    if (a->cache_seqlens && p->state_len == 0 && p->width == 1)
        p->view[CC1D_CACHE].present = false; /* an empty buffer has no position; W = 1 needs none */
    if (a->num_accepted_tokens && p->state_len < p->width - 1 + (p->seqlen - 1))
        return cc1d_fail(
            CC1D_ERROR_VALUE,
            "conv_state: expected state length S >= W-1 + T-1 = %lld with num_accepted_tokens, got %lld",
            (long long)(p->width - 1 + p->seqlen - 1), (long long)p->state_len);
    CC1D_CHECK(require(p, CC1D_OUT, a->out));
    OPTIONAL(CC1D_OUT, a->out, CC1D_LIKE_X, one_step ? 2 : 3, one_step ? "(B, D)" : "(B, D, T)", p->batch,
             p->dim, p->seqlen);
    return cc1d_check_overlap(p);
}

cc1d_status cc1d_validate_varlen_states(const cc1d_varlen_states_args *a, cc1d_problem *p) {
    begin(p, CC1D_OP_VARLEN_STATES);
    CC1D_CHECK(require(p, CC1D_X, a->x));
    CC1D_CHECK(cc1d_check_ndim(p, CC1D_X, a->x, 2, "(total, D)"));
    cc1d_tensor x = *a->x; /* (total, D) is (1, D, total) seen from the side */
    x.ndim = 3;
    x.shape[0] = 1, x.shape[1] = a->x->shape[1], x.shape[2] = a->x->shape[0];
    x.strides[0] = 0, x.strides[1] = a->x->strides[1], x.strides[2] = a->x->strides[0];
    CC1D_CHECK(take_x(p, &x));
    p->width = 1;
    CC1D_CHECK(require(p, CC1D_CU, a->cu_seqlens));
    CC1D_CHECK(take_cu_seqlens(p, a->cu_seqlens));
    CC1D_CHECK(require(p, CC1D_FINAL, a->states));
    CC1D_CHECK(cc1d_check_ndim(p, CC1D_FINAL, a->states, 3, "(N, D, S)"));
    p->state_len = a->states->shape[2];
    OPTIONAL(CC1D_FINAL, a->states, CC1D_LIKE_X, 3, "(N, D, S)", p->sequences, p->dim, p->state_len);
    return cc1d_check_overlap(p);
}
