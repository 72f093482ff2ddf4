/* What compiled kernels and the harness runtime share. Included from C11 and from C++14. */
#ifndef MH_ABI_H
#define MH_ABI_H

#define MH_SIMD_WIDTH 32
#define MH_MAX_GROUP 1024
#define MH_MAX_BUFFERS 31
#define MH_SLOT_BYTES 32 /* the largest value that a lane can hand over: a vector of four 64-bit words */

typedef struct mh_uint3 {
    unsigned x, y, z;
} mh_uint3;

#ifdef MH_STRICT /* compiled with address spaces: literals lie in constant memory */
typedef __constant const char *mh_text;
#else
typedef const char *mh_text;
#endif

/* Everything that a kernel parameter can ask for, for one thread. Field names are Metal's. */
typedef struct mh_thread {
    mh_uint3 thread_position_in_grid;
    mh_uint3 thread_position_in_threadgroup;
    mh_uint3 threadgroup_position_in_grid;
    mh_uint3 threads_per_threadgroup;
    mh_uint3 dispatch_threads_per_threadgroup;
    mh_uint3 threads_per_grid;
    mh_uint3 threadgroups_per_grid;
    unsigned thread_index_in_threadgroup;
    unsigned thread_index_in_simdgroup;
    unsigned simdgroup_index_in_threadgroup;
    unsigned threads_per_simdgroup;
    unsigned thread_execution_width;
    unsigned simdgroups_per_threadgroup;
    unsigned dispatch_simdgroups_per_threadgroup;
    unsigned thread_index_in_quadgroup;
    unsigned quadgroup_index_in_threadgroup;
    unsigned quadgroups_per_threadgroup;
    void *const *buffers;
} mh_thread;

/* What the lanes handed over when they met. The slot of a lane that took no part is all ones (NaN, if
 * floating). */
typedef struct mh_meeting {
    unsigned lane;
    unsigned present; /* bit i: lane i took part */
    unsigned char slot[MH_SIMD_WIDTH][MH_SLOT_BYTES];
} mh_meeting;

enum { MH_MEM_NONE = 0, MH_MEM_DEVICE = 1, MH_MEM_THREADGROUP = 2, MH_MEM_TEXTURE = 4 };

enum { MH_ATOMIC_LOAD, MH_ATOMIC_STORE, MH_ATOMIC_UPDATE };

#ifdef __cplusplus
extern "C" {
#endif
/* A SIMD operation: hand over `size` bytes, wait for the other lanes. `what` names the operation; with
 * line and column it identifies the call. `active`: it is defined for whatever lanes take part.
 * `uniform`: an argument that every lane has to give alike, or -1. The result stays valid until this lane's
 * next meeting. */
const mh_meeting *mh_meet(mh_text what, int active, int uniform, const void *value, unsigned size, int line,
                          int column);
/* Reports a call with an undefined result ("reads lane", 3, "which takes no part in it"); does not return. */
void mh_undefined(mh_text what, mh_text does, unsigned value, mh_text why, int line, int column);
void mh_threadgroup_barrier(unsigned mem, int line, int column);
void mh_simdgroup_barrier(unsigned mem, int line, int column);
/* Checks and counts one atomic access from `pc`; the caller then performs it. */
void mh_atomic_access(const volatile void *address, unsigned size, int kind, const void *pc);
#ifdef __cplusplus
}
#endif
#endif
