/* validate.c - every rule about arguments, once. See validate.h. */
#include "validate.h"

#include <stdio.h>
#include <string.h>

#include "checked.h"
#include "validate_overlap.h"

const char *cc1d_role_name(cc1d_operation op, cc1d_role role) {
    static const char *const names[CC1D_ROLES] = {
        [CC1D_X] = "x",
        [CC1D_WEIGHT] = "weight",
        [CC1D_BIAS] = "bias",
        [CC1D_SEQ_IDX] = "seq_idx",
        [CC1D_CU] = "cu_seqlens",
        [CC1D_INITIAL] = "initial_states",
        [CC1D_RESIDUAL] = "residual",
        [CC1D_OUT] = "out",
        [CC1D_FINAL] = "final_states",
        [CC1D_DOUT] = "dout",
        [CC1D_DFINAL] = "dfinal_states",
        [CC1D_DX] = "dx",
        [CC1D_DWEIGHT] = "dweight",
        [CC1D_DBIAS] = "dbias",
        [CC1D_DINITIAL] = "dinitial_states",
        [CC1D_STATE] = "conv_state",
        [CC1D_CACHE] = "cache_seqlens",
        [CC1D_INDICES] = "conv_state_indices",
        [CC1D_ACCEPTED] = "num_accepted_tokens",
    };
    return op == CC1D_OP_VARLEN_STATES && role == CC1D_FINAL ? "states" : names[role];
}

static const char *dtype_name(int32_t dtype) {
    static const char *const names[] = {"float32", "float16", "bfloat16",  "float64",
                                        "int32",   "int64",   "bool",      "uint8",
                                        "int8",    "int16",   "complex64", "complex128"};
    return dtype >= 0 && dtype <= CC1D_COMPLEX128 ? names[dtype] : "an unsupported dtype";
}

/* "cuda:0" for messages, as PyTorch has it. */
static const char *format_device(char text[32], int32_t device, int32_t index) {
    static const char *const names[] = {"cpu", "cuda", "mps"};
    const bool known = device >= 0 && device <= CC1D_METAL;
    if (!known || device == CC1D_CPU)
        snprintf(text, 32, "%s", known ? names[device] : "an unknown device");
    else
        snprintf(text, 32, "%s:%d", names[device], (int)index);
    return text;
}

/* "(2, 3)" for messages. */
static const char *format_shape(char text[96], int32_t ndim, const int64_t *shape) {
    if (ndim < 0 || ndim > CC1D_MAX_DIMS) {
        snprintf(text, 96, "a %d-dimensional tensor", (int)ndim);
        return text;
    }
    int length = snprintf(text, 96, "(");
    for (int32_t i = 0; i < ndim; i++)
        length += snprintf(text + length, 96 - (size_t)length, i ? ", %lld" : "%lld", (long long)shape[i]);
    snprintf(text + length, 96 - (size_t)length, ndim == 1 ? ",)" : ")");
    return text;
}

typedef enum { FLOATING, SAME_AS_X, INDEX, PARAMETER } dtype_rule;

/* More than any memory holds, and so little that products of two sizes, and of strides and sizes in bytes,
 * stay in range everywhere below. */
static const int64_t MOST_ELEMENTS = (int64_t)1 << 48, MOST_BYTES = (int64_t)1 << 60;

/* Elements, and bytes from the first to the end of the last; sizes of 0 count as 1. */
static cc1d_status check_extent(const char *name, const cc1d_view *v, uint64_t address) {
    const int64_t item = (int64_t)cc1d_itemsize(v->dtype);
    int64_t count = 1, bytes = item;
    for (int i = 0; i < 3; i++) {
        if (v->shape[i] < 2) continue;
        count = cc1d_times(count, v->shape[i]);
        bytes = cc1d_plus(bytes, cc1d_times(cc1d_times(v->shape[i] - 1, v->stride[i]), item));
    }
    if (count > MOST_ELEMENTS)
        return cc1d_fail(CC1D_ERROR_VALUE,
                         "%s: expected at most 2^48 elements, got sizes of (%lld, %lld, %lld)", name,
                         (long long)v->shape[0], (long long)v->shape[1], (long long)v->shape[2]);
    if (bytes > MOST_BYTES || address > UINT64_MAX - (uint64_t)bytes || address > UINTPTR_MAX)
        return cc1d_fail(CC1D_ERROR_VALUE,
                         "%s: expected memory inside the address space, got strides (%lld, %lld, %lld) from "
                         "address 0x%llx on",
                         name, (long long)v->stride[0], (long long)v->stride[1], (long long)v->stride[2],
                         (unsigned long long)address);
    return CC1D_OK;
}

