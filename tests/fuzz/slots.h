/* slots.h - memory of exactly the size that a tensor has: it begins or ends at a page that nobody may touch,
 * and AddressSanitizer refuses the rest of the slot. (Vector kernels are not instrumented: they meet the
 * page.) */
#ifndef CC1D_FUZZ_SLOTS_H
#define CC1D_FUZZ_SLOTS_H

#include <sanitizer/asan_interface.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { FUZZ_PAGE = 1 << 16 }; /* a multiple of every page size */

typedef struct fuzz_slot {
    char *memory; /* size usable bytes between two pages without access */
    size_t size;
    char *data; /* what is handed out of it */
    size_t bytes;
} fuzz_slot;

static inline void fuzz_slot_map(fuzz_slot *slot, size_t size) {
    char *map = mmap(NULL, size + 2 * FUZZ_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (map == MAP_FAILED || mprotect(map + FUZZ_PAGE, size, PROT_READ | PROT_WRITE)) {
        perror("mmap");
        exit(2);
    }
    __asan_poison_memory_region(map, size + 2 * FUZZ_PAGE);
    *slot = (fuzz_slot){.memory = map + FUZZ_PAGE, .size = size, .data = map + FUZZ_PAGE};
}

/* Hands out bytes at the slot's end or begin, at an address that is a multiple of align; filled with
 * pattern. */
static inline char *fuzz_slot_take(fuzz_slot *slot, size_t bytes, size_t align, bool at_end, int pattern) {
    enum { GRANULE = 8 };
    const size_t place = (size_t)(slot->data - slot->memory) / GRANULE * GRANULE;
    __asan_poison_memory_region(slot->memory + place, slot->bytes + GRANULE);
    slot->data = slot->memory + (at_end ? (slot->size - bytes) / align * align : 0);
    slot->bytes = bytes;
    __asan_unpoison_memory_region(slot->data, bytes);
    memset(slot->data, pattern, bytes);
    return slot->data;
}

/* An address that nobody may touch. */
static inline char *fuzz_slot_wild(const fuzz_slot *slot) {
    return slot->memory + slot->size + FUZZ_PAGE / 2;
}

#endif
