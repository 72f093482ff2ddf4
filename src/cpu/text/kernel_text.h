/* kernel_text.h - the vector kernels' one text. An instruction set's file includes a vocabulary
 * (simd_*.h) and then this text, once for float and once for double.
 *
 * Parameters, undefined at the end:
 *   REAL              float or double: what is computed in
 *   NAME(name)        a function's or type's name for this REAL, name##_f32 or name##_f64
 *   CONSTANT(name)    an arith.h constant, CC1D_##name##_F32 or _F64
 *   DTYPE             CC1D_FLOAT32 or CC1D_FLOAT64, REAL as an element type
 *   IS_FLOAT          1 or 0
 *   EACH_DTYPE(DO)    DO(dtype) for every element type that is computed in REAL
 *   EACH_KERNEL(DO, silu)  DO(dtype, width, silu) for every compiled kernel of this REAL
 * The vocabulary's operations are used under the names below; docs/cpu.md lists them. */
#define VEC NAME(vec)
#define LANES NAME(LANES)
#define SET NAME(set)
#define ADD NAME(add)
#define SUB NAME(sub)
#define MUL NAME(mul)
#define DIV NAME(div)
#define FMA NAME(fma)
#define MIN NAME(min)
#define SELECT_LESS NAME(select_less)
#define SCALE NAME(scale)
#define FARTHER NAME(farther)
#define IS_NEAR NAME(is_near)
#define LOAD NAME(load)
#define LOAD_N NAME(load_n)
#define STORE NAME(store)
#define STORE_N NAME(store_n)
#define STORE_NUMBER NAME(store_number)
#define IS_PAIRS NAME(is_pairs)
#define LOAD_ANY NAME(load_any)
#define STORE_ANY NAME(store_any)
#define SUM NAME(sum)
#define ACCUMULATE NAME(accumulate)

#include "kernel_arith.h"

#include "kernel_taps.h"

#include "kernel_block.h"

#include "kernel_time.h"

#include "kernel_backward_time.h"

#include "kernel_channel.h"

#include "kernel_backward_channel.h"

#include "kernel_update.h"

SIMD_TARGET static void NAME(forward)(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s) {
    if (path == CC1D_PATH_TIME)
        NAME(forward_time)(p, s);
    else if (path == CC1D_PATH_CHANNEL)
        NAME(forward_channel)(p, s);
    else
        NAME(forward_general)(p, s);
}

SIMD_TARGET static void NAME(backward)(const cc1d_problem *p, cc1d_path path, const cc1d_segment *s,
                                       double *partial, void *workspace) {
    if (path == CC1D_PATH_TIME)
        NAME(backward_time)(p, s, partial, workspace);
    else if (path == CC1D_PATH_CHANNEL)
        NAME(backward_channel)(p, s, partial, workspace);
    else
        NAME(backward_general)(p, s, partial, workspace);
}

#undef VEC
#undef LANES
#undef SET
#undef ADD
#undef SUB
#undef MUL
#undef DIV
#undef FMA
#undef MIN
#undef SELECT_LESS
#undef SCALE
#undef FARTHER
#undef IS_NEAR
#undef LOAD
#undef LOAD_N
#undef STORE
#undef STORE_N
#undef STORE_NUMBER
#undef IS_PAIRS
#undef LOAD_ANY
#undef STORE_ANY
#undef SUM
#undef ACCUMULATE
#undef REAL
#undef NAME
#undef CONSTANT
#undef DTYPE
#undef IS_FLOAT
#undef EACH_DTYPE
#undef EACH_KERNEL
#undef EACH_VECTORS
