/* validate.c - the rules on the arguments of each operation. See validate.h. */
#include "validate.h"

#include <stdio.h>
#include <string.h>

#include "names.h"
#include "validate_overlap.h"
#include "validate_shape.h"
#include "validate_tensor.h"

static const double MOST_WORK = 0x1p58;

/* ---- One argument
 * -------------------------------------------------------------------------------------------------- */

/* The tensor as kernels see it: (B, D) is (B, D, 1), and (total, D) is (1, D, total) seen from the side. */
static cc1d_tensor canonical(const cc1d_arguments *a, const cc1d_argument *argument,
                             const cc1d_tensor *tensor) {
    const char *letters = cc1d_letters_of(a, argument);
    cc1d_tensor seen = *tensor;
    if (letters[0] == 't' || letters[0] == 'T') {
        seen.ndim = 3;
        seen.shape[0] = 1, seen.shape[1] = tensor->shape[1], seen.shape[2] = tensor->shape[0];
        seen.strides[0] = 0, seen.strides[1] = tensor->strides[1], seen.strides[2] = tensor->strides[0];
    } else if (a->op == CC1D_OP_UPDATE && tensor->ndim == 2 && letters[2]) {
        seen.ndim = 3, seen.shape[2] = 1, seen.strides[2] = 0;
    }
    return seen;
}

static cc1d_status take(cc1d_problem *p, const cc1d_arguments *a, const cc1d_argument *argument) {
    const cc1d_tensor *tensor = a->tensor[argument->role];
    if (!tensor && argument->optional) return CC1D_OK;
    if (!tensor) return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected a tensor, got none", argument->name);
    CC1D_CHECK(cc1d_take_shape(p, a, argument));
    if (argument->role == CC1D_X)
        p->device = (cc1d_device)tensor->device, p->device_index = tensor->device_index;
    const cc1d_tensor seen = canonical(a, argument, tensor);
    return cc1d_take_tensor(p, argument, &seen);
}

/* ---- Several together
 * ----------------------------------------------------------------------------------------------- */

/* What excludes each other, before shapes that one of them decides. */
static cc1d_status check_exclusive(const cc1d_arguments *a) {
    const cc1d_table *table = &cc1d_tables[a->op];
    for (int i = 0; i < table->count; i++)
        for (int j = 0; j < table->count && table->argument[i].excludes; j++)
            if ((table->argument[i].excludes >> table->argument[j].role & 1) &&
                a->tensor[table->argument[i].role] && a->tensor[table->argument[j].role])
                return cc1d_fail(CC1D_ERROR_VALUE, "%s, %s: expected at most one of them, got both",
                                 table->argument[i].name, table->argument[j].name);
    return CC1D_OK;
}

/* What is said of a tensor that is not there. */
static cc1d_status check_needs(const cc1d_arguments *a) {
    const cc1d_table *table = &cc1d_tables[a->op];
    for (int i = 0; i < table->count; i++)
        for (int j = 0; j < table->count && table->argument[i].needs; j++)
            if ((table->argument[i].needs >> table->argument[j].role & 1) &&
                a->tensor[table->argument[i].role] && !a->tensor[table->argument[j].role])
                return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected %s beside it, got none",
                                 table->argument[i].name, table->argument[j].name);
    return CC1D_OK;
}

static cc1d_status check_activation(int32_t activation) {
    if (cc1d_activation_name(activation)) return CC1D_OK;
    char known[128] = "";
    for (int32_t i = 0; cc1d_activation_name(i); i++)
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%d (%s)",
                 i == 0                        ? ""
                 : cc1d_activation_name(i + 1) ? ", "
                                               : " or ",
                 (int)i, cc1d_activation_name(i));
    return cc1d_fail(CC1D_ERROR_UNSUPPORTED, "activation: expected %s, got %d", known, (int)activation);
}

static double at_least_one(int64_t size) { return size > 0 ? (double)size : 1; }

/* Counts of work: every product of sizes that a backend forms, such as the bytes of its partial sums, is at
 * most a few times a step of work for every element of x. */
static cc1d_status check_work(const cc1d_problem *p) {
    const double rows = at_least_one(p->batch) * at_least_one(p->dim);
    const int64_t each = cc1d_has(p, CC1D_STATE)          ? p->seqlen + p->state_len
                         : p->op == CC1D_OP_VARLEN_STATES ? p->state_len
                                                          : 0;
    const double states = at_least_one(p->entries) * at_least_one(p->dim);
    if (rows * at_least_one(p->seqlen) * (double)(p->width + 1) <= MOST_WORK &&
        (rows > states ? rows : states) * (double)each <= MOST_WORK)
        return CC1D_OK;
    return cc1d_fail(CC1D_ERROR_VALUE,
                     "x: expected at most 2^58 steps of work, got shape (%lld, %lld, %lld) with W = %lld and "
                     "%lld steps of state",
                     (long long)p->batch, (long long)p->dim, (long long)p->seqlen, (long long)p->width,
                     (long long)p->state_len);
}

