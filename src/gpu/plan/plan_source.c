/* plan_source.c - the source text of a launch: its key as defines, the prelude of the language, and the
 * kernels. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernel_source.h"
#include "plan_key.h"

#define KERNEL_SUFFIX(kernel, name) #kernel,
static const char *const kernel_suffixes[] = {CC1D_KERNELS(KERNEL_SUFFIX)};

#define FIELD_NAME(field) #field,
static const char *const field_names[] = {CC1D_KEY_FIELDS(FIELD_NAME)};

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
    add_line(w, "#define CC1D_KERNEL_%s 1\n", kernel_suffixes[cc1d_kernel_index(launch->kernel)]);
    for (int i = 0; i < CC1D_KEY_SIZE; i++)
        add_line(w, "#define CC1D_%s %d\n", field_names[i], launch->key[i]);
    add_line(w, "#define CC1D_GROUP_SIZE %d\n", 32 * launch->key[CC1D_KEY_SIMD_GROUPS]);
    add(w, "#define CC1D_BUFFERS");
    uint8_t roles[CC1D_PLAN_BUFFERS];
    const int count = cc1d_key_buffers(launch->kernel, launch->key, roles);
    for (int i = 0; i < count; i++) {
        const cc1d_buffer *buffer = &cc1d_buffers[roles[i]];
        add_line(w, " %s(%s, %s, %d)", buffer->qualifier, buffer->type, buffer->name, i);
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
    const int other = language == CC1D_LANGUAGE_METAL ? CC1D_TEXT_prelude_cuda : CC1D_TEXT_prelude_metal;
    for (int i = 0; i < CC1D_TEXT_COUNT; i++)
        if (i != other) add(w, cc1d_kernel_texts[i]);
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
