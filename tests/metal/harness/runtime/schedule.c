/* Runs a launch: threadgroup after threadgroup, SIMD-group after SIMD-group, lane after lane. A lane runs
 * until it has to meet the others or returns; when every lane of its SIMD-group waits at the same place,
 * all of them go on. Where the lanes are apart, those at a function that is defined for whatever lanes
 * are active go on by themselves, the earliest place in the text first. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "fiber.h"
#include "float_mode.h"
#include "mh.h"

mh_state mh;

typedef enum lane_state { READY, WAITING, DONE } lane_state;
typedef enum wait_scope { WAIT_ACTIVE, WAIT_SIMD, WAIT_GROUP } wait_scope;

typedef struct place {
    const char *what;
    int line, column;
    wait_scope scope;
    unsigned mem;
} place;

typedef struct lane {
    mh_fiber fiber;
    lane_state state;
    place place;
    mh_thread thread;
    unsigned char handed_over[MH_SLOT_BYTES];
    int uniform; /* see mh_meet */
} lane;

typedef struct simd_group {
    lane *lanes;
    unsigned count;
    mh_meeting meeting; /* the last one; its lanes have read it before they can meet again */
} simd_group;

static lane lanes[MH_MAX_GROUP];
static simd_group simds[MH_MAX_GROUP / MH_SIMD_WIDTH];
static lane *running;
static void *scheduler_stack;
static jmp_buf abandon_to;

_Noreturn void mh_abandon(void) {
    mh.thread = NULL;
    longjmp(abandon_to, 1);
}

static void lane_body(void) {
    mh.launch->entry(&running->thread);
    running->state = DONE;
    void *unused;
    mh_switch(&unused, scheduler_stack);
    __builtin_unreachable();
}

static void run_lane(lane *l, uint32_t group_first_id) {
    running = l;
    mh.thread = &l->thread;
    mh.thread_id = group_first_id + l->thread.thread_index_in_threadgroup;
    mh_traffic_lane();
    if (l->fiber.stack < 0) {
        mh_fiber_start(&l->fiber, lane_body);
    }
    mh_switch(&scheduler_stack, l->fiber.stack_pointer);
    mh.thread = NULL;
    if (l->state == DONE) {
        mh_fiber_finish(&l->fiber);
    }
}

static void wait_at(place where) {
    lane *l = running;
    l->state = WAITING;
    l->place = where;
    mh_switch(&l->fiber.stack_pointer, scheduler_stack);
}

const mh_meeting *mh_meet(const char *what, int active, int uniform, const void *value, unsigned size,
                          int line, int column) {
    lane *l = running;
    memcpy(l->handed_over, value, size);
    l->uniform = uniform;
    wait_at((place){what, line, column, active ? WAIT_ACTIVE : WAIT_SIMD, MH_MEM_NONE});
    mh_meeting *meeting = &simds[l->thread.simdgroup_index_in_threadgroup].meeting;
    meeting->lane = l->thread.thread_index_in_simdgroup;
    return meeting;
}

void mh_undefined(const char *what, const char *does, unsigned value, const char *why, int line, int column) {
    mh_fail(MH_DIVERGENCE, NULL, "%s (line %d, column %d) %s %u, %s (%s)", what, line, column, does, value,
            why, mh_where());
}

int mh_is_own(const void *address, int is_write) {
    if (mh_is_stack_of(&running->fiber, address)) return 1;
    const simd_group *simd = &simds[running->thread.simdgroup_index_in_threadgroup];
    return !is_write && (uintptr_t)address - (uintptr_t)simd < sizeof *simd;
}

int mh_overflowed_own_stack(const void *address) { return mh_stack_overflowed(&running->fiber, address); }

void mh_simdgroup_barrier(unsigned mem, int line, int column) {
    wait_at((place){"simdgroup_barrier", line, column, WAIT_SIMD, mem});
}

void mh_threadgroup_barrier(unsigned mem, int line, int column) {
    wait_at((place){"threadgroup_barrier", line, column, WAIT_GROUP, mem});
}

static int same_place(const place *a, const place *b) {
    return a->line == b->line && a->column == b->column && strcmp(a->what, b->what) == 0;
}

static const char *state_text(const lane *l, char *text, size_t size) {
    if (l->state == DONE) {
        snprintf(text, size, "has returned");
    } else {
        snprintf(text, size, "waits at %s (line %d, column %d)", l->place.what, l->place.line,
                 l->place.column);
    }
    return text;
}

static _Noreturn void diverged(const char *operation, const lane *a, const lane *b) {
    char text_a[160], text_b[160];
    mh.thread = &a->thread;
    const char *where = mh_where();
    mh_fail(MH_DIVERGENCE, NULL,
            "divergent %s: thread %u of the threadgroup (lane %u of SIMD-group %u) %s, but thread %u (lane "
            "%u of SIMD-group %u) %s (%s)",
            operation, a->thread.thread_index_in_threadgroup, a->thread.thread_index_in_simdgroup,
            a->thread.simdgroup_index_in_threadgroup, state_text(a, text_a, sizeof text_a),
            b->thread.thread_index_in_threadgroup, b->thread.thread_index_in_simdgroup,
            b->thread.simdgroup_index_in_threadgroup, state_text(b, text_b, sizeof text_b), where);
}