/* Checks dtype, device and sizes of one tensor and stores its canonical view. x must be stored before the
 * others. */
static cc1d_status take(cc1d_problem *p, cc1d_role role, const cc1d_tensor *tensor, dtype_rule rule) {
    const char *name = cc1d_role_name(p->op, role);
    cc1d_view *view = &p->view[role];
    const int32_t x_dtype = p->view[CC1D_X].dtype;
    const bool floating = tensor->dtype >= CC1D_FLOAT32 && tensor->dtype <= CC1D_FLOAT64;
    const char *expected = NULL;
    switch (rule) {
    case FLOATING:
        if (!floating) expected = "float32, float16, bfloat16 or float64";
        break;
    case PARAMETER:
        if (!floating)
            expected = "float32, float16, bfloat16 or float64";
        else if (tensor->dtype == CC1D_FLOAT64 && x_dtype != CC1D_FLOAT64)
            expected = "float32, float16 or bfloat16 (float64 only with float64 x)";
        break;
    case SAME_AS_X:
        if (tensor->dtype != x_dtype)
            return cc1d_fail(CC1D_ERROR_TYPE, "%s: expected %s like x, got %s", name, dtype_name(x_dtype),
                             dtype_name(tensor->dtype));
        break;
    case INDEX:
        if (tensor->dtype != CC1D_INT32 && tensor->dtype != CC1D_INT64) expected = "int32 or int64";
        break;
    }
    if (expected)
        return cc1d_fail(CC1D_ERROR_TYPE, "%s: expected %s, got %s", name, expected,
                         dtype_name(tensor->dtype));
    char device[32], x_device[32];
    format_device(device, tensor->device, tensor->device_index);
    if (role == CC1D_X && (tensor->device < CC1D_CPU || tensor->device > CC1D_METAL))
        return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected a cpu, cuda or mps tensor, got %s", name, device);
    if (role != CC1D_X && (tensor->device != (int32_t)p->device || tensor->device_index != p->device_index))
        return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected device %s like x, got %s", name,
                         format_device(x_device, (int32_t)p->device, p->device_index), device);
    int64_t count = 1;
    for (int32_t i = 0; i < 3; i++) {
        view->shape[i] = i < tensor->ndim ? tensor->shape[i] : 1;
        view->stride[i] = i < tensor->ndim ? tensor->strides[i] : 0;
        if (view->shape[i] < 0 || (view->stride[i] < 0 && view->shape[i] > 1))
            return cc1d_fail(
                CC1D_ERROR_VALUE,
                "%s: expected shape and strides >= 0, got size %lld and stride %lld at dimension %d", name,
                (long long)view->shape[i], (long long)view->stride[i], (int)i);
        count = view->shape[i] ? count : 0;
    }
    if (count && !tensor->data)
        return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected a data pointer, got NULL", name);
    view->dtype = tensor->dtype;
    uint64_t address = (uint64_t)(uintptr_t)tensor->data;
    if (tensor->byte_offset > UINT64_MAX - address)
        return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected a byte_offset inside the address space, got %llu",
                         name, (unsigned long long)tensor->byte_offset);
    address += tensor->byte_offset;
    const cc1d_status status = check_extent(name, view, address);
    if (status) return status;
    view->data = tensor->data ? (char *)tensor->data + tensor->byte_offset : NULL;
    view->buffer = tensor->device == CC1D_METAL ? tensor->data : NULL;
    view->present = true;
    return CC1D_OK;
}

/* The shape that a tensor must have, in the words of the documentation and in numbers. */
static cc1d_status check_shape(const cc1d_problem *p, cc1d_role role, const cc1d_tensor *tensor, int32_t ndim,
                               const char *letters, int64_t n0, int64_t n1, int64_t n2) {
    const int64_t want[3] = {n0, n1, n2};
    bool same = tensor->ndim == ndim;
    for (int32_t i = 0; same && i < ndim; i++) same = tensor->shape[i] == want[i];
    if (same) return CC1D_OK;
    char expected[96], got[96];
    return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected shape %s = %s, got %s", cc1d_role_name(p->op, role),
                     letters, format_shape(expected, ndim, want),
                     format_shape(got, tensor->ndim, tensor->shape));
}

