/* arguments.c - see arguments.h. */
#include "arguments.h"

#define INPUT(name_, role_, kind_, shape_, ...) \
    { .name = name_, .role = role_, .kind = kind_, .shape = shape_, .like = -1, __VA_ARGS__ }
#define RESULT(name_, role_, kind_, shape_, like_, ...)                                               \
    {                                                                                                 \
        .name = name_, .role = role_, .kind = kind_, .shape = shape_, .like = like_, .written = true, \
        __VA_ARGS__                                                                                   \
    }
#define REQUIRED .optional = false
#define OPTIONAL .optional = true
#define MEANING(meaning_) .meaning = meaning_
#define DIFFERENTIABLE .differentiable = true
#define EXCLUDED(role) UINT32_C(1) << (role)
#define EXCLUDES(role) .excludes = EXCLUDED(role)
#define NEEDS(role) .needs = UINT32_C(1) << (role)

/* What x is multiplied by before the convolution, and its result after the activation. */
#define GATES                                                               \
    INPUT("pre_gate", CC1D_PRE_GATE, 'x', "BDT", OPTIONAL, DIFFERENTIABLE), \
        INPUT("post_gate", CC1D_POST_GATE, 'x', "BDT", OPTIONAL, DIFFERENTIABLE)

/* What forward begins with, and its backward pass reads. */
#define CONVOLUTION                                                                                          \
    INPUT("x", CC1D_X, 'x', "bdt", DIFFERENTIABLE), INPUT("weight", CC1D_WEIGHT, 'p', "Dw", DIFFERENTIABLE), \
        INPUT("bias", CC1D_BIAS, 'p', "D", OPTIONAL, DIFFERENTIABLE),                                        \
        INPUT("seq_idx", CC1D_SEQ_IDX, 'i', "BT", OPTIONAL, EXCLUDES(CC1D_CU)),                              \
        INPUT("cu_seqlens", CC1D_CU, 'i', "n", OPTIONAL, MEANING(CC1D_BOUNDARIES)),                          \
        INPUT("initial_states", CC1D_INITIAL, 'x', "NDL", OPTIONAL, DIFFERENTIABLE),                         \
        INPUT("lengths", CC1D_LENGTHS, 'i', "B", OPTIONAL, MEANING(CC1D_STEP_COUNTS),                        \
              EXCLUDES(CC1D_SEQ_IDX) | EXCLUDED(CC1D_CU)),                                                   \
        GATES

_Static_assert(CC1D_ROLES <= 32, "excludes has a bit for every role");

