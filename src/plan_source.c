/* plan_source.c - the source text of a launch: its key as defines, the prelude of the language, and the
 * kernels. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gpu/kernel_source.h"
#include "plan_key.h"

#define KERNEL_NAME(kernel, name) name,
const char *const cc1d_kernel_names[] = {CC1D_KERNELS(KERNEL_NAME)};

#define KERNEL_SUFFIX(kernel, name) #kernel,
static const char *const kernel_suffixes[] = {CC1D_KERNELS(KERNEL_SUFFIX)};

#define FIELD_NAME(field) #field,
static const char *const field_names[] = {CC1D_KEY_FIELDS(FIELD_NAME)};

_Static_assert(CC1D_KEY_SIZE <= CC1D_PLAN_KEY, "the key holds every field");

/* A buffer's name and type in the kernels' text, and whether they write it. Roles that no kernel sees
 * together share one. */
static const struct {
    const char *qualifier, *type, *name;
} buffers[] = {
    [CC1D_X] = {"IN", "cc1d_x_t", "x"},
    [CC1D_WEIGHT] = {"IN", "cc1d_weight_t", "weight"},
    [CC1D_BIAS] = {"IN", "cc1d_bias_t", "bias"},
    [CC1D_SEQ_IDX] = {"IN", "cc1d_seq_t", "seq"},
    [CC1D_CU] = {"IN", "cc1d_seq_t", "seq"},
    [CC1D_INITIAL] = {"IN", "cc1d_x_t", "initial"},
    [CC1D_RESIDUAL] = {"IN", "cc1d_x_t", "side"},
    [CC1D_OUT] = {"OUT", "cc1d_x_t", "target"},
    [CC1D_FINAL] = {"OUT", "cc1d_x_t", "target"},
    [CC1D_DOUT] = {"IN", "cc1d_x_t", "side"},
    [CC1D_DFINAL] = {"IN", "cc1d_x_t", "last"},
    [CC1D_DX] = {"OUT", "cc1d_x_t", "target"},
    [CC1D_DWEIGHT] = {"OUT", "cc1d_weight_t", "dweight"},
    [CC1D_DBIAS] = {"OUT", "cc1d_bias_t", "dbias"},
    [CC1D_DINITIAL] = {"OUT", "cc1d_x_t", "target"},
    [CC1D_STATE] = {"OUT", "cc1d_x_t", "state"},
    [CC1D_CACHE] = {"IN", "JOIN(cc1d_index_, CC1D_CACHE_DTYPE)", "cache"},
    [CC1D_INDICES] = {"IN", "cc1d_indices_t", "indices"},
    [CC1D_ACCEPTED] = {"IN", "JOIN(cc1d_index_, CC1D_ACCEPTED_DTYPE)", "accepted_tokens"},
    [CC1D_SCRATCH] = {"OUT", "cc1d_real", "scratch"},
};

/* Every kernel's buffers, in order; the ones that a key says are absent are left out. */
#define TAPS CC1D_X, CC1D_WEIGHT, CC1D_BIAS, CC1D_SEQ_IDX, CC1D_CU, CC1D_INITIAL
#define FORWARD \
    { TAPS, CC1D_RESIDUAL, CC1D_OUT, END }
#define BACKWARD \
    { TAPS, CC1D_DOUT, CC1D_DFINAL, CC1D_DX, CC1D_SCRATCH, END }
#define UPDATE \
    { CC1D_X, CC1D_WEIGHT, CC1D_BIAS, CC1D_CACHE, CC1D_INDICES, CC1D_ACCEPTED, CC1D_STATE, CC1D_OUT, END }
