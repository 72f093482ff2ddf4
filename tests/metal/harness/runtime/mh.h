/* The harness runtime: executes one Metal launch on the CPU and checks every access it makes. */
#ifndef MH_H
#define MH_H

#include <stddef.h>
#include <stdint.h>

#include "mh_abi.h"

/* ---- What Python hands over (mirrored by ctypes structures in runtime.py) ---- */

enum { MH_DEVICE = 0, MH_BYTES = 1, MH_THREADGROUP = 2, MH_CONSTANT = 3 };

/* State of one byte. */
enum {
    MH_INIT = 1,    /* somebody wrote it */
    MH_WRITTEN = 2, /* this launch wrote it */
    MH_ELEMENT = 4, /* it belongs to an element of the view (not to a gap between strided elements) */
};

/* Last write and last reads of one byte, for races. Thread ids are serial + 1; 0 is nobody.
 * read_time carries in its two top bits how widely the byte was read: one thread, several of a
 * SIMD-group, several of a threadgroup, several threadgroups. */
typedef struct mh_cell {
    uint32_t writer, write_time, reader, read_time;
} mh_cell;

typedef struct mh_traffic {
    uint64_t load_lines, store_lines;             /* per SIMD-group instruction */
    uint64_t group_load_lines, group_store_lines; /* distinct per threadgroup, summed over threadgroups */
    uint64_t launch_load_lines, launch_store_lines;
    uint64_t load_bytes, store_bytes; /* as requested by the lanes */
    uint64_t loads, stores;           /* lane accesses */
} mh_traffic;

typedef struct mh_region {
    uint8_t *base;
    uint64_t size;
    uint64_t padded; /* addresses up to base + padded belong to this region for error messages */
    uint64_t before; /* and so do this many below base */
    int32_t kind, index;
    uint8_t *flags;      /* one per byte; NULL for MH_CONSTANT */
    mh_cell *cells;      /* one per byte, or NULL: races not checked */
    uint32_t *load_line; /* per 64-byte line: last threadgroup serial + 1 that loaded it; or NULL */
    uint32_t *store_line;
    const char *name;
    mh_traffic traffic;
} mh_region;

enum {
    MH_OK = 0,
    MH_OUT_OF_BOUNDS,
    MH_UNINITIALISED,
    MH_RACE,
    MH_DIVERGENCE,
    MH_MISALIGNED,
    MH_READ_ONLY,
    MH_FAULT,
    MH_NO_MEMORY,
};

typedef struct mh_launch {
    void (*entry)(const mh_thread *);
    const char *name;
    uint32_t grid[3], group[3];
    void *buffers[MH_MAX_BUFFERS];
    mh_region *regions; /* sorted by base */
    uint32_t region_count;
    uint32_t check_uninitialised;
    uint32_t check_uniform; /* every SIMD-group function needs every lane */
    uint32_t flush_subnormals;
    uint8_t *image_begin, *image_end; /* the compiled library, for constants without a region */
} mh_launch;

typedef struct mh_report {
    int32_t status;
    char message[1024];
    uint64_t pc; /* of the failing access, or 0 */
} mh_report;

int mh_run(mh_launch *launch, mh_report *report);

/* ---- Between the parts of the runtime ---- */

typedef struct mh_group_clock {
    uint32_t now;            /* grows at every barrier and SIMD-group barrier */
    uint32_t device_barrier; /* accesses before this time are ordered within the threadgroup */
    uint32_t threadgroup_barrier;
    uint32_t simd_device[MH_MAX_GROUP / MH_SIMD_WIDTH];
    uint32_t simd_threadgroup[MH_MAX_GROUP / MH_SIMD_WIDTH];
} mh_group_clock;

typedef struct mh_state {
    mh_launch *launch;
    mh_report *report;
    const mh_thread *thread; /* the running one; NULL outside kernels */
    uint32_t thread_id;      /* serial + 1 */
    uint32_t group_capacity; /* threads of a whole threadgroup: thread id / this = threadgroup serial */
    uint32_t group_serial;
    mh_group_clock clock;
    mh_region *last_region;
} mh_state;

extern mh_state mh;

/* Ends the launch with an error; does not return. */
_Noreturn void mh_fail(int status, const void *pc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Leaves the running fiber for good; the launch returns its report. */
_Noreturn void mh_abandon(void);
/* "thread (x,y,z) ..." of the running thread, for messages. */
const char *mh_where(void);

void mh_faults_install(void);
void mh_faults_remove(void);

void mh_traffic_count(mh_region *region, uint64_t offset, uint32_t size, int is_write, const void *pc);
/* The lanes of this SIMD-group have met: what follows is a new instruction. */
void mh_traffic_meet(void);
void mh_traffic_lane(void);
int mh_traffic_begin(void);

/* Whether the address is the running thread's own memory, or (for reads) what its SIMD-group handed over. */
int mh_is_own(const void *address, int is_write);
int mh_overflowed_own_stack(const void *address);

#endif
