/* tensors.h - the tensors of a call, described by a table: made well-formed from the fuzzer's bytes, damaged
 * or left to the bytes altogether, and judged by rules that share nothing with the library. */
#ifndef CC1D_FUZZ_TENSORS_H
#define CC1D_FUZZ_TENSORS_H

#include "causal_conv1d.h"
#include "input.h"

enum { FUZZ_TENSORS = 12, FUZZ_ELEMENTS = 1 << 16, FUZZ_SLOT = 1 << 20, FUZZ_OFFSET = 64 };

/* What the elements of an index tensor mean. */
typedef enum {
    FUZZ_VALUES,
    FUZZ_IDS,
    FUZZ_BOUNDS,
    FUZZ_ROWS,
    FUZZ_LENGTHS,
    FUZZ_ACCEPTED,
    FUZZ_OTHER_ROWS,
    FUZZ_STEPS,
    FUZZ_FLAGS,
    FUZZ_POSITIONS,
    FUZZ_PARENTS
} fuzz_content;

/* letters: the sizes by name. B, D, T come from x (t: T, absent where x has two dimensions), W from weight,
 * S and P (rows of the pool, B without indices) from conv_state, conv_states or states, M = N + 1 from
 * cu_seqlens, Q from positions (N without), R from states (Q without out_indices), L from initial_states, at
 * least S; V = W - 1; N: sequences; O = B * T. dtype: F floating, S like x, K a state (float64 like x), k
 * like the state, P a parameter, w like weight, b like bias (weight without one), I an index, L a bool. */
typedef struct fuzz_role {
    const char *name, *letters;
    char dtype;
    bool required, written, kept; /* kept: written, but what is there before counts */
    fuzz_content content;
} fuzz_role;

/* Each target's. */
extern const fuzz_role fuzz_roles[];
extern const int fuzz_role_count;

typedef struct fuzz_case {
    const fuzz_role *roles;
    int count;
    int64_t size[128]; /* by letter */
    bool present[FUZZ_TENSORS];
    cc1d_tensor tensor[FUZZ_TENSORS]; /* data is set when memory is laid out */
    int alias[FUZZ_TENSORS];          /* lies in the memory of this one, -1: in its own */
    int64_t alias_offset[FUZZ_TENSORS];
    bool null_data[FUZZ_TENSORS];
    bool clean; /* well-formed: the library has to accept it */
    bool extreme;
    uint64_t seed;
    int damaged_index; /* a tensor of which one value is replaced, or -1 */
    int64_t damaged_at, damaged_value;
    int32_t activation;
    int64_t pad_slot_id, args_size_off, max_seqlen;
} fuzz_case;

static inline int fuzz_role_of(const fuzz_case *c, const char *name) {
    for (int i = 0; i < c->count; i++)
        if (strcmp(c->roles[i].name, name) == 0) return i;
    return -1;
}

static inline const cc1d_tensor *fuzz_find(const fuzz_case *c, const char *name) {
    const int i = fuzz_role_of(c, name);
    return i >= 0 && c->present[i] ? &c->tensor[i] : NULL;
}

static inline int64_t fuzz_itemsize(int32_t dtype) {
    return dtype == CC1D_FLOAT16 || dtype == CC1D_BFLOAT16 ? 2
           : dtype == CC1D_FLOAT32 || dtype == CC1D_INT32  ? 4
           : dtype == CC1D_BOOL                            ? 1
                                                           : 8;
}

static inline int64_t fuzz_count(const cc1d_tensor *t) { /* of a tensor whose sizes were judged */
    int64_t count = 1;
    for (int i = 0; i < t->ndim; i++) count *= t->shape[i];
    return count;
}

/* Bytes up to the last element, and elements, both at most far beyond any memory; -1 where the sizes are
 * none. */
