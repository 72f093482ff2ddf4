/* The prelude of the strict compile (strict.py): the library as C++ for OpenCL. */
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#pragma OPENCL EXTENSION __cl_clang_function_pointers : enable
#pragma OPENCL EXTENSION __cl_clang_non_portable_kernel_param_types : enable

/* Names that OpenCL has taken and Metal has not, or gives to a type of its own. */
#define local metal_name_local
#define global metal_name_global
#define generic metal_name_generic
#define pipe metal_name_pipe
#define read_only metal_name_read_only
#define write_only metal_name_write_only
#define read_write metal_name_read_write
#define event_t metal_name_event_t
#define queue_t metal_name_queue_t
#define ndrange_t metal_name_ndrange_t
#define sampler_t metal_name_sampler_t
#define reserve_id_t metal_name_reserve_id_t
#define clk_event_t metal_name_clk_event_t
#define atomic_int metal_name_atomic_int
#define atomic_uint metal_name_atomic_uint
#define atomic_long metal_name_atomic_long
#define atomic_ulong metal_name_atomic_ulong
#define atomic_float metal_name_atomic_float
#define atomic_bool metal_name_atomic_bool
#define atomic_flag metal_name_atomic_flag

#include "metal_stdlib"