static cc1d_status check_ndim(const cc1d_problem *p, cc1d_role role, const cc1d_tensor *tensor, int32_t ndim,
                              const char *letters) {
    if (tensor->ndim == ndim) return CC1D_OK;
    char got[96];
    return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected shape %s, got %s", cc1d_role_name(p->op, role), letters,
                     format_shape(got, tensor->ndim, tensor->shape));
}

#define CHECK(expression)                         \
    do {                                          \
        const cc1d_status status_ = (expression); \
        if (status_) return status_;              \
    } while (0)

/* An optional tensor: absent is fine. */
#define OPTIONAL(role, tensor, rule, ndim, letters, n0, n1, n2)                           \
    do {                                                                                  \
        if (tensor) {                                                                     \
            CHECK(check_shape(p, (role), (tensor), (ndim), (letters), (n0), (n1), (n2))); \
            CHECK(take(p, (role), (tensor), (rule)));                                     \
        }                                                                                 \
    } while (0)

cc1d_status cc1d_take_struct(const char *name, const void *given, void *whole, const size_t *sizes,
                             int versions) {
    const size_t known = sizes[versions - 1];
    size_t size;
    if (!given) return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected a struct, got NULL", name);
    memcpy(&size, given, sizeof size);
    for (int i = 0; i < versions; i++) {
        if (size != sizes[i]) continue;
        memset(whole, 0, known);
        memcpy(whole, given, size);
        memcpy(whole, &known, sizeof known);
        return CC1D_OK;
    }
    return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected size = %zu, got %zu", name, known, size);
}

/* Begins a problem with the caller's arguments completed. `...`: where each version of the struct ended, the
 * oldest first: offsetof the first field that the next one appended; sizeof for the newest. */
#define BEGIN(operation, whole, given, ...)                                                           \
    do {                                                                                              \
        static const size_t sizes_[] = {__VA_ARGS__};                                                 \
        CHECK(cc1d_take_struct("args", given, whole, sizes_, (int)(sizeof sizes_ / sizeof *sizes_))); \
        memset(p, 0, sizeof *p);                                                                      \
        p->op = operation;                                                                            \
    } while (0)

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
    CHECK(require(p, CC1D_X, x));
    CHECK(check_ndim(p, CC1D_X, x, 3, "(B, D, T)"));
    p->device = (cc1d_device)x->device;
    p->device_index = x->device_index;
    CHECK(take(p, CC1D_X, x, FLOATING));
    p->batch = x->shape[0];
    p->dim = x->shape[1];
    p->seqlen = x->shape[2];
    p->sequences = p->batch;
    return CC1D_OK;
}

static cc1d_status take_weight(cc1d_problem *p, const cc1d_tensor *weight, const cc1d_tensor *bias) {
    CHECK(require(p, CC1D_WEIGHT, weight));
    CHECK(check_ndim(p, CC1D_WEIGHT, weight, 2, "(D, W)"));
    if (weight->shape[1] < 1)
        return cc1d_fail(CC1D_ERROR_VALUE, "weight: expected width W >= 1, got %lld",
                         (long long)weight->shape[1]);
    p->width = weight->shape[1];
    CHECK(check_shape(p, CC1D_WEIGHT, weight, 2, "(D, W)", p->dim, p->width, 0));
    CHECK(take(p, CC1D_WEIGHT, weight, PARAMETER));
    OPTIONAL(CC1D_BIAS, bias, PARAMETER, 1, "(D)", p->dim, 0, 0);
    return CC1D_OK;
}

static cc1d_status take_sequences(cc1d_problem *p) {
    p->sequences = p->view[CC1D_CU].shape[0] - 1;
    if (p->sequences >= 0) return CC1D_OK;
    return cc1d_fail(CC1D_ERROR_VALUE, "cu_seqlens: expected at least one element, got none");
}