static inline __int128 fuzz_extent(const cc1d_tensor *t, __int128 *count) {
    const __int128 far = (__int128)1 << 100;
    __int128 reach = 1, product = 1;
    for (int i = 0; i < t->ndim && i < CC1D_MAX_DIMS; i++) {
        if (t->shape[i] < 0 || (t->strides[i] < 0 && t->shape[i] > 1)) return -1;
        if (t->shape[i] > 1) {
            const __int128 more = (__int128)(t->shape[i] - 1) * t->strides[i];
            reach = more < far - reach ? reach + more : far;
        }
        product = t->shape[i] && product > far / t->shape[i] ? far : product * t->shape[i];
    }
    *count = product;
    return product ? reach * fuzz_itemsize(t->dtype) : 0;
}

/* ---- Well-formed ---------------------------------------------------------------------------- */

static inline int32_t fuzz_dtype(const fuzz_case *c, char rule, fuzz_input *in) {
    const cc1d_tensor *x = fuzz_find(c, "x"), *weight = fuzz_find(c, "weight"), *bias = fuzz_find(c, "bias");
    switch (rule) {
    case 'F': return (int32_t)fuzz_below(in, 4);
    case 'S': return x->dtype;
    case 'k': return fuzz_find(c, "conv_state")->dtype;
    case 'K': return x->dtype == CC1D_FLOAT64 ? CC1D_FLOAT64 : (int32_t)fuzz_below(in, 3);
    case 'P': return (int32_t)fuzz_below(in, x->dtype == CC1D_FLOAT64 ? 4 : 3);
    case 'w': return weight->dtype;
    case 'b': return (bias ? bias : weight)->dtype;
    case 'L': return CC1D_BOOL;
    default: return CC1D_INT32 + (int32_t)fuzz_below(in, 2);
    }
}

/* Strides of a permuted, sliced, stepped or, for inputs, expanded tensor. */
static inline void fuzz_strides(cc1d_tensor *t, bool distinct, fuzz_input *in) {
    static const int8_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    const int64_t style = fuzz_below(in, 8), order = fuzz_below(in, 6);
    int64_t stride = style == 1 ? 2 : style == 2 ? 3 : 1;
    for (int i = 2; i >= 0; i--) {
        const int d = orders[style == 0 ? 0 : order][i];
        if (d >= t->ndim) continue;
        t->strides[d] = stride;
        stride *= t->shape[d] > 0 ? t->shape[d] : 1;
        if (style == 3 || style == 2) stride += i == 2 ? 1 : 5;
    }
    if (style >= 6 && !distinct) t->strides[fuzz_below(in, t->ndim)] = 0;
    t->byte_offset = (uint64_t)(style == 4) * (uint64_t)fuzz_itemsize(t->dtype);
}

static inline void fuzz_make(fuzz_case *c, int i, fuzz_input *in) {
    const fuzz_role *role = &c->roles[i];
    cc1d_tensor *t = &c->tensor[i];
    memset(t, 0, sizeof *t);
    t->device = CC1D_CPU;
    for (const char *letter = role->letters; *letter; letter++)
        if (*letter != 't' || c->size['t'] >= 0) t->shape[t->ndim++] = c->size[(int)*letter];
    t->dtype = fuzz_dtype(c, role->dtype, in);
    fuzz_strides(t,
                 role->written || role->content == FUZZ_BOUNDS || role->content == FUZZ_ROWS ||
                     role->content == FUZZ_OTHER_ROWS,
                 in);
    c->present[i] = role->required || fuzz_below(in, 2);
}

/* Sizes: mostly small, sometimes past the blocks in which kernels work, now and then none. */
static inline int64_t fuzz_size(fuzz_input *in, int64_t least, int64_t small, int64_t large) {
    const int64_t kind = fuzz_below(in, 16);
    if (kind == 15) return least + fuzz_below(in, large - least + 1);
    return kind == 14 ? least : least + fuzz_below(in, small - least + 1);
}