/* All must wait at the same place, or all must have returned. */
static void require_together(const lane *a, const lane *b) {
    if (a->state != b->state || (a->state == WAITING && !same_place(&a->place, &b->place))) {
        const lane *waiting = a->state == WAITING ? a : b;
        diverged(waiting->place.what, waiting, waiting == a ? b : a);
    }
}

/* The lane whose companions go on: any of them if all are together, else the one at the earliest place
 * whose function may be called by some lanes alone. NULL if no such lane waits. */
static const lane *next_meeting(const simd_group *simd) {
    const lane *first = &simd->lanes[0], *earliest = NULL;
    int together = 1;
    for (unsigned i = 0; i < simd->count; i++) {
        const lane *l = &simd->lanes[i];
        together = together && l->state == first->state &&
                   (l->state == DONE || same_place(&l->place, &first->place));
        if (l->state == WAITING && l->place.scope == WAIT_ACTIVE && !mh.launch->check_uniform &&
            (!earliest || l->place.line < earliest->place.line ||
             (l->place.line == earliest->place.line && l->place.column < earliest->place.column))) {
            earliest = l;
        }
    }
    return together ? first : earliest;
}

static void require_uniform(const lane *a, const lane *b) {
    if (a->uniform == b->uniform) return;
    mh.thread = &b->thread;
    mh_fail(
        MH_DIVERGENCE, NULL,
        "%s (line %d, column %d) has different arguments in lanes %u and %u of SIMD-group %u, which must be "
        "the same (%s)",
        a->place.what, a->place.line, a->place.column, a->thread.thread_index_in_simdgroup,
        b->thread.thread_index_in_simdgroup, b->thread.simdgroup_index_in_threadgroup, mh_where());
}

/* Gives the lanes at this place what each of them handed over, and lets them go on. */
static void release(simd_group *simd, const place *at) {
    mh_meeting *meeting = &simd->meeting;
    const place where = *at; /* `at` lies in one of the lanes */
    const lane *first = NULL;
    meeting->present = 0;
    for (unsigned i = 0; i < MH_SIMD_WIDTH; i++) {
        lane *l = &simd->lanes[i];
        if (i < simd->count && l->state == WAITING && same_place(&l->place, &where)) {
            if (!first) first = l;
            require_uniform(first, l);
            memcpy(meeting->slot[i], l->handed_over, MH_SLOT_BYTES);
            meeting->present |= 1u << i;
            l->state = READY;
        } else {
            memset(meeting->slot[i], 0xFF, MH_SLOT_BYTES);
        }
    }
}

static void note_simd_barrier(unsigned simd, unsigned mem) {
    if (mem == MH_MEM_NONE) return;
    mh.clock.now++;
    if (mem & MH_MEM_DEVICE) mh.clock.simd_device[simd] = mh.clock.now;
    if (mem & MH_MEM_THREADGROUP) mh.clock.simd_threadgroup[simd] = mh.clock.now;
}

/* Runs the SIMD-group until its lanes wait for the whole threadgroup or have returned. */
static void run_simd(simd_group *simd, uint32_t group_first_id) {
    for (;;) {
        for (unsigned i = 0; i < simd->count; i++) {
            if (simd->lanes[i].state == READY) run_lane(&simd->lanes[i], group_first_id);
        }
        mh_traffic_meet();
        const lane *next = next_meeting(simd);
        if (!next) {
            for (unsigned i = 1; i < simd->count; i++) {
                require_together(&simd->lanes[0], &simd->lanes[i]);
            }
        }
        if (next->state == DONE || next->place.scope == WAIT_GROUP) return;
        note_simd_barrier((unsigned)(simd - simds), next->place.mem);
        release(simd, &next->place);
    }
}