/* What forward and backward share: x, weight, bias, the sequence structure and the initial states. */
static cc1d_status take_convolution(cc1d_problem *p, const cc1d_tensor *x, const cc1d_tensor *weight,
                                    const cc1d_tensor *bias, const cc1d_tensor *seq_idx,
                                    const cc1d_tensor *cu_seqlens, const cc1d_tensor *initial_states,
                                    int32_t activation) {
    CHECK(take_x(p, x));
    CHECK(take_weight(p, weight, bias));
    CHECK(take_activation(p, activation));
    p->state_len = p->width - 1;
    if (seq_idx && cu_seqlens)
        return cc1d_fail(CC1D_ERROR_VALUE, "seq_idx, cu_seqlens: expected at most one of them, got both");
    OPTIONAL(CC1D_SEQ_IDX, seq_idx, INDEX, 2, "(B, T)", p->batch, p->seqlen, 0);
    if (cu_seqlens) {
        CHECK(check_ndim(p, CC1D_CU, cu_seqlens, 1, "(N+1)"));
        CHECK(take(p, CC1D_CU, cu_seqlens, INDEX));
        if (p->batch != 1)
            return cc1d_fail(CC1D_ERROR_VALUE, "cu_seqlens: expected x with batch size 1, got %lld",
                             (long long)p->batch);
        CHECK(take_sequences(p));
    }
    OPTIONAL(CC1D_INITIAL, initial_states, SAME_AS_X, 3, cu_seqlens ? "(N, D, W-1)" : "(B, D, W-1)",
             p->sequences, p->dim, p->state_len);
    return CC1D_OK;
}

cc1d_status cc1d_validate_forward(const cc1d_forward_args *given, cc1d_problem *p) {
    cc1d_forward_args args;
    BEGIN(CC1D_OP_FORWARD, &args, given, sizeof args);
    const cc1d_forward_args *a = &args;
    CHECK(take_convolution(p, a->x, a->weight, a->bias, a->seq_idx, a->cu_seqlens, a->initial_states,
                           a->activation));
    OPTIONAL(CC1D_RESIDUAL, a->residual, SAME_AS_X, 3, "(B, D, T)", p->batch, p->dim, p->seqlen);
    CHECK(require(p, CC1D_OUT, a->out));
    OPTIONAL(CC1D_OUT, a->out, SAME_AS_X, 3, "(B, D, T)", p->batch, p->dim, p->seqlen);
    OPTIONAL(CC1D_FINAL, a->final_states, SAME_AS_X, 3, a->cu_seqlens ? "(N, D, W-1)" : "(B, D, W-1)",
             p->sequences, p->dim, p->state_len);
    return cc1d_check_overlap(p);
}

cc1d_status cc1d_validate_backward(const cc1d_backward_args *given, cc1d_problem *p) {
    cc1d_backward_args args;
    BEGIN(CC1D_OP_BACKWARD, &args, given, sizeof args);
    const cc1d_backward_args *a = &args;
    CHECK(take_convolution(p, a->x, a->weight, a->bias, a->seq_idx, a->cu_seqlens, a->initial_states,
                           a->activation));
    const char *states = a->cu_seqlens ? "(N, D, W-1)" : "(B, D, W-1)";
    CHECK(require(p, CC1D_DOUT, a->dout));
    OPTIONAL(CC1D_DOUT, a->dout, SAME_AS_X, 3, "(B, D, T)", p->batch, p->dim, p->seqlen);
    OPTIONAL(CC1D_DFINAL, a->dfinal_states, SAME_AS_X, 3, states, p->sequences, p->dim, p->state_len);
    OPTIONAL(CC1D_DX, a->dx, SAME_AS_X, 3, "(B, D, T)", p->batch, p->dim, p->seqlen);
    OPTIONAL(CC1D_DWEIGHT, a->dweight, PARAMETER, 2, "(D, W)", p->dim, p->width, 0);
    OPTIONAL(CC1D_DBIAS, a->dbias, PARAMETER, 1, "(D)", p->dim, 0, 0);
    OPTIONAL(CC1D_DINITIAL, a->dinitial_states, SAME_AS_X, 3, states, p->sequences, p->dim, p->state_len);
    if (a->dweight && a->dweight->dtype != a->weight->dtype)
        return cc1d_fail(CC1D_ERROR_TYPE, "dweight: expected %s like weight, got %s",
                         dtype_name(a->weight->dtype), dtype_name(a->dweight->dtype));
    const cc1d_tensor *like = a->bias ? a->bias : a->weight;
    if (a->dbias && a->dbias->dtype != like->dtype)
        return cc1d_fail(CC1D_ERROR_TYPE, "dbias: expected %s like %s, got %s", dtype_name(like->dtype),
                         a->bias ? "bias" : "weight", dtype_name(a->dbias->dtype));
    return cc1d_check_overlap(p);
}