const cc1d_table cc1d_tables[CC1D_OPERATIONS] = {
    [CC1D_OP_FORWARD] = {.name = "forward",
                         .inputs = 14,
                         .count = 16,
                         .argument = {CONVOLUTION,
                                      INPUT("residual", CC1D_RESIDUAL, 'x', "BDT", OPTIONAL, DIFFERENTIABLE),
                                      INPUT("conv_states", CC1D_STATE, 's', "pDs", OPTIONAL, .written = true,
                                            EXCLUDES(CC1D_SEQ_IDX) | EXCLUDED(CC1D_INITIAL) |
                                                EXCLUDED(CC1D_FINAL)),
                                      INPUT("conv_state_indices", CC1D_INDICES, 'i', "N", OPTIONAL,
                                            MEANING(CC1D_POOL_ROWS), NEEDS(CC1D_STATE)),
                                      INPUT("conv_state_out_indices", CC1D_OUT_INDICES, 'i', "N", OPTIONAL,
                                            MEANING(CC1D_POOL_ROWS), NEEDS(CC1D_STATE)),
                                      INPUT("has_initial_state", CC1D_HAS_INITIAL, 'b', "N", OPTIONAL,
                                            MEANING(CC1D_FLAGS), NEEDS(CC1D_STATE)),
                                      RESULT("out", CC1D_OUT, 'x', "BDT", 0, REQUIRED),
                                      RESULT("final_states", CC1D_FINAL, 'x', "NDL", -1, OPTIONAL)}},
    [CC1D_OP_BACKWARD] =
        {.name = "backward",
         .inputs = 11,
         .count = 17,
         .argument = {INPUT("dout", CC1D_DOUT, 'x', "BDT", DIFFERENTIABLE), CONVOLUTION,
                      INPUT("dfinal_states", CC1D_DFINAL, 'x', "NDL", OPTIONAL, DIFFERENTIABLE),
                      RESULT("dx", CC1D_DX, 'x', "BDT", 1, OPTIONAL),
                      RESULT("dweight", CC1D_DWEIGHT, 'p', "DW", 2, OPTIONAL),
                      RESULT("dbias", CC1D_DBIAS, 'p', "D", 3, OPTIONAL),
                      RESULT("dinitial_states", CC1D_DINITIAL, 'x', "NDL", 6, OPTIONAL),
                      RESULT("dpre_gate", CC1D_DPRE_GATE, 'x', "BDT", 8, OPTIONAL, NEEDS(CC1D_PRE_GATE)),
                      RESULT("dpost_gate", CC1D_DPOST_GATE, 'x', "BDT", 9, OPTIONAL, NEEDS(CC1D_POST_GATE))}},
    [CC1D_OP_UPDATE] =
        {.name = "update",
         .inputs = 13,
         .count = 15,
         .argument = {INPUT("x", CC1D_X, 'x', "bdt", DIFFERENTIABLE),
                      INPUT("conv_state", CC1D_STATE, 's', "pDs", .written = true),
                      INPUT("weight", CC1D_WEIGHT, 'p', "Dw", DIFFERENTIABLE),
                      INPUT("bias", CC1D_BIAS, 'p', "D", OPTIONAL, DIFFERENTIABLE),
                      INPUT("cache_seqlens", CC1D_CACHE, 'i', "B", OPTIONAL, MEANING(CC1D_COUNTS)),
                      INPUT("conv_state_indices", CC1D_INDICES, 'i', "B", OPTIONAL, MEANING(CC1D_POOL_ROWS)),
                      INPUT("num_accepted_tokens", CC1D_ACCEPTED, 'i',
                            "B", OPTIONAL, MEANING(CC1D_WINDOW_STARTS), EXCLUDES(CC1D_CACHE)),
                      INPUT("conv_state_out_indices", CC1D_OUT_INDICES, 'i',
                            "B", OPTIONAL, MEANING(CC1D_POOL_ROWS)),
                      INPUT("cu_seqlens", CC1D_CU, 'i', "n", OPTIONAL, MEANING(CC1D_BOUNDARIES)),
                      INPUT("parents", CC1D_PARENTS, 'i', "BT", OPTIONAL, MEANING(CC1D_TREE),
                            EXCLUDES(CC1D_CACHE) | EXCLUDED(CC1D_CU) | EXCLUDED(CC1D_OUT_INDICES)),
                      GATES, INPUT("residual", CC1D_RESIDUAL, 'x', "BDT", OPTIONAL, DIFFERENTIABLE),
                      RESULT("out", CC1D_OUT, 'x', "BDT", 0, REQUIRED),
                      RESULT("intermediate_states", CC1D_NODE_STATES, 's', "KDL", -1,
                             OPTIONAL, NEEDS(CC1D_PARENTS))}},
    [CC1D_OP_VARLEN_STATES] =
        {.name = "varlen_states",
         .inputs = 5,
         .count = 6,
         .argument = {INPUT("x", CC1D_X, 'x', "td", REQUIRED),
                      INPUT("cu_seqlens", CC1D_CU, 'i', "n", REQUIRED, MEANING(CC1D_BOUNDARIES)),
                      INPUT("initial_states", CC1D_INITIAL, 's', "NDi", OPTIONAL),
                      INPUT("positions", CC1D_POSITIONS, 'i', "m", OPTIONAL, MEANING(CC1D_STEPS_DONE)),
                      INPUT("out_indices", CC1D_OUT_INDICES, 'i', "M", OPTIONAL, MEANING(CC1D_POOL_ROWS)),
                      RESULT("states", CC1D_FINAL, 's', "pDs", -1, REQUIRED)}},
};

const char *cc1d_role_name(cc1d_operation op, cc1d_role role) {
    const cc1d_table *table = &cc1d_tables[op];
    int i = 0;
    while (table->argument[i].role != role) i++;
    return table->argument[i].name;
}
