/* Every load and store of a kernel arrives here, with its address and size, before it happens. */
#include <stdio.h>
#include <string.h>

#include "mh.h"

enum {
    SCOPE_THREAD = 0, /* of the readers that a cell remembers */
    SCOPE_SIMD = 1,
    SCOPE_GROUP = 2,
    SCOPE_GRID = 3,
    SCOPE_SHIFT = 30,
};
static const uint32_t TIME_MASK = (1u << SCOPE_SHIFT) - 1;

static const char *verb(int is_write) { return is_write ? "write" : "read"; }

/* "buffer 3", "threadgroup variable 'tile'", ... */
static const char *describe(const mh_region *region) {
    static char text[160];
    switch (region->kind) {
    case MH_DEVICE:
    case MH_BYTES: snprintf(text, sizeof text, "buffer %d", region->index); break;
    case MH_THREADGROUP: snprintf(text, sizeof text, "threadgroup variable '%s'", region->name); break;
    default: snprintf(text, sizeof text, "constant '%s'", region->name); break;
    }
    return text;
}

/* The region whose bytes, or whose surroundings if `near`, hold the address. */
static mh_region *region_at(const uint8_t *address, int near) {
    mh_launch *launch = mh.launch;
    uint32_t low = 0, high = launch->region_count;
    while (low < high) { /* the last region that starts at or below the address */
        uint32_t middle = (low + high) / 2;
        const mh_region *r = &launch->regions[middle];
        if (r->base - (near ? r->before : 0) <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0) {
        return NULL;
    }
    mh_region *region = &launch->regions[low - 1];
    return address < region->base + (near ? region->padded : region->size) ? region : NULL;
}

static _Noreturn void out_of_bounds(const uint8_t *address, uint64_t size, int is_write, const void *pc) {
    const mh_region *region = region_at(address, 1);
    if (!region) {
        mh_fail(MH_OUT_OF_BOUNDS, pc, "%s of %llu bytes at %p, which belongs to no buffer (%s)",
                verb(is_write), (unsigned long long)size, (const void *)address, mh_where());
    }
    mh_fail(MH_OUT_OF_BOUNDS, pc,
            "out of bounds: %s of %llu bytes at byte %lld of %s, which has %llu bytes (%s)", verb(is_write),
            (unsigned long long)size, (long long)(address - region->base), describe(region),
            (unsigned long long)region->size, mh_where());
}

static uint32_t simd_of(uint32_t thread_id) { return (thread_id - 1) % mh.group_capacity / MH_SIMD_WIDTH; }

static uint32_t group_of(uint32_t thread_id) { return (thread_id - 1) / mh.group_capacity; }

/* Whether everything that `thread_id` did at `time` comes before what the running thread does now. */
static int ordered(const mh_region *region, uint32_t thread_id, uint32_t time, uint32_t scope) {
    const mh_group_clock *clock = &mh.clock;
    const int shared = region->kind == MH_THREADGROUP;
    if (scope == SCOPE_THREAD && thread_id == mh.thread_id) {
        return 1;
    }
    if (scope == SCOPE_GRID || group_of(thread_id) != mh.group_serial) {
        return 0;
    }
    if (time < (shared ? clock->threadgroup_barrier : clock->device_barrier)) {
        return 1;
    }
    const uint32_t simd = simd_of(mh.thread_id);
    return scope != SCOPE_GROUP && simd_of(thread_id) == simd &&
           time < (shared ? clock->simd_threadgroup[simd] : clock->simd_device[simd]);
}

static _Noreturn void race(const mh_region *region, uint64_t offset, int is_write, uint32_t other,
                           int other_wrote, const void *pc) {
    mh_fail(MH_RACE, pc,
            "data race: %s of byte %llu of %s (%s), which thread %u of threadgroup %u %s with no barrier in "
            "between",
            verb(is_write), (unsigned long long)offset, describe(region), mh_where(),
            (other - 1) % mh.group_capacity, group_of(other), other_wrote ? "wrote" : "read");
}

static void note_read(const mh_region *region, mh_cell *cell) {
    const uint32_t scope = cell->read_time >> SCOPE_SHIFT, time = cell->read_time & TIME_MASK;
    uint32_t merged = SCOPE_THREAD;
    if (cell->reader && !ordered(region, cell->reader, time, scope)) {
        if (group_of(cell->reader) != mh.group_serial) {
            merged = SCOPE_GRID;
        } else {
            merged = simd_of(cell->reader) != simd_of(mh.thread_id) ? SCOPE_GROUP : SCOPE_SIMD;
        }
        merged = merged > scope ? merged : scope;
    }
    cell->reader = mh.thread_id;
    cell->read_time = merged << SCOPE_SHIFT | mh.clock.now;
}

static void check_races(const mh_region *region, uint64_t offset, uint64_t size, int is_write, int atomic,
                        const void *pc) {
    for (uint64_t i = offset; i < offset + size; i++) {
        mh_cell *cell = &region->cells[i];
        if (cell->writer && !ordered(region, cell->writer, cell->write_time, SCOPE_THREAD)) {
            race(region, i, is_write, cell->writer, 1, pc);
        }
        if (is_write && cell->reader &&
            !ordered(region, cell->reader, cell->read_time & TIME_MASK, cell->read_time >> SCOPE_SHIFT)) {
            race(region, i, is_write, cell->reader, 0, pc);
        }
        if (atomic) {
            continue; /* atomics do not race with each other, so they leave no trace */
        }
        if (is_write) {
            *cell = (mh_cell){mh.thread_id, mh.clock.now, 0, 0};
        } else {
            note_read(region, cell);
        }
    }
}

static void check_flags(mh_region *region, uint64_t offset, uint64_t size, int is_write, const void *pc) {
    uint8_t *flags = region->flags;
    for (uint64_t i = offset; i < offset + size; i++) {
        if (is_write) {
            if (!(flags[i] & MH_ELEMENT)) {
                mh_fail(MH_OUT_OF_BOUNDS, pc,
                        "out of bounds: write of byte %llu of %s, which lies between the elements of its "
                        "view (%s)",
                        (unsigned long long)i, describe(region), mh_where());
            }
            flags[i] |= MH_INIT | MH_WRITTEN;
        } else if (!(flags[i] & MH_INIT) && mh.launch->check_uninitialised) {
            mh_fail(MH_UNINITIALISED, pc, "read of byte %llu of %s, which nobody has written (%s)",
                    (unsigned long long)i, describe(region), mh_where());
        }
    }
}

static void check(const uint8_t *address, uint64_t size, uint64_t alignment, int is_write, int atomic,
                  const void *pc) {
    if (size == 0 || mh_is_own(address, is_write)) {
        return;
    }
    mh_region *region = mh.last_region;
    if (!region || (uint64_t)(address - region->base) >= region->size) {
        region = region_at(address, 0);
        if (!region) {
            const mh_launch *launch = mh.launch;
            if (!is_write && address >= launch->image_begin && address < launch->image_end &&
                !region_at(address, 1)) {
                return; /* a constant that the compiler made, such as a jump table */
            }
            out_of_bounds(address, size, is_write, pc);
        }
        mh.last_region = region;
    }
    const uint64_t offset = (uint64_t)(address - region->base);
    if (size > region->size - offset) {
        out_of_bounds(address, size, is_write, pc);
    }
    if ((uintptr_t)address & (alignment - 1)) {
        mh_fail(MH_MISALIGNED, pc,
                "misaligned: %s of %llu bytes at byte %llu of %s needs an address that is a multiple of %llu "
                "(%s)",
                verb(is_write), (unsigned long long)size, (unsigned long long)offset, describe(region),
                (unsigned long long)alignment, mh_where());
    }
    if (is_write && (region->kind == MH_BYTES || region->kind == MH_CONSTANT)) {
        mh_fail(MH_READ_ONLY, pc, "write to %s, which is constant (%s)", describe(region), mh_where());
    }
    if (region->flags) {
        check_flags(region, offset, size, is_write, pc);
    }
    if (region->cells) {
        check_races(region, offset, size, is_write, atomic, pc);
    }
    if (region->load_line) {
        mh_traffic_count(region, offset, (uint32_t)size, is_write, pc);
    }
}

/* The names that the compiler's instrumentation calls. Sized ones come with their natural alignment;
 * N is for every other size and for accesses that claim less alignment. */
#define SIZED(bytes)                                                     \
    void mh_load##bytes(const uint8_t *address);                         \
    void mh_load##bytes(const uint8_t *address) {                        \
        check(address, bytes, bytes, 0, 0, __builtin_return_address(0)); \
    }                                                                    \
    void mh_store##bytes(const uint8_t *address);                        \
    void mh_store##bytes(const uint8_t *address) {                       \
        check(address, bytes, bytes, 1, 0, __builtin_return_address(0)); \
    }