#define END (CC1D_SCRATCH + 1)
static const uint8_t kernel_buffers[CC1D_KERNEL_COUNT][CC1D_PLAN_BUFFERS] = {
    [CC1D_KERNEL_FORWARD_TIME] = FORWARD,
    [CC1D_KERNEL_FORWARD_CHANNEL] = FORWARD,
    [CC1D_KERNEL_FORWARD_WIDE] = FORWARD,
    [CC1D_KERNEL_BACKWARD_TIME] = BACKWARD,
    [CC1D_KERNEL_BACKWARD_CHANNEL] = BACKWARD,
    [CC1D_KERNEL_BACKWARD_WIDE_DPRE] = {TAPS, CC1D_DOUT, CC1D_SCRATCH, END},
    [CC1D_KERNEL_BACKWARD_WIDE_DX] = {CC1D_WEIGHT, CC1D_SEQ_IDX, CC1D_CU, CC1D_DFINAL, CC1D_DX, CC1D_SCRATCH,
                                      END},
    [CC1D_KERNEL_BACKWARD_WIDE_DWEIGHT] = {CC1D_X, CC1D_SEQ_IDX, CC1D_CU, CC1D_INITIAL, CC1D_SCRATCH, END},
    [CC1D_KERNEL_BACKWARD_REDUCE] = {CC1D_SCRATCH, CC1D_DWEIGHT, CC1D_DBIAS, END},
    [CC1D_KERNEL_VARLEN_STATES] = {CC1D_X, CC1D_SEQ_IDX, CC1D_CU, CC1D_INITIAL, CC1D_FINAL, END},
    [CC1D_KERNEL_BACKWARD_INITIAL] = {TAPS, CC1D_DOUT, CC1D_DFINAL, CC1D_DINITIAL, END},
    [CC1D_KERNEL_UPDATE] = UPDATE,
    [CC1D_KERNEL_UPDATE_STEP] = UPDATE,
};

static bool key_has(int kernel, const uint8_t *key, int role) {
    switch (role) {
    case CC1D_BIAS: return key[CC1D_KEY_HAS_BIAS];
    case CC1D_SEQ_IDX: return key[CC1D_KEY_SEQ] == 1;
    case CC1D_CU: return key[CC1D_KEY_SEQ] == 2;
    case CC1D_INITIAL: return key[CC1D_KEY_HAS_INITIAL];
    case CC1D_RESIDUAL: return key[CC1D_KEY_HAS_RESIDUAL];
    case CC1D_DFINAL: return key[CC1D_KEY_HAS_LAST_GRADIENT];
    case CC1D_DX: return key[CC1D_KEY_HAS_DX];
    case CC1D_DWEIGHT: return key[CC1D_KEY_HAS_DWEIGHT];
    case CC1D_DBIAS: return key[CC1D_KEY_HAS_DBIAS];
    case CC1D_CACHE: return key[CC1D_KEY_CACHE_DTYPE];
    case CC1D_INDICES: return key[CC1D_KEY_INDICES_DTYPE];
    case CC1D_ACCEPTED: return key[CC1D_KEY_ACCEPTED_DTYPE];
    case CC1D_SCRATCH:
        return key[CC1D_KEY_HAS_DWEIGHT] ||
               (kernel != CC1D_KERNEL_BACKWARD_TIME && kernel != CC1D_KERNEL_BACKWARD_CHANNEL);
    default: return true;
    }
}

static int kernel_index(const char *name) {
    int i = 0;
    while (strcmp(cc1d_kernel_names[i], name) != 0) i++;
    return i;
}

int cc1d_key_buffers(const char *name, const uint8_t *key, uint8_t roles[CC1D_PLAN_BUFFERS]) {
    const int kernel = kernel_index(name);
    int count = 0;
    for (const uint8_t *role = kernel_buffers[kernel]; *role != END; role++)
        if (key_has(kernel, key, *role)) roles[count++] = *role;
    return count;
}

/* Text that is cut where the room ends, while its full length is still counted. */
typedef struct writer {
    char *text;
    size_t size, length;
} writer;

