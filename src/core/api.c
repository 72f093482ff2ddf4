/* api.c - the public entry points: their structs become a call's arguments by role, here alone. */
#include <stddef.h>
#include <stdio.h>

#include "run.h"
#include "sized.h"
#include "validate_tensor.h"

/* The sizes of all versions of each struct. A version that appends fields lists the size that it had before:
 * that is offsetof(its struct, the first new field), which never lies in the padding at the old end. */
static const size_t exec_sizes[] = {sizeof(cc1d_exec)};
static const size_t forward_sizes[] = {offsetof(cc1d_forward_args, lengths), sizeof(cc1d_forward_args)};
static const size_t backward_sizes[] = {offsetof(cc1d_backward_args, lengths), sizeof(cc1d_backward_args)};
static const size_t update_sizes[] = {offsetof(cc1d_update_args, conv_state_out_indices),
                                      sizeof(cc1d_update_args)};
static const size_t varlen_states_sizes[] = {offsetof(cc1d_varlen_states_args, initial_states),
                                             sizeof(cc1d_varlen_states_args)};

#define TAKE(name, to, from, sizes) \
    cc1d_take_struct((name), (to), (from), (sizes), sizeof(sizes) / sizeof *(sizes))

/* Metal's launches are for whoever has its queue (run.h); from C they are refused. */
static cc1d_status prepare(const cc1d_arguments *arguments, cc1d_prepared *prepared) {
    CC1D_CHECK(cc1d_prepare(arguments, prepared));
    if (prepared->problem.device != CC1D_METAL) return CC1D_OK;
    return prepared->backend->run(&prepared->problem, &prepared->how, NULL, NULL);
}

static cc1d_status run(const cc1d_arguments *arguments, const cc1d_exec *given, void *scratch,
                       size_t scratch_size) {
    cc1d_exec exec = {.size = sizeof exec};
    cc1d_prepared prepared;
    CC1D_CHECK(prepare(arguments, &prepared));
    if (given) CC1D_CHECK(TAKE("exec", &exec, given, exec_sizes));
    return cc1d_run(&prepared, &exec, scratch, scratch_size);
}

cc1d_status cc1d_forward(const cc1d_forward_args *given, const cc1d_exec *exec) {
    cc1d_forward_args args;
    CC1D_CHECK(TAKE("args", &args, given, forward_sizes));
    const cc1d_arguments arguments = {.op = CC1D_OP_FORWARD,
                                      .activation = args.activation,
                                      .pad_slot_id = args.pad_slot_id,
                                      .tensor = {[CC1D_X] = args.x,
                                                 [CC1D_WEIGHT] = args.weight,
                                                 [CC1D_BIAS] = args.bias,
                                                 [CC1D_SEQ_IDX] = args.seq_idx,
                                                 [CC1D_CU] = args.cu_seqlens,
                                                 [CC1D_INITIAL] = args.initial_states,
                                                 [CC1D_LENGTHS] = args.lengths,
                                                 [CC1D_RESIDUAL] = args.residual,
                                                 [CC1D_STATE] = args.conv_states,
                                                 [CC1D_INDICES] = args.conv_state_indices,
                                                 [CC1D_OUT_INDICES] = args.conv_state_out_indices,
                                                 [CC1D_HAS_INITIAL] = args.has_initial_state,
                                                 [CC1D_PRE_GATE] = args.pre_gate,
                                                 [CC1D_POST_GATE] = args.post_gate,
                                                 [CC1D_OUT] = args.out,
                                                 [CC1D_FINAL] = args.final_states}};
    return run(&arguments, exec, NULL, 0);
}

