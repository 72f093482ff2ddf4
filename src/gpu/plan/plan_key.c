/* plan_key.c - what a kernel's key says: its name, and the buffers that it takes. */
#include "plan_key.h"

#include <string.h>

#define KERNEL_NAME(kernel, name) name,
const char *const cc1d_kernel_names[] = {CC1D_KERNELS(KERNEL_NAME)};

_Static_assert(CC1D_KEY_SIZE <= CC1D_PLAN_KEY, "the key holds every field");

/* Every kernel's buffers, in order; the ones that a key says are absent are left out. */
#define TAPS                                                                                          \
    CC1D_X, CC1D_WEIGHT, CC1D_BIAS, CC1D_SEQ_IDX, CC1D_CU, CC1D_LENGTHS, CC1D_INITIAL, CC1D_PRE_GATE, \
        CC1D_POST_GATE
#define POOL CC1D_INDICES, CC1D_OUT_INDICES, CC1D_HAS_INITIAL, CC1D_STATE
#define FORWARD \
    { TAPS, POOL, CC1D_RESIDUAL, CC1D_OUT, END }
#define BACKWARD \
    { TAPS, CC1D_DOUT, CC1D_DFINAL, CC1D_DX, CC1D_DPRE_GATE, CC1D_DPOST_GATE, CC1D_SCRATCH, END }
#define UPDATE                                                                                              \
    {                                                                                                       \
        CC1D_X, CC1D_WEIGHT, CC1D_BIAS, CC1D_CACHE, CC1D_INDICES, CC1D_ACCEPTED, CC1D_OUT_INDICES, CC1D_CU, \
            CC1D_PARENTS, CC1D_PRE_GATE, CC1D_POST_GATE, CC1D_RESIDUAL, CC1D_STATE, CC1D_OUT,               \
            CC1D_NODE_STATES, END                                                                           \
    }
#define END (CC1D_SCRATCH + 1)
static const uint8_t kernel_buffers[CC1D_KERNEL_COUNT][CC1D_PLAN_BUFFERS] = {
    [CC1D_KERNEL_FORWARD_TIME] = FORWARD,
    [CC1D_KERNEL_FORWARD_CHANNEL] = FORWARD,
    [CC1D_KERNEL_FORWARD_WIDE] = FORWARD,
    [CC1D_KERNEL_BACKWARD_TIME] = BACKWARD,
    [CC1D_KERNEL_BACKWARD_CHANNEL] = BACKWARD,
    [CC1D_KERNEL_BACKWARD_WIDE_DPRE] = {TAPS, CC1D_DOUT, CC1D_DPOST_GATE, CC1D_SCRATCH, END},
    [CC1D_KERNEL_BACKWARD_WIDE_DX] = {CC1D_X, CC1D_WEIGHT, CC1D_SEQ_IDX, CC1D_CU, CC1D_LENGTHS, CC1D_PRE_GATE,
                                      CC1D_DFINAL, CC1D_DX, CC1D_DPRE_GATE, CC1D_SCRATCH, END},
    [CC1D_KERNEL_BACKWARD_WIDE_DWEIGHT] = {CC1D_X, CC1D_SEQ_IDX, CC1D_CU, CC1D_LENGTHS, CC1D_INITIAL,
                                           CC1D_PRE_GATE, CC1D_SCRATCH, END},
    [CC1D_KERNEL_BACKWARD_REDUCE] = {CC1D_SCRATCH, CC1D_DWEIGHT, CC1D_DBIAS, END},
    [CC1D_KERNEL_VARLEN_STATES] = {CC1D_X, CC1D_SEQ_IDX, CC1D_CU, CC1D_LENGTHS, CC1D_INITIAL, CC1D_POSITIONS,
                                   CC1D_OUT_INDICES, CC1D_PRE_GATE, CC1D_FINAL, END},
    [CC1D_KERNEL_POOL_STATES] = {CC1D_X, CC1D_CU, CC1D_LENGTHS, CC1D_PRE_GATE, POOL, END},
    [CC1D_KERNEL_BACKWARD_INITIAL] = {TAPS, CC1D_DOUT, CC1D_DFINAL, CC1D_DINITIAL, END},
    [CC1D_KERNEL_UPDATE] = UPDATE,
    [CC1D_KERNEL_UPDATE_STEP] = UPDATE,
};

