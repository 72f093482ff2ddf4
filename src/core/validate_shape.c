/* validate_shape.c - see validate_shape.h.
 *
 * The letters of a shape: B batch, D dim, T seqlen, W width, L the W-1 steps of a state, N rows of the states
 * (sequences, or batch without cu_seqlens), n one more than that, M states of varlen_states (N without
 * positions), P rows of a pool (of update B, of varlen_states M, without indices of its rows), S steps of a
 * state, I steps of initial states of any length, K batch times seqlen. A small letter sets the size, a
 * capital one must agree. */
#include "validate_shape.h"

#include <string.h>

#include "names.h"
#include "validate_tensor.h"

static const int64_t MOST_WIDTH = (int64_t)1 << 30;

static bool is_small(char letter) { return letter >= 'a'; }
static char capital(char letter) { return (char)(letter & ~('a' - 'A')); }

static bool is_ragged(const cc1d_arguments *a) { return a->op == CC1D_OP_UPDATE && a->tensor[CC1D_CU]; }

const char *cc1d_letters_of(const cc1d_arguments *a, const cc1d_argument *argument) {
    if (!is_ragged(a)) return argument->shape;
    return !strcmp(argument->shape, "bdt") ? "td" : !strcmp(argument->shape, "BDT") ? "TD" : argument->shape;
}

static bool is_pool(const cc1d_arguments *a) {
    return a->op == CC1D_OP_FORWARD || a->tensor[CC1D_INDICES] || a->tensor[CC1D_OUT_INDICES];
}

/* As the documentation writes it. */
static const char *word_of(const cc1d_arguments *a, char letter) {
    switch (capital(letter)) {
    case 'B': return is_ragged(a) ? "N" : "B";
    case 'D': return "D";
    case 'T': return a->op == CC1D_OP_VARLEN_STATES || is_ragged(a) ? "total" : "T";
    case 'W': return "W";
    case 'L': return "W-1";
    case 'N': return letter == 'n' ? "N+1" : a->tensor[CC1D_CU] ? "N" : "B";
    case 'M': return a->tensor[CC1D_POSITIONS] || letter == 'm' ? "M" : "N";
    case 'P': return is_pool(a) ? "pool" : a->op == CC1D_OP_VARLEN_STATES ? word_of(a, 'M') : word_of(a, 'B');
    case 'I': return "at least S";
    case 'K': return "B*T";
    default: return "S";
    }
}

static int64_t size_of(const cc1d_problem *p, char letter) {
    switch (capital(letter)) {
    case 'B': return p->batch;
    case 'D': return p->dim;
    case 'T': return p->seqlen;
    case 'W': return p->width;
    case 'L': return p->width - 1;
    case 'N': return p->sequences + (letter == 'n');
    case 'M': return p->entries;
    case 'P': return p->pool_rows;
    case 'I': return p->initial_len;
    case 'K': return p->batch * p->seqlen;
    default: return p->state_len;
    }
}

static void words_of(const cc1d_arguments *a, const char *letters, int32_t ndim, cc1d_list_text *to) {
    const char *words[CC1D_MAX_DIMS] = {NULL};
    for (int32_t i = 0; i < ndim; i++) words[i] = word_of(a, letters[i]);
    cc1d_join_words(to, ndim, words);
}

static cc1d_status refuse_ndim(const cc1d_arguments *a, const cc1d_argument *argument, int32_t ndim,
                               bool or_one_less) {
    cc1d_list_text less = {""}, expected, got;
    if (or_one_less) words_of(a, cc1d_letters_of(a, argument), ndim - 1, &less);
    words_of(a, cc1d_letters_of(a, argument), ndim, &expected);
    return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected shape %s%s%s, got %s", argument->name, less.text,
                     or_one_less ? " or " : "", expected.text,
                     cc1d_shape_text(&got, a->tensor[argument->role]));
}

static cc1d_status refuse_size(const cc1d_problem *p, const cc1d_arguments *a, const cc1d_argument *argument,
                               int32_t ndim) {
    int64_t sizes[CC1D_MAX_DIMS] = {0};
    cc1d_list_text words, expected, got;
    for (int32_t i = 0; i < ndim; i++) sizes[i] = size_of(p, cc1d_letters_of(a, argument)[i]);
    words_of(a, cc1d_letters_of(a, argument), ndim, &words);
    return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected shape %s = %s, got %s", argument->name, words.text,
                     cc1d_join_numbers(&expected, ndim, sizes),
                     cc1d_shape_text(&got, a->tensor[argument->role]));
}

static cc1d_status set_width(cc1d_problem *p, int64_t size) {
    if (size < 1)
        return cc1d_fail(CC1D_ERROR_VALUE, "weight: expected width W >= 1, got %lld", (long long)size);
    if (size > MOST_WIDTH)
        return cc1d_fail(CC1D_ERROR_VALUE, "weight: expected width W <= %lld, got %lld",
                         (long long)MOST_WIDTH, (long long)size);
    p->width = size;
    if (p->op != CC1D_OP_UPDATE) p->state_len = size - 1;
    return CC1D_OK;
}

static cc1d_status set_sequences(cc1d_problem *p, int64_t size) {
    if (size < 1) return cc1d_fail(CC1D_ERROR_VALUE, "cu_seqlens: expected at least one element, got none");
    if (p->batch != 1)
        return cc1d_fail(CC1D_ERROR_VALUE, "cu_seqlens: expected x with batch size 1, got %lld",
                         (long long)p->batch);
    p->sequences = p->entries = size - 1;
    if (p->op == CC1D_OP_UPDATE) p->batch = p->sequences;
    return CC1D_OK;
}

static cc1d_status set_size(cc1d_problem *p, const cc1d_arguments *a, char letter, int64_t size) {
    switch (letter) {
    case 'b': p->batch = p->sequences = p->entries = size; break;
    case 'd': p->dim = size; break;
    case 't': p->seqlen = size; break;
    case 'w': return set_width(p, size);
    case 'n': return set_sequences(p, size);
    case 'm': p->entries = size; break;
    case 'p': p->pool_rows = is_pool(a) ? size : p->entries; break;
    case 'i': p->initial_len = size; break;
    default: p->state_len = size; break;
    }
    return CC1D_OK;
}

cc1d_status cc1d_take_shape(cc1d_problem *p, const cc1d_arguments *a, const cc1d_argument *argument) {
    const cc1d_tensor *tensor = a->tensor[argument->role];
    const char *letters = cc1d_letters_of(a, argument);
    int32_t ndim = 0;
    while (letters[ndim]) ndim++;
    /* x of a decoding step may leave T out, and its results then do. */
    const bool steps = a->op == CC1D_OP_UPDATE && ndim == 3 && capital(letters[2]) == 'T';
    const bool one_step = steps && a->tensor[CC1D_X]->ndim == 2;
    const bool sets = is_small(letters[0]);
    if (one_step) ndim = 2, p->seqlen = 1;
    if (tensor->ndim != ndim)
        return is_small(letters[ndim - 1]) || sets ? refuse_ndim(a, argument, ndim, steps && !one_step)
                                                   : refuse_size(p, a, argument, ndim);
    for (int32_t i = 0; i < ndim; i++)
        if (is_small(letters[i])) CC1D_CHECK(set_size(p, a, letters[i], tensor->shape[i]));
    for (int32_t i = 0; i < ndim; i++)
        if (tensor->shape[i] != size_of(p, letters[i])) return refuse_size(p, a, argument, ndim);
    return CC1D_OK;
}