static cc1d_status take_backward(const cc1d_backward_args *given, cc1d_backward_args *args,
                                 cc1d_arguments *arguments) {
    CC1D_CHECK(TAKE("args", args, given, backward_sizes));
    *arguments = (cc1d_arguments){.op = CC1D_OP_BACKWARD,
                                  .activation = args->activation,
                                  .tensor = {[CC1D_DOUT] = args->dout,
                                             [CC1D_X] = args->x,
                                             [CC1D_WEIGHT] = args->weight,
                                             [CC1D_BIAS] = args->bias,
                                             [CC1D_SEQ_IDX] = args->seq_idx,
                                             [CC1D_CU] = args->cu_seqlens,
                                             [CC1D_INITIAL] = args->initial_states,
                                             [CC1D_LENGTHS] = args->lengths,
                                             [CC1D_DFINAL] = args->dfinal_states,
                                             [CC1D_DX] = args->dx,
                                             [CC1D_DWEIGHT] = args->dweight,
                                             [CC1D_DBIAS] = args->dbias,
                                             [CC1D_DINITIAL] = args->dinitial_states,
                                             [CC1D_PRE_GATE] = args->pre_gate,
                                             [CC1D_POST_GATE] = args->post_gate,
                                             [CC1D_DPRE_GATE] = args->dpre_gate,
                                             [CC1D_DPOST_GATE] = args->dpost_gate}};
    return CC1D_OK;
}

cc1d_status cc1d_backward_scratch(const cc1d_backward_args *given, size_t *bytes) {
    cc1d_backward_args args;
    cc1d_arguments arguments;
    cc1d_prepared prepared;
    if (!bytes) return cc1d_fail(CC1D_ERROR_VALUE, "bytes: expected a pointer, got NULL");
    CC1D_CHECK(take_backward(given, &args, &arguments));
    CC1D_CHECK(prepare(&arguments, &prepared));
    *bytes = prepared.scratch_bytes;
    return CC1D_OK;
}

cc1d_status cc1d_backward(const cc1d_backward_args *given, const cc1d_exec *exec) {
    cc1d_backward_args args;
    cc1d_arguments arguments;
    CC1D_CHECK(take_backward(given, &args, &arguments));
    return run(&arguments, exec, args.scratch, args.scratch_size);
}

cc1d_status cc1d_update(const cc1d_update_args *given, const cc1d_exec *exec) {
    cc1d_update_args args;
    CC1D_CHECK(TAKE("args", &args, given, update_sizes));
    const cc1d_arguments arguments = {.op = CC1D_OP_UPDATE,
                                      .activation = args.activation,
                                      .pad_slot_id = args.pad_slot_id,
                                      .max_seqlen = args.max_seqlen,
                                      .tensor = {[CC1D_X] = args.x,
                                                 [CC1D_STATE] = args.conv_state,
                                                 [CC1D_WEIGHT] = args.weight,
                                                 [CC1D_BIAS] = args.bias,
                                                 [CC1D_CACHE] = args.cache_seqlens,
                                                 [CC1D_INDICES] = args.conv_state_indices,
                                                 [CC1D_ACCEPTED] = args.num_accepted_tokens,
                                                 [CC1D_OUT_INDICES] = args.conv_state_out_indices,
                                                 [CC1D_CU] = args.cu_seqlens,
                                                 [CC1D_PARENTS] = args.parents,
                                                 [CC1D_PRE_GATE] = args.pre_gate,
                                                 [CC1D_POST_GATE] = args.post_gate,
                                                 [CC1D_RESIDUAL] = args.residual,
                                                 [CC1D_OUT] = args.out,
                                                 [CC1D_NODE_STATES] = args.intermediate_states}};
    return run(&arguments, exec, NULL, 0);
}

cc1d_status cc1d_varlen_states(const cc1d_varlen_states_args *given, const cc1d_exec *exec) {
    cc1d_varlen_states_args args;
    CC1D_CHECK(TAKE("args", &args, given, varlen_states_sizes));
    const cc1d_arguments arguments = {.op = CC1D_OP_VARLEN_STATES,
                                      .pad_slot_id = -1,
                                      .tensor = {[CC1D_X] = args.x,
                                                 [CC1D_CU] = args.cu_seqlens,
                                                 [CC1D_INITIAL] = args.initial_states,
                                                 [CC1D_POSITIONS] = args.positions,
                                                 [CC1D_OUT_INDICES] = args.out_indices,
                                                 [CC1D_FINAL] = args.states}};
    return run(&arguments, exec, NULL, 0);
}

int cc1d_device_available(cc1d_device device, char *detail, size_t size) {
    const cc1d_backend *backend = cc1d_backend_of(device);
    if (backend) return backend->available(detail, size);
    snprintf(detail, size, "unknown device kind %d", (int)device);
    return 0;
}