#define ALWAYS -1
const cc1d_buffer cc1d_buffers[CC1D_SCRATCH + 1] = {
    [CC1D_X] = {"IN", "cc1d_x_t", "x", ALWAYS, 0},
    [CC1D_WEIGHT] = {"IN", "cc1d_weight_t", "weight", ALWAYS, 0},
    [CC1D_BIAS] = {"IN", "cc1d_bias_t", "bias", CC1D_KEY_HAS_BIAS, 0},
    [CC1D_SEQ_IDX] = {"IN", "cc1d_seq_t", "seq", CC1D_KEY_SEQ, 1},
    [CC1D_CU] = {"IN", "cc1d_seq_t", "seq", CC1D_KEY_SEQ, 2},
    [CC1D_LENGTHS] = {"IN", "cc1d_seq_t", "seq", CC1D_KEY_SEQ, 3},
    [CC1D_INITIAL] = {"IN", "cc1d_initial_t", "initial", CC1D_KEY_HAS_INITIAL, 1},
    [CC1D_PRE_GATE] = {"IN", "cc1d_x_t", "pre_gate", CC1D_KEY_HAS_PRE_GATE, 0},
    [CC1D_POST_GATE] = {"IN", "cc1d_x_t", "post_gate", CC1D_KEY_HAS_POST_GATE, 0},
    [CC1D_RESIDUAL] = {"IN", "cc1d_x_t", "side", CC1D_KEY_HAS_RESIDUAL, 0},
    [CC1D_OUT] = {"OUT", "cc1d_x_t", "target", ALWAYS, 0},
    [CC1D_FINAL] = {"OUT", "cc1d_state_t", "target", ALWAYS, 0},
    [CC1D_DOUT] = {"IN", "cc1d_x_t", "side", ALWAYS, 0},
    [CC1D_DFINAL] = {"IN", "cc1d_x_t", "last", CC1D_KEY_HAS_LAST_GRADIENT, 0},
    [CC1D_DX] = {"OUT", "cc1d_x_t", "target", CC1D_KEY_HAS_DX, 0},
    [CC1D_DPRE_GATE] = {"OUT", "cc1d_x_t", "dpre_gate", CC1D_KEY_HAS_DPRE_GATE, 0},
    [CC1D_DPOST_GATE] = {"OUT", "cc1d_x_t", "dpost_gate", CC1D_KEY_HAS_DPOST_GATE, 0},
    [CC1D_DWEIGHT] = {"OUT", "cc1d_weight_t", "dweight", CC1D_KEY_HAS_DWEIGHT, 0},
    [CC1D_DBIAS] = {"OUT", "cc1d_bias_t", "dbias", CC1D_KEY_HAS_DBIAS, 0},
    [CC1D_DINITIAL] = {"OUT", "cc1d_x_t", "target", ALWAYS, 0},
    [CC1D_STATE] = {"OUT", "cc1d_state_t", "state", CC1D_KEY_POOL, 0},
    [CC1D_HAS_INITIAL] = {"IN", "cc1d_flag_t", "has_initial", CC1D_KEY_HAS_INITIAL, 2},
    [CC1D_CACHE] = {"IN", "JOIN(cc1d_index_, CC1D_CACHE_DTYPE)", "cache", CC1D_KEY_CACHE_DTYPE, 0},
    [CC1D_INDICES] = {"IN", "JOIN(cc1d_index_, CC1D_INDICES_DTYPE)", "indices", CC1D_KEY_INDICES_DTYPE, 0},
    [CC1D_OUT_INDICES] = {"IN", "JOIN(cc1d_index_, CC1D_OUT_INDICES_DTYPE)", "out_indices",
                          CC1D_KEY_OUT_INDICES_DTYPE, 0},
    [CC1D_ACCEPTED] = {"IN", "JOIN(cc1d_index_, CC1D_ACCEPTED_DTYPE)", "accepted_tokens",
                       CC1D_KEY_ACCEPTED_DTYPE, 0},
    [CC1D_PARENTS] = {"IN", "JOIN(cc1d_index_, CC1D_PARENTS_DTYPE)", "parents", CC1D_KEY_PARENTS_DTYPE, 0},
    [CC1D_NODE_STATES] = {"OUT", "cc1d_state_t", "nodes", CC1D_KEY_HAS_NODES, 0},
    [CC1D_POSITIONS] = {"IN", "JOIN(cc1d_index_, CC1D_POSITIONS_DTYPE)", "positions",
                        CC1D_KEY_POSITIONS_DTYPE, 0},
    [CC1D_SCRATCH] = {"OUT", "cc1d_real", "scratch", ALWAYS, 0},
};

static bool key_has(int kernel, const uint8_t *key, int role) {
    const cc1d_buffer *buffer = &cc1d_buffers[role];
    if (role == CC1D_SCRATCH &&
        (kernel == CC1D_KERNEL_BACKWARD_TIME || kernel == CC1D_KERNEL_BACKWARD_CHANNEL))
        return key[CC1D_KEY_HAS_DWEIGHT];
    if (role == CC1D_X && key[CC1D_KEY_IN_PLACE]) return false;
    if (role == CC1D_X && kernel == CC1D_KERNEL_BACKWARD_WIDE_DX) return key[CC1D_KEY_HAS_DPRE_GATE];
    if (buffer->field == ALWAYS) return true;
    return buffer->value ? key[buffer->field] == buffer->value : key[buffer->field] != 0;
}

cc1d_role cc1d_sequences_role(const cc1d_problem *p) {
    static const cc1d_role roles[] = {CC1D_SEQ_IDX, CC1D_LENGTHS, CC1D_CU};
    size_t i = 0;
    while (i + 1 < sizeof roles / sizeof *roles && !cc1d_has(p, roles[i])) i++;
    return roles[i];
}

int cc1d_kernel_index(const char *name) {
    int i = 0;
    while (strcmp(cc1d_kernel_names[i], name) != 0) i++;
    return i;
}

int cc1d_key_buffers(const char *name, const uint8_t *key, uint8_t roles[CC1D_PLAN_BUFFERS]) {
    const int kernel = cc1d_kernel_index(name);
    int count = 0;
    for (const uint8_t *role = kernel_buffers[kernel]; *role != END; role++)
        if (key_has(kernel, key, *role)) roles[count++] = *role;
    return count;
}