cc1d_status cc1d_validate_update(const cc1d_update_args *given, cc1d_problem *p) {
    cc1d_update_args args;
    BEGIN(CC1D_OP_UPDATE, &args, given, sizeof args);
    const cc1d_update_args *a = &args;
    CHECK(require(p, CC1D_X, a->x));
    if (a->x->ndim != 2 && a->x->ndim != 3) CHECK(check_ndim(p, CC1D_X, a->x, 3, "(B, D) or (B, D, T)"));
    const bool one_step = a->x->ndim == 2;
    cc1d_tensor x = *a->x;
    if (one_step) x.ndim = 3, x.shape[2] = 1, x.strides[2] = 0;
    CHECK(take_x(p, &x));
    CHECK(take_weight(p, a->weight, a->bias));
    CHECK(take_activation(p, a->activation));
    p->pad_slot_id = a->pad_slot_id;

    CHECK(require(p, CC1D_STATE, a->conv_state));
    const char *letters = a->conv_state_indices ? "(pool, D, S)" : "(B, D, S)";
    CHECK(check_ndim(p, CC1D_STATE, a->conv_state, 3, letters));
    p->state_len = a->conv_state->shape[2];
    p->sequences = a->conv_state->shape[0];
    CHECK(check_shape(p, CC1D_STATE, a->conv_state, 3, letters,
                      a->conv_state_indices ? p->sequences : p->batch, p->dim, p->state_len));
    if (p->state_len < p->width - 1)
        return cc1d_fail(CC1D_ERROR_VALUE, "conv_state: expected state length S >= W-1 = %lld, got %lld",
                         (long long)(p->width - 1), (long long)p->state_len);
    CHECK(take(p, CC1D_STATE, a->conv_state, SAME_AS_X));
    if (a->num_accepted_tokens && a->cache_seqlens)
        return cc1d_fail(CC1D_ERROR_VALUE,
                         "num_accepted_tokens: expected no cache_seqlens beside it, got both (pass the "
                         "accepted length in cache_seqlens instead)");
    OPTIONAL(CC1D_CACHE, a->cache_seqlens, INDEX, 1, "(B)", p->batch, 0, 0);
    OPTIONAL(CC1D_INDICES, a->conv_state_indices, INDEX, 1, "(B)", p->batch, 0, 0);
    OPTIONAL(CC1D_ACCEPTED, a->num_accepted_tokens, INDEX, 1, "(B)", p->batch, 0, 0);
    if (a->cache_seqlens && p->state_len == 0 && p->width == 1)
        p->view[CC1D_CACHE].present = false; /* an empty buffer has no position; W = 1 needs none */
    if (a->num_accepted_tokens && p->state_len < p->width - 1 + (p->seqlen - 1))
        return cc1d_fail(
            CC1D_ERROR_VALUE,
            "conv_state: expected state length S >= W-1 + T-1 = %lld with num_accepted_tokens, got %lld",
            (long long)(p->width - 1 + p->seqlen - 1), (long long)p->state_len);
    CHECK(require(p, CC1D_OUT, a->out));
    OPTIONAL(CC1D_OUT, a->out, SAME_AS_X, one_step ? 2 : 3, one_step ? "(B, D)" : "(B, D, T)", p->batch,
             p->dim, p->seqlen);
    return cc1d_check_overlap(p);
}

cc1d_status cc1d_validate_varlen_states(const cc1d_varlen_states_args *given, cc1d_problem *p) {
    cc1d_varlen_states_args args;
    BEGIN(CC1D_OP_VARLEN_STATES, &args, given, sizeof args);
    const cc1d_varlen_states_args *a = &args;
    CHECK(require(p, CC1D_X, a->x));
    CHECK(check_ndim(p, CC1D_X, a->x, 2, "(total, D)"));
    cc1d_tensor x = *a->x; /* (total, D) is (1, D, total) seen from the side */
    x.ndim = 3;
    x.shape[0] = 1, x.shape[1] = a->x->shape[1], x.shape[2] = a->x->shape[0];
    x.strides[0] = 0, x.strides[1] = a->x->strides[1], x.strides[2] = a->x->strides[0];
    CHECK(take_x(p, &x));
    p->width = 1;
    CHECK(require(p, CC1D_CU, a->cu_seqlens));
    CHECK(check_ndim(p, CC1D_CU, a->cu_seqlens, 1, "(N+1)"));
    CHECK(take(p, CC1D_CU, a->cu_seqlens, INDEX));
    CHECK(take_sequences(p));
    CHECK(require(p, CC1D_FINAL, a->states));
    CHECK(check_ndim(p, CC1D_FINAL, a->states, 3, "(N, D, S)"));
    p->state_len = a->states->shape[2];
    OPTIONAL(CC1D_FINAL, a->states, SAME_AS_X, 3, "(N, D, S)", p->sequences, p->dim, p->state_len);
    return cc1d_check_overlap(p);
}
