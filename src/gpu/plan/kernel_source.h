/* kernel_source.h - the GPU kernels' texts, embedded by cmake/embed_kernels.cmake when the library is built.
 */
#ifndef CC1D_KERNEL_SOURCE_H
#define CC1D_KERNEL_SOURCE_H

/* T(name) for every src/gpu/text/<name>.h that is text for a GPU's compiler, in the order of the text. One
 * row a line: cmake reads it too. */
/* clang-format off */
#define CC1D_KERNEL_TEXTS(T) \
    T(prelude_metal)         \
    T(prelude_cuda)          \
    T(params)                \
    T(common)                \
    T(gates)                 \
    T(activation)            \
    T(slots)                 \
    T(sequence)              \
    T(rows)                  \
    T(columns)               \
    T(wide)                  \
    T(forward_time)          \
    T(forward_channel)       \
    T(forward_wide)          \
    T(backward_time)         \
    T(backward_channel)      \
    T(backward_wide)         \
    T(reduce)                \
    T(states)                \
    T(pool_states)           \
    T(update)                \
    T(update_step)
/* clang-format on */

#define CC1D_TEXT_ENUM(name) CC1D_TEXT_##name,
enum cc1d_kernel_text_name { CC1D_KERNEL_TEXTS(CC1D_TEXT_ENUM) CC1D_TEXT_COUNT };
#undef CC1D_TEXT_ENUM

/* By cc1d_kernel_text_name; each begins with a #line that names its file. */
extern const char *const cc1d_kernel_texts[CC1D_TEXT_COUNT];

#endif