/* What a call with these sizes computes stays within a fraction of a second. */
static inline bool fuzz_is_quick(const int64_t n[128]) {
    for (const char *letter = "BDTWSQ"; *letter; letter++)
        if (n[(int)*letter] > 1 << 21) return false;
    const __int128 rows = (__int128)n['B'] * n['D'], width = n['W'];
    return rows * n['T'] * width <= 1 << 20 && rows * width * width * width <= 1 << 25 &&
           rows * n['S'] <= 1 << 20 && (__int128)n['Q'] * n['D'] * n['S'] <= 1 << 20;
}

static inline void fuzz_sizes(fuzz_case *c, fuzz_input *in) {
    int64_t *n = c->size;
    n['D'] = fuzz_size(in, 0, 20, 600);
    n['T'] = fuzz_size(in, 0, 40, 2500);
    n['B'] = fuzz_size(in, 0, 4, 40);
    n['W'] = fuzz_size(in, 1, 9, 300);
    while (n['B'] * n['D'] * n['T'] > FUZZ_ELEMENTS) n['T'] /= 2;
    while (n['W'] > 1 && !fuzz_is_quick(n)) n['W'] = (n['W'] + 1) / 2;
    n['V'] = n['W'] - 1;
    n['N'] = n['B'];
    n['O'] = n['B'] * n['T'];
    n['t'] = n['T'];
    n['S'] = n['V'] + fuzz_size(in, 0, 6, 50);
}

/* Which of seq_idx, cu_seqlens and neither; what the first two need. */
static inline void fuzz_packing(fuzz_case *c, fuzz_input *in) {
    const int64_t kind = fuzz_below(in, 3);
    c->size['M'] = kind == 1 ? 1 + fuzz_size(in, c->size['T'] > 0, 5, 40) : 0;
    if (kind == 1) c->size['B'] = 1, c->size['N'] = c->size['M'] - 1;
    c->size['I'] = kind == 2;
}

static inline void fuzz_keep_packing(fuzz_case *c) {
    c->present[fuzz_role_of(c, "cu_seqlens")] = c->size['M'] > 0;
    c->present[fuzz_role_of(c, "seq_idx")] = c->size['I'];
}

/* ---- Not so well-formed ---------------------------------------------------------------------- */

static inline void fuzz_damage(fuzz_case *c, fuzz_input *in) {
    const int i = (int)fuzz_below(in, c->count);
    cc1d_tensor *t = &c->tensor[i];
    const int d = (int)fuzz_below(in, CC1D_MAX_DIMS);
    switch (fuzz_below(in, 13)) {
    case 0: t->shape[d] = fuzz_any(in); break;
    case 1: t->shape[d] = (int64_t)((uint64_t)t->shape[d] + (uint64_t)fuzz_below(in, 5) - 2); break;
    case 2: t->strides[d] = fuzz_any(in); break;
    case 3: t->strides[d] = fuzz_below(in, 8); break;
    case 4: t->ndim = (int32_t)fuzz_any(in); break;
    case 5: t->dtype = (int32_t)fuzz_any(in); break;
    case 6: t->device = (int32_t)fuzz_any(in); break;
    case 7: t->device_index = (int32_t)fuzz_any(in); break;
    case 8: t->byte_offset = (uint64_t)fuzz_any(in); break;
    case 9: c->null_data[i] = true; break;
    case 10: c->present[i] = !c->present[i]; break;
    case 11:
        c->alias[i] = (int)fuzz_below(in, c->count);
        c->alias_offset[i] = fuzz_below(in, 300);
        break;
    default:
        switch (fuzz_below(in, 4)) {
        case 0: c->activation = (int32_t)fuzz_any(in); break;
        case 1: c->args_size_off = fuzz_any(in); break;
        case 2: c->pad_slot_id = fuzz_any(in); break;
        default:
            c->damaged_index = i;
            c->damaged_at = fuzz_below(in, 4096);
            c->damaged_value = fuzz_any(in);
        }
    }
    c->clean = false;
}

