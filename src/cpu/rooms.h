/* rooms.h - memory that the running tasks of a call work in, a room each. The few that are in use stay in the
 * cache, however many tasks there are. */
#ifndef CC1D_CPU_ROOMS_H
#define CC1D_CPU_ROOMS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "causal_conv1d.h"

typedef struct cc1d_rooms {
    char *memory, *first; /* as allocated, and on a cache line */
    size_t size;          /* of each */
    _Atomic uint64_t taken[2];
} cc1d_rooms;

/* For at most 128 tasks. */
cc1d_status cc1d_make_rooms(cc1d_rooms *rooms, int64_t tasks, size_t size);
void cc1d_drop_rooms(cc1d_rooms *rooms);

/* The first free room; *number: for leaving it. */
void *cc1d_take_room(cc1d_rooms *rooms, int *number);
void cc1d_leave_room(cc1d_rooms *rooms, int number);

#endif
