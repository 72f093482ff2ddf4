/* kernel_float.h - the kernel text's parameters, to compute in float:
 *   REAL              what is computed in
 *   DTYPE             REAL as an element type
 *   NAME(name)        a function's or type's name for this REAL
 *   CONSTANT(name)    an arith.h constant for this REAL
 *   IS_FLOAT          1 or 0
 *   EACH_DTYPE(DO)    DO(dtype) for every element type that is computed in REAL */
#undef REAL
#undef DTYPE
#undef NAME
#undef CONSTANT
#undef IS_FLOAT
#undef EACH_DTYPE

#define REAL float
#define DTYPE CC1D_FLOAT32
#define NAME(name) name##_f32
#define CONSTANT(name) CC1D_##name##_F32
#define IS_FLOAT 1
#define EACH_DTYPE CC1D_EACH_DTYPE_IN_FLOAT