/* Every field of every tensor from the input. */
static inline void fuzz_arbitrary(fuzz_case *c, fuzz_input *in) {
    for (int i = 0; i < c->count; i++) {
        cc1d_tensor *t = &c->tensor[i];
        c->present[i] = fuzz_bits(in, 1) & 1;
        t->dtype = (int32_t)fuzz_bits(in, 1);
        t->ndim = (int32_t)fuzz_below(in, 5);
        t->device = (int32_t)fuzz_below(in, 4);
        for (int d = 0; d < CC1D_MAX_DIMS; d++) t->shape[d] = fuzz_any(in), t->strides[d] = fuzz_any(in);
        t->byte_offset = (uint64_t)fuzz_any(in);
    }
    c->clean = false;
}

/* A call on CUDA or Metal tensors must be one that is refused: no driver is loaded here. */
static inline void fuzz_stay_on_cpu(fuzz_case *c) {
    const cc1d_tensor *x = &c->tensor[0];
    if (!c->present[0] || (x->device != CC1D_CUDA && x->device != CC1D_METAL)) return;
    c->present[1] = true;
    c->tensor[1].device = CC1D_CPU;
}

/* ---- Rules ---------------------------------------------------------------------------------- */

static inline bool fuzz_dtype_fits(const fuzz_case *c, char rule, int32_t dtype) {
    const cc1d_tensor *weight = fuzz_find(c, "weight"), *bias = fuzz_find(c, "bias");
    const bool floating = dtype >= CC1D_FLOAT32 && dtype <= CC1D_FLOAT64;
    switch (rule) {
    case 'F': return floating;
    case 'S': return dtype == c->tensor[0].dtype;
    case 'k': return dtype == fuzz_find(c, "conv_state")->dtype;
    case 'K': return floating && (dtype == CC1D_FLOAT64) == (c->tensor[0].dtype == CC1D_FLOAT64);
    case 'P': return floating && (dtype != CC1D_FLOAT64 || c->tensor[0].dtype == CC1D_FLOAT64);
    case 'w': return dtype == weight->dtype;
    case 'b': return dtype == (bias ? bias : weight)->dtype;
    case 'L': return dtype == CC1D_BOOL;
    default: return dtype == CC1D_INT32 || dtype == CC1D_INT64;
    }
}

/* The sizes by letter, from the tensors that define them; false where one of those is not as it must be. */
static inline bool fuzz_bind(const fuzz_case *c, int64_t size[128]) {
    const cc1d_tensor *weight = fuzz_find(c, "weight"), *cu = fuzz_find(c, "cu_seqlens");
    const cc1d_tensor *x = &c->tensor[0], *state = fuzz_find(c, "conv_state"), *last = fuzz_find(c, "states");
    const cc1d_tensor *prefilled = fuzz_find(c, "conv_states");
    if (!c->present[0] || x->ndim < 2 || x->ndim > 3) return false;
    memset(size, 0, 128 * sizeof *size);
    if (c->roles[0].letters[0] == 'T') {
        size['B'] = 1, size['T'] = x->shape[0], size['D'] = x->shape[1];
    } else {
        size['B'] = x->shape[0], size['D'] = x->shape[1];
        size['t'] = x->ndim == 3 ? x->shape[2] : -1;
        size['T'] = x->ndim == 3 ? x->shape[2] : 1;
    }
    if (weight) {
        if (weight->ndim != 2 || weight->shape[1] < 1) return false;
        size['W'] = weight->shape[1], size['V'] = weight->shape[1] - 1;
    }
    if (cu) {
        if (cu->ndim != 1 || cu->shape[0] < 1) return false;
        size['M'] = cu->shape[0];
    }
    size['N'] = cu ? size['M'] - 1 : size['B'];
    if (prefilled) {
        if (prefilled->ndim != 3) return false;
        size['P'] = prefilled->shape[0], size['S'] = prefilled->shape[2];
    }
    if (state || last) {
        if ((state ? state : last)->ndim != 3) return false;
        size['S'] = (state ? state : last)->shape[2];
        const bool pool = fuzz_find(c, "conv_state_indices") || fuzz_find(c, "conv_state_out_indices");
        if (state) size['P'] = pool ? state->shape[0] : size['N'];
    }
    if (last) {
        const cc1d_tensor *positions = fuzz_find(c, "positions"), *first = fuzz_find(c, "initial_states");
        if (positions && positions->ndim != 1) return false;
        size['Q'] = positions ? positions->shape[0] : size['N'];
        size['R'] = fuzz_find(c, "out_indices") ? last->shape[0] : size['Q'];
        if (first && (first->ndim != 3 || first->shape[2] < size['S'])) return false;
        size['L'] = first ? first->shape[2] : 0;
    }
    if (__builtin_mul_overflow(size['B'], size['T'], &size['O'])) size['O'] = -1;
    return true;
}