static cc1d_status check_max_seqlen(const cc1d_arguments *a) {
    if (a->max_seqlen < 0)
        return cc1d_fail(CC1D_ERROR_VALUE, "max_seqlen: expected a number >= 0, got %lld",
                         (long long)a->max_seqlen);
    if (a->max_seqlen > 0 && !a->tensor[CC1D_CU])
        return cc1d_fail(CC1D_ERROR_VALUE, "max_seqlen: expected cu_seqlens beside it, got %lld without them",
                         (long long)a->max_seqlen);
    return CC1D_OK;
}

static cc1d_status check_state(cc1d_problem *p, const cc1d_arguments *a) {
    const bool packed = cc1d_has(p, CC1D_CU);
    const int64_t steps = packed ? a->max_seqlen : p->seqlen;
    const char *name = cc1d_role_name(p->op, CC1D_STATE);
    if (p->state_len < p->width - 1)
        return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected state length S >= W-1 = %lld, got %lld", name,
                         (long long)(p->width - 1), (long long)p->state_len);
    if (!cc1d_has(p, CC1D_INDICES) && p->pool_rows < p->sequences)
        return cc1d_fail(CC1D_ERROR_VALUE,
                         "%s: expected at least %s = %lld rows without conv_state_indices, got %lld", name,
                         packed ? "N" : "B", (long long)p->sequences, (long long)p->pool_rows);
    if (p->state_len == 0)
        p->view[CC1D_CACHE].present = false; /* an empty buffer has no position; W = 1 needs none */
    /* Of a tree's nodes nothing is kept there. */
    if (cc1d_has(p, CC1D_ACCEPTED) && !cc1d_has(p, CC1D_PARENTS) && p->state_len - (p->width - 2) < steps)
        return cc1d_fail(
            CC1D_ERROR_VALUE,
            "conv_state: expected state length S >= W-2 + %s = %llu with num_accepted_tokens, got %lld",
            packed ? "max_seqlen" : "T", (unsigned long long)(p->width - 2) + (unsigned long long)steps,
            (long long)p->state_len);
    return CC1D_OK;
}

/* x itself as out: what is read after y has been written there must be found in the state. */
static cc1d_status check_in_place(const cc1d_problem *p) {
    if (p->in_place && cc1d_has(p, CC1D_PARENTS))
        return cc1d_fail(CC1D_ERROR_VALUE, "out: expected memory of its own with parents, got x itself");
    if (!p->in_place || p->seqlen < 2 || p->view[CC1D_STATE].dtype == p->view[CC1D_X].dtype) return CC1D_OK;
    return cc1d_fail(CC1D_ERROR_VALUE,
                     "out: expected memory of its own, because x has several steps and conv_state another "
                     "dtype, got x itself");
}

/* Whether two views of one shape and dtype are the same elements; all that are empty start at NULL. */
static bool is_same(const cc1d_view *a, const cc1d_view *b) {
    return a->shape[0] && a->shape[1] && a->shape[2] && a->data == b->data && a->buffer == b->buffer &&
           !memcmp(a->stride, b->stride, sizeof a->stride);
}

cc1d_status cc1d_validate(const cc1d_arguments *a, cc1d_problem *p) {
    const cc1d_table *table = &cc1d_tables[a->op];
    memset(p, 0, sizeof *p);
    p->op = a->op;
    p->batch = p->width = 1; /* where no argument says */
    p->pad_slot_id = a->pad_slot_id;
    CC1D_CHECK(check_exclusive(a));
    CC1D_CHECK(check_needs(a));
    if (p->op == CC1D_OP_UPDATE) CC1D_CHECK(check_max_seqlen(a));
    /* x first: its sizes, dtype and device are what the others are compared with. */
    const int x = table->argument[0].role == CC1D_X ? 0 : 1;
    CC1D_CHECK(take(p, a, &table->argument[x]));
    /* Then what says how many rows x has, where that is another argument. */
    const bool ragged = p->op == CC1D_OP_UPDATE && a->tensor[CC1D_CU];
    for (int i = 0; ragged && i < table->inputs; i++)
        if (table->argument[i].role == CC1D_CU) CC1D_CHECK(take(p, a, &table->argument[i]));
    for (int i = 0; i < table->count; i++)
        if (i != x && !(ragged && table->argument[i].role == CC1D_CU))
            CC1D_CHECK(take(p, a, &table->argument[i]));
    if (ragged && a->max_seqlen < p->seqlen) p->seqlen = a->max_seqlen;
    CC1D_CHECK(check_activation(a->activation));
    p->activation = (cc1d_activation)a->activation;
    CC1D_CHECK(check_work(p));
    if (cc1d_has(p, CC1D_STATE)) CC1D_CHECK(check_state(p, a));
    if (p->op == CC1D_OP_VARLEN_STATES && cc1d_has(p, CC1D_INITIAL) && p->initial_len < p->state_len)
        return cc1d_fail(CC1D_ERROR_VALUE, "initial_states: expected at least S = %lld steps, got %lld",
                         (long long)p->state_len, (long long)p->initial_len);
    p->in_place = p->op == CC1D_OP_UPDATE && is_same(&p->view[CC1D_X], &p->view[CC1D_OUT]);
    CC1D_CHECK(check_in_place(p));
    return cc1d_check_overlap(p);
}
