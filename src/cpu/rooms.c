/* rooms.c - see rooms.h. */
#include "rooms.h"

#include <stdlib.h>

#include "core/status.h"

cc1d_status cc1d_make_rooms(cc1d_rooms *rooms, int64_t tasks, size_t size) {
    const size_t bytes = (size_t)tasks * size + 63; /* 63: to align it here */
    rooms->memory = malloc(bytes);
    if (!rooms->memory) return cc1d_fail(CC1D_ERROR_MEMORY, "expected %zu bytes of memory, got none", bytes);
    rooms->first = rooms->memory + (64 - (uintptr_t)rooms->memory % 64) % 64;
    rooms->size = size;
    atomic_init(&rooms->taken[0], 0);
    atomic_init(&rooms->taken[1], 0);
    return CC1D_OK;
}

void cc1d_drop_rooms(cc1d_rooms *rooms) { free(rooms->memory); }

void *cc1d_take_room(cc1d_rooms *rooms, int *number) {
    for (int word = 0;; word = !word) { /* there is one for every task */
        uint64_t taken = atomic_load_explicit(&rooms->taken[word], memory_order_relaxed);
        while (~taken) {
            const uint64_t bit = ~taken & (taken + 1);
            if (!atomic_compare_exchange_weak_explicit(&rooms->taken[word], &taken, taken | bit,
                                                       memory_order_acquire, memory_order_relaxed))
                continue;
            *number = 64 * word + __builtin_ctzll(bit);
            return rooms->first + (size_t)*number * rooms->size;
        }
    }
}

void cc1d_leave_room(cc1d_rooms *rooms, int number) {
    atomic_fetch_and_explicit(&rooms->taken[number / 64], ~(UINT64_C(1) << number % 64),
                              memory_order_release);
}
