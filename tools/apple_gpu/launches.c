/* launches.c - the texts of the launches that table.py compiles: FOLDER/NAME.metal each, and a line per
 * launch on stdout: NAME, the elements that a thread computes, and the turns of its main loop. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/plan/plan_key.h"
#include "gpu/text/params.h"

enum { BATCH = 4, DIM = 2048, SEQLEN = 2048, WIDTH = 4 };

static cc1d_view view(int32_t dtype, int64_t a, int64_t b, int64_t c, int64_t sa, int64_t sb, int64_t sc) {
    return (cc1d_view){.dtype = dtype, .present = true, .shape = {a, b, c}, .stride = {sa, sb, sc}};
}

/* At least one turn's. */
static int sums_of(const cc1d_launch *l) {
    cc1d_reduce_params params;
    memcpy(&params, l->words, sizeof params);
    return params.parts > 64 ? params.parts : 64;
}

/* What a thread computes, and in how many turns of its main loop; 1 where it has none. */
typedef struct thread_work {
    int elements, turns;
} thread_work;

static thread_work work_of(const cc1d_launch *l) {
    const int unroll = l->key[CC1D_KEY_UNROLL], pack = l->key[CC1D_KEY_VEC];
    cc1d_conv_params params;
    memcpy(&params, l->words, sizeof params);
    if (!strcmp(l->kernel, "cc1d_forward_channel"))
        return (thread_work){params.run * pack, params.run / unroll};
    if (!strcmp(l->kernel, "cc1d_backward_channel")) /* and the steps after the run that reach back into it */
        return (thread_work){params.run * pack, (params.run + WIDTH - 1 + unroll - 1) / unroll};
    if (!strcmp(l->kernel, "cc1d_backward_time"))
        return (thread_work){params.run * pack, params.run / unroll};
    if (!strcmp(l->kernel, "cc1d_backward_reduce")) /* every eighth sum, eight in a turn */
        return (thread_work){sums_of(l) / 8, sums_of(l) / 64};
    return (thread_work){unroll * pack, 1};
}

/* A reduction is named after the launch before it. */
static void write_launches(const char *folder, const char *name, const cc1d_problem *p) {
    cc1d_plan plan;
    if (cc1d_make_plan(p, &plan) != CC1D_OK) {
        fprintf(stderr, "%s: %s\n", name, cc1d_last_error());
        exit(1);
    }
    for (int i = 0; i < plan.launch_count; i++) {
        if (i && strstr(name, "_channel")) continue; /* the reduction is the time path's */
        const cc1d_launch *l = &plan.launch[i];
        const size_t size = cc1d_launch_source(l, CC1D_LANGUAGE_METAL, NULL, 0) + 1;
        char *text = malloc(size), path[512];
        cc1d_launch_source(l, CC1D_LANGUAGE_METAL, text, size);
        snprintf(path, sizeof path, "%s/%s%s.metal", folder, name, i ? "_reduce" : "");
        FILE *file = fopen(path, "w");
        if (!file || fputs(text, file) < 0 || fclose(file)) {
            perror(path);
            exit(1);
        }
        free(text);
        const thread_work work = work_of(l);
        printf("%s%s %d %d\n", name, i ? "_reduce" : "", work.elements, work.turns);
    }
}

static void convolution(const char *folder, int32_t dtype, const char *dtype_name, int channel_last) {
    cc1d_problem p = {.activation = CC1D_ACTIVATION_SILU,
                      .device = CC1D_METAL,
                      .batch = BATCH,
                      .dim = DIM,
                      .seqlen = SEQLEN,
                      .width = WIDTH,
                      .sequences = BATCH,
                      .state_len = WIDTH - 1};
    const int64_t row = (int64_t)DIM * SEQLEN;
    p.view[CC1D_X] = channel_last ? view(dtype, BATCH, DIM, SEQLEN, row, 1, DIM)
                                  : view(dtype, BATCH, DIM, SEQLEN, row, SEQLEN, 1);
    p.view[CC1D_WEIGHT] = view(dtype, DIM, WIDTH, 1, WIDTH, 1, 1);
    p.view[CC1D_BIAS] = view(dtype, DIM, 1, 1, 1, 1, 1);
    char name[64];
    p.op = CC1D_OP_FORWARD;
    p.view[CC1D_OUT] = p.view[CC1D_X];
    snprintf(name, sizeof name, "forward_%s_%s", channel_last ? "channel" : "time", dtype_name);
    write_launches(folder, name, &p);
    p.op = CC1D_OP_BACKWARD;
    p.view[CC1D_OUT].present = false;
    p.view[CC1D_DOUT] = p.view[CC1D_DX] = p.view[CC1D_X];
    p.view[CC1D_DWEIGHT] = p.view[CC1D_WEIGHT];
    p.view[CC1D_DBIAS] = p.view[CC1D_BIAS];
    snprintf(name, sizeof name, "backward_%s_%s", channel_last ? "channel" : "time", dtype_name);
    write_launches(folder, name, &p);
}

static void update(const char *folder, int32_t dtype, const char *dtype_name, int64_t batch) {
    const int64_t dim = 4096, state_len = WIDTH - 1;
    cc1d_problem p = {.op = CC1D_OP_UPDATE,
                      .activation = CC1D_ACTIVATION_SILU,
                      .device = CC1D_METAL,
                      .batch = batch,
                      .dim = dim,
                      .seqlen = 1,
                      .width = WIDTH,
                      .sequences = batch,
                      .state_len = state_len};
    p.view[CC1D_X] = p.view[CC1D_OUT] = view(dtype, batch, dim, 1, dim, 1, 1);
    p.view[CC1D_WEIGHT] = view(dtype, dim, WIDTH, 1, WIDTH, 1, 1);
    p.view[CC1D_BIAS] = view(dtype, dim, 1, 1, 1, 1, 1);
    p.view[CC1D_STATE] = view(dtype, batch, dim, state_len, dim * state_len, state_len, 1);
    char name[64];
    snprintf(name, sizeof name, "update_%lld_%s", (long long)batch, dtype_name);
    write_launches(folder, name, &p);
}

int main(int argc, char **argv) {
    static const struct {
        int32_t dtype;
        const char *name;
    } dtypes[] = {{CC1D_BFLOAT16, "bf16"}, {CC1D_FLOAT16, "f16"}, {CC1D_FLOAT32, "f32"}};
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    for (int channel_last = 0; channel_last < 2; channel_last++)
        for (int i = 0; i < 3; i++) convolution(argv[1], dtypes[i].dtype, dtypes[i].name, channel_last);
    for (int batch = 1; batch <= 256; batch *= 256)
        for (int i = 0; i < 3; i++) update(argv[1], dtypes[i].dtype, dtypes[i].name, batch);
    return 0;
}