SIZED(1)
SIZED(2)
SIZED(4)
SIZED(8)
SIZED(16)

void mh_loadN(const uint8_t *address, uint64_t size);
void mh_loadN(const uint8_t *address, uint64_t size) {
    check(address, size, 1, 0, 0, __builtin_return_address(0));
}
void mh_storeN(const uint8_t *address, uint64_t size);
void mh_storeN(const uint8_t *address, uint64_t size) {
    check(address, size, 1, 1, 0, __builtin_return_address(0));
}

void *mh_memcpy(uint8_t *to, const uint8_t *from, size_t size);
void *mh_memcpy(uint8_t *to, const uint8_t *from, size_t size) {
    check(from, size, 1, 0, 0, __builtin_return_address(0));
    check(to, size, 1, 1, 0, __builtin_return_address(0));
    return memcpy(to, from, size);
}
void *mh_memmove(uint8_t *to, const uint8_t *from, size_t size);
void *mh_memmove(uint8_t *to, const uint8_t *from, size_t size) {
    check(from, size, 1, 0, 0, __builtin_return_address(0));
    check(to, size, 1, 1, 0, __builtin_return_address(0));
    return memmove(to, from, size);
}
void *mh_memset(uint8_t *to, int value, size_t size);
void *mh_memset(uint8_t *to, int value, size_t size) {
    check(to, size, 1, 1, 0, __builtin_return_address(0));
    return memset(to, value, size);
}

void mh_atomic_access(const volatile void *address, unsigned size, int kind, const void *pc) {
    const uint8_t *bytes = (const uint8_t *)address;
    if (kind != MH_ATOMIC_STORE) {
        check(bytes, size, size, 0, 1, pc);
    }
    if (kind != MH_ATOMIC_LOAD) {
        check(bytes, size, size, 1, 1, pc);
    }
}