static void add(writer *w, const char *text) {
    const size_t count = strlen(text);
    if (w->length < w->size) {
        const size_t room = w->size - w->length - 1;
        const size_t taken = count < room ? count : room;
        memcpy(w->text + w->length, text, taken);
        w->text[w->length + taken] = 0;
    }
    w->length += count;
}

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void
add_line(writer *w, const char *format, ...) {
    char line[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    add(w, line);
}

static void add_defines(writer *w, const cc1d_launch *launch) {
    add(w, "#define CC1D_SPECIALISED 1\n");
    add_line(w, "#define CC1D_KERNEL_%s 1\n", kernel_suffixes[kernel_index(launch->kernel)]);
    for (int i = 0; i < CC1D_KEY_SIZE; i++)
        add_line(w, "#define CC1D_%s %d\n", field_names[i], launch->key[i]);
    add_line(w, "#define CC1D_GROUP_SIZE %d\n", 32 * launch->key[CC1D_KEY_SIMD_GROUPS]);
    add(w, "#define CC1D_BUFFERS");
    uint8_t roles[CC1D_PLAN_BUFFERS];
    const int count = cc1d_key_buffers(launch->kernel, launch->key, roles);
    for (int i = 0; i < count; i++) {
        const int role = roles[i];
        add_line(w, " %s(%s, %s, %d)", buffers[role].qualifier, buffers[role].type, buffers[role].name, i);
    }
    add_line(w, "\n#define CC1D_PARAMS_INDEX %d\n", count);
}

/* Without defines the text compiles for a forward of (1, 64, 2048) bfloat16 with float32 weights, width 4,
 * bias and SiLU. */
static void add_default_defines(writer *w) {
    cc1d_problem p = {.op = CC1D_OP_FORWARD,
                      .activation = CC1D_ACTIVATION_SILU,
                      .device = CC1D_METAL,
                      .batch = 1,
                      .dim = 64,
                      .seqlen = 2048,
                      .width = 4,
                      .sequences = 1,
                      .state_len = 3};
    const cc1d_view rows = {
        .dtype = CC1D_BFLOAT16, .present = true, .shape = {1, 64, 2048}, .stride = {64 * 2048, 2048, 1}};
    p.view[CC1D_X] = p.view[CC1D_OUT] = rows;
    p.view[CC1D_WEIGHT] =
        (cc1d_view){.dtype = CC1D_FLOAT32, .present = true, .shape = {64, 4, 1}, .stride = {4, 1, 1}};
    p.view[CC1D_BIAS] =
        (cc1d_view){.dtype = CC1D_FLOAT32, .present = true, .shape = {64, 1, 1}, .stride = {1, 1, 1}};
    cc1d_plan plan;
    if (cc1d_make_plan(&p, &plan) == CC1D_OK) {
        add(w, "#ifndef CC1D_SPECIALISED\n");
        add_defines(w, &plan.launch[0]);
        add(w, "#endif\n");
    }
}

static void add_kernels(writer *w, cc1d_language language) {
    const char *const texts[] = {
        language == CC1D_LANGUAGE_METAL ? cc1d_gpu_source_prelude_metal : cc1d_gpu_source_prelude_cuda,
        cc1d_gpu_source_params,
        cc1d_gpu_source_common,
        cc1d_gpu_source_sequence,
        cc1d_gpu_source_rows,
        cc1d_gpu_source_columns,
        cc1d_gpu_source_wide,
        cc1d_gpu_source_forward_time,
        cc1d_gpu_source_forward_channel,
        cc1d_gpu_source_forward_wide,
        cc1d_gpu_source_backward_time,
        cc1d_gpu_source_backward_channel,
        cc1d_gpu_source_backward_wide,
        cc1d_gpu_source_reduce,
        cc1d_gpu_source_states,
        cc1d_gpu_source_update,
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) add(w, texts[i]);
}

size_t cc1d_launch_defines(const cc1d_launch *launch, char *text, size_t size) {
    writer w = {text, size, 0};
    add_defines(&w, launch);
    return w.length;
}

size_t cc1d_kernel_text(cc1d_language language, char *text, size_t size) {
    writer w = {text, size, 0};
    add_default_defines(&w);
    add_kernels(&w, language);
    return w.length;
}

size_t cc1d_launch_source(const cc1d_launch *launch, cc1d_language language, char *text, size_t size) {
    writer w = {text, size, 0};
    add_defines(&w, launch);
    add_kernels(&w, language);
    return w.length;
}