static void begin_group(const mh_thread *group, unsigned threads) {
    const mh_uint3 size = group->threads_per_threadgroup;
    mh_launch *launch = mh.launch;
    memset(&mh.clock, 0, sizeof mh.clock);
    for (uint32_t r = 0; r < launch->region_count; r++) {
        mh_region *region = &launch->regions[r];
        if (region->kind == MH_THREADGROUP) {
            memset(region->flags, MH_ELEMENT, region->size);
            memset(region->cells, 0, region->size * sizeof *region->cells);
        }
    }
    for (unsigned i = 0; i < threads; i++) {
        lane *l = &lanes[i];
        mh_thread *t = &l->thread;
        *t = *group;
        t->thread_position_in_threadgroup =
            (mh_uint3){i % size.x, i / size.x % size.y, i / (size.x * size.y)};
        t->thread_index_in_threadgroup = i;
        t->thread_index_in_simdgroup = i % MH_SIMD_WIDTH;
        t->simdgroup_index_in_threadgroup = i / MH_SIMD_WIDTH;
        t->thread_index_in_quadgroup = i % 4;
        t->quadgroup_index_in_threadgroup = i / 4;
        const mh_uint3 full = group->dispatch_threads_per_threadgroup;
        const mh_uint3 at = group->threadgroup_position_in_grid;
        t->thread_position_in_grid = (mh_uint3){at.x * full.x + t->thread_position_in_threadgroup.x,
                                                at.y * full.y + t->thread_position_in_threadgroup.y,
                                                at.z * full.z + t->thread_position_in_threadgroup.z};
        l->state = READY;
        l->fiber.stack = -1;
    }
    for (unsigned s = 0; s * MH_SIMD_WIDTH < threads; s++) {
        simd_group *simd = &simds[s];
        const unsigned first = s * MH_SIMD_WIDTH;
        simd->lanes = &lanes[first];
        simd->count = threads - first < MH_SIMD_WIDTH ? threads - first : MH_SIMD_WIDTH;
    }
}

static void run_group(const mh_thread *group, unsigned threads) {
    const unsigned simd_count = group->simdgroups_per_threadgroup;
    const uint32_t first_id = mh.group_serial * mh.group_capacity + 1;
    begin_group(group, threads);
    for (;;) {
        for (unsigned s = 0; s < simd_count; s++) {
            run_simd(&simds[s], first_id);
        }
        for (unsigned s = 1; s < simd_count; s++) {
            require_together(&lanes[0], simds[s].lanes);
        }
        if (lanes[0].state == DONE) {
            return;
        }
        mh.clock.now++;
        if (lanes[0].place.mem & MH_MEM_DEVICE) {
            mh.clock.device_barrier = mh.clock.now;
        }
        if (lanes[0].place.mem & MH_MEM_THREADGROUP) {
            mh.clock.threadgroup_barrier = mh.clock.now;
        }
        for (unsigned i = 0; i < threads; i++) {
            lanes[i].state = READY;
        }
    }
}

static unsigned divide_up(unsigned a, unsigned b) { return a / b + (a % b != 0); }

static unsigned smaller(unsigned a, unsigned b) { return a < b ? a : b; }

static void run_grid(const mh_launch *launch) {
    const uint32_t *grid = launch->grid, *full = launch->group;
    mh_thread t;
    memset(&t, 0, sizeof t);
    t.threads_per_grid = (mh_uint3){grid[0], grid[1], grid[2]};
    t.dispatch_threads_per_threadgroup = (mh_uint3){full[0], full[1], full[2]};
    t.threadgroups_per_grid =
        (mh_uint3){divide_up(grid[0], full[0]), divide_up(grid[1], full[1]), divide_up(grid[2], full[2])};
    t.threads_per_simdgroup = t.thread_execution_width = MH_SIMD_WIDTH;
    t.dispatch_simdgroups_per_threadgroup = divide_up(mh.group_capacity, MH_SIMD_WIDTH);
    t.buffers = launch->buffers;
    const mh_uint3 groups = t.threadgroups_per_grid;
    for (unsigned z = 0; z < groups.z; z++) {
        for (unsigned y = 0; y < groups.y; y++) {
            for (unsigned x = 0; x < groups.x; x++) {
                const mh_uint3 size = {smaller(full[0], grid[0] - x * full[0]),
                                       smaller(full[1], grid[1] - y * full[1]),
                                       smaller(full[2], grid[2] - z * full[2])};
                const unsigned threads = size.x * size.y * size.z;
                t.threadgroup_position_in_grid = (mh_uint3){x, y, z};
                t.threads_per_threadgroup = size;
                t.simdgroups_per_threadgroup = divide_up(threads, MH_SIMD_WIDTH);
                t.quadgroups_per_threadgroup = divide_up(threads, 4);
                run_group(&t, threads);
                mh.group_serial++;
            }
        }
    }
}

int mh_run(mh_launch *launch, mh_report *report) {
    memset(&mh, 0, sizeof mh);
    memset(report, 0, sizeof *report);
    mh.launch = launch;
    mh.report = report;
    mh.group_capacity = launch->group[0] * launch->group[1] * launch->group[2];
    if (!mh_fibers_open() || !mh_traffic_begin()) {
        report->status = MH_NO_MEMORY;
        snprintf(report->message, sizeof report->message, "no memory for the harness");
        return MH_NO_MEMORY;
    }
    mh_faults_install();
    const mh_float_mode before = mh_float_mode_enter(launch->flush_subnormals != 0);
    if (setjmp(abandon_to) == 0) {
        run_grid(launch);
    }
    mh_float_mode_leave(before);
    mh_faults_remove();
    return report->status;
}
