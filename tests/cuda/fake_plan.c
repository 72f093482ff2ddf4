/* fake_plan.c - launches with nothing behind them, so that the host's tests need no kernel.
 *
 * dtype and width make the key. Width 13 is a text that does not compile, 14 and more one
 * that compiles slowly. A batch of 0 needs no launch, backward needs two and scratch. */
#include "gpu/plan/plan.h"

#include <stdio.h>
#include <string.h>

static void describe(const cc1d_problem *problem, const char *kernel, cc1d_role first, int second,
                     cc1d_launch *launch) {
    memset(launch, 0, sizeof *launch);
    launch->kernel = kernel;
    launch->key[0] = (uint8_t)problem->view[CC1D_X].dtype;
    launch->key[CC1D_PLAN_KEY - 1] = (uint8_t)problem->width;
    const uint32_t groups[3] = {5, 4, 3}, group_size[3] = {64, 2, 1};
    memcpy(launch->groups, groups, sizeof groups);
    memcpy(launch->group_size, group_size, sizeof group_size);
    launch->buffer_count = 2;
    launch->buffers[0] = (uint8_t)first;
    launch->buffers[1] = (uint8_t)second;
    launch->word_count = 2;
    launch->words[0] = (int32_t)problem->dim;
    launch->words[1] = (int32_t)problem->seqlen;
}

cc1d_status cc1d_make_plan(const cc1d_problem *problem, cc1d_plan *plan) {
    plan->launch_count = 0;
    plan->scratch_bytes = 0;
    if (problem->batch == 0) {
        return CC1D_OK;
    }
    if (problem->op == CC1D_OP_BACKWARD) {
        plan->scratch_bytes = 64;
        plan->launch_count = 2;
        describe(problem, "backward_fake", CC1D_X, CC1D_SCRATCH, &plan->launch[0]);
        describe(problem, "reduce_fake", CC1D_DWEIGHT, CC1D_SCRATCH, &plan->launch[1]);
        return CC1D_OK;
    }
    plan->launch_count = 1;
    describe(problem, "forward_fake", CC1D_X, CC1D_OUT, &plan->launch[0]);
    return CC1D_OK;
}

size_t cc1d_launch_source(const cc1d_launch *launch, cc1d_language language, char *text, size_t size) {
    int width = launch->key[CC1D_PLAN_KEY - 1];
    const char *nature = width == 13 ? "BROKEN" : width >= 14 ? "SLOW" : "";
    return (size_t)snprintf(text, size, "%s %s %d", language == CC1D_LANGUAGE_CUDA ? launch->kernel : "",
                            nature, launch->key[0]);
}
