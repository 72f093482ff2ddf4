/* kernel_double.h - the kernel text's parameters (kernel_float.h), to compute in double. */
#undef REAL
#undef DTYPE
#undef NAME
#undef CONSTANT
#undef IS_FLOAT
#undef EACH_DTYPE

#define REAL double
#define DTYPE CC1D_FLOAT64
#define NAME(name) name##_f64
#define CONSTANT(name) CC1D_##name##_F64
#define IS_FLOAT 0
#define EACH_DTYPE CC1D_EACH_DTYPE_IN_DOUBLE