/* True: some rule of the header is broken by this tensor. */
static inline bool fuzz_tensor_broken(const fuzz_case *c, int i, const int64_t size[128]) {
    const fuzz_role *role = &c->roles[i];
    const cc1d_tensor *t = &c->tensor[i];
    __int128 count;
    int d = 0;
    for (const char *letter = role->letters; *letter; letter++)
        if (*letter != 't' || size['t'] >= 0) {
            if (d >= t->ndim || t->shape[d] != size[(int)*letter]) return true;
            d++;
        }
    if (d != t->ndim || fuzz_extent(t, &count) < 0) return true;
    return !fuzz_dtype_fits(c, role->dtype, t->dtype) || t->device != c->tensor[0].device ||
           t->device_index != c->tensor[0].device_index || (count && c->null_data[i]) ||
           t->device < CC1D_CPU || t->device > CC1D_METAL;
}

/* An argument without which there is no call; without conv_states there is one, unless it says of their rows.
 */
static inline bool fuzz_is_needed(const fuzz_case *c, int i) {
    if (!c->roles[i].required || c->present[i]) return false;
    return strcmp(c->roles[i].name, "conv_states") || fuzz_find(c, "conv_state_indices") ||
           fuzz_find(c, "conv_state_out_indices") || fuzz_find(c, "has_initial_state");
}

/* True: the header says that this call is refused. */
static inline bool fuzz_must_be_refused(const fuzz_case *c) {
    int64_t size[128];
    const cc1d_tensor *cu = fuzz_find(c, "cu_seqlens"), *state = fuzz_find(c, "conv_state");
    const cc1d_tensor *accepted = fuzz_find(c, "num_accepted_tokens");
    for (int i = 0; i < c->count; i++)
        if (fuzz_is_needed(c, i)) return true;
    if (c->args_size_off || !fuzz_bind(c, size)) return true;
    for (int i = 0; i < c->count; i++)
        if (c->present[i] && fuzz_tensor_broken(c, i, size)) return true;
    if (fuzz_find(c, "weight") && c->activation != 0 && c->activation != 1) return true;
    if (cu && fuzz_find(c, "weight") && (fuzz_find(c, "seq_idx") || size['B'] != 1)) return true;
    if (cu && fuzz_find(c, "lengths")) return true;
    if ((state || fuzz_find(c, "conv_states")) && size['S'] < size['V']) return true;
    if (fuzz_find(c, "conv_states") && !fuzz_find(c, "conv_state_indices") && size['P'] < size['N'])
        return true;
    const cc1d_tensor *parents = fuzz_find(c, "parents"), *cache = fuzz_find(c, "cache_seqlens");
    const int64_t steps = cu ? c->max_seqlen : size['T'];
    if (accepted && (cache || (!parents && (__int128)size['S'] < (__int128)size['V'] - 1 + steps)))
        return true;
    if (parents && (cache || fuzz_find(c, "conv_state_out_indices"))) return true;
    if (fuzz_find(c, "intermediate_states") && !parents) return true;
    return state && (c->max_seqlen < 0 || (c->max_seqlen > 0 && !cu));
}

#endif
