/* fake.h - what the stand-ins for libcuda and NVRTC let a test set and see.
 *
 * They keep the rules of the real ones that the host code depends on: a module belongs to the
 * context that was current when it was loaded, a kernel starts only in its own context, a process
 * forked after cuInit cannot use CUDA, and loading while a graph is captured is refused unless
 * the thread has relaxed its capture mode. */
#ifndef CC1D_TESTS_FAKE_H
#define CC1D_TESTS_FAKE_H

#include <stdatomic.h>
#include <stdint.h>

#define FAKE_ARGUMENTS 8

typedef struct fake_launch {
    char kernel[64];
    void *context;
    void *stream;
    unsigned grid[3], block[3];
    void *pointers[FAKE_ARGUMENTS]; /* of the first two arguments */
    int32_t words[2];               /* of the third */
} fake_launch;

/* The symbol fake_driver_state of the fake libcuda. */
typedef struct fake_driver {
    atomic_int init_error, load_error, launch_error;     /* returned instead of success */
    atomic_int driver_version, device_count, capability; /* capability: 90 for 9.0 */
    atomic_int capturing;                                /* a graph is being captured */
    atomic_int loads, launches, pushes, pops, retains;
    void *(*new_context)(int device); /* a context that is not the primary one */
    void (*make_current)(void *context);
    void *(*primary)(int device);
    const fake_launch *(*last_launch)(void); /* of the calling thread */
} fake_driver;

/* The symbol fake_nvrtc_state of the fake NVRTC. A text that contains BROKEN does not compile, one
 * that contains SLOW takes as long as `hold` is set. */
typedef struct fake_nvrtc {
    atomic_int major;
    atomic_int compiles;
    atomic_int compiling; /* at this moment */
    atomic_int hold;
    char option[2][64]; /* of the last compilation */
    int newest;         /* of the architectures that it knows; the oldest is 75 */
} fake_nvrtc;

#endif
