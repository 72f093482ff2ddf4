/* Memory traffic in 64-byte lines.
 *
 * A SIMD-group instruction is the n-th execution of one static access by each lane since the lanes last
 * met. Lanes run one after another here, so the lines that one instruction touched are collected in a
 * set with the key (static access, n, line), which is emptied at each meeting. */
#include <stdlib.h>
#include <string.h>

#include "mh.h"

enum { LINE_SHIFT = 6 };

typedef struct entry {
    const void *pc;
    uint64_t line;
    uint32_t occurrence;
    uint32_t generation; /* the entry is free unless this is the table's */
    uint64_t visit;      /* in `counters`: the run of one lane that `count` belongs to */
    uint32_t count;
} entry;

typedef struct table {
    entry *entries;
    size_t capacity, used;
    uint32_t generation;
} table;

static table touched;  /* (pc, occurrence, line): lines of the instructions since the last meeting */
static table counters; /* (pc, 0, 0): how often the running lane executed it since then */
static uint64_t visit;

static int table_open(table *set) {
    if (!set->entries) {
        set->capacity = 4096;
        set->entries = calloc(set->capacity, sizeof(entry));
    }
    return set->entries != NULL;
}

static void table_clear(table *set) {
    set->used = 0;
    set->generation++;
    if (set->generation == 0) {
        memset(set->entries, 0, set->capacity * sizeof(entry));
        set->generation = 1;
    }
}

/* The entry with this key, or the free one where it belongs. */
static entry *find(const table *set, const void *pc, uint32_t occurrence, uint64_t line) {
    uint64_t hash = (uint64_t)(uintptr_t)pc * 0x9E3779B97F4A7C15u;
    hash ^= (line + ((uint64_t)occurrence << 40)) * 0xC2B2AE3D27D4EB4Fu;
    hash ^= hash >> 29;
    for (size_t i = (size_t)hash;; i++) {
        entry *e = &set->entries[i & (set->capacity - 1)];
        if (e->generation != set->generation ||
            (e->pc == pc && e->occurrence == occurrence && e->line == line)) {
            return e;
        }
    }
}

static void grow(table *set) {
    table bigger = *set;
    bigger.capacity = set->capacity * 2;
    bigger.entries = calloc(bigger.capacity, sizeof(entry));
    if (!bigger.entries) {
        mh_fail(MH_NO_MEMORY, NULL, "no memory to count traffic");
    }
    for (size_t i = 0; i < set->capacity; i++) {
        const entry *e = &set->entries[i];
        if (e->generation == set->generation) {
            *find(&bigger, e->pc, e->occurrence, e->line) = *e;
        }
    }
    free(set->entries);
    *set = bigger;
}

/* Finds or adds the entry; *added says which. */
static entry *insert(table *set, const void *pc, uint32_t occurrence, uint64_t line, int *added) {
    entry *e = find(set, pc, occurrence, line);
    *added = e->generation != set->generation;
    if (*added) {
        if (set->used * 2 >= set->capacity) {
            grow(set);
            e = find(set, pc, occurrence, line);
        }
        set->used++;
        *e = (entry){pc, line, occurrence, set->generation, 0, 0};
    }
    return e;
}

int mh_traffic_begin(void) {
    if (!table_open(&touched) || !table_open(&counters)) {
        return 0;
    }
    table_clear(&touched);
    table_clear(&counters);
    return 1;
}

void mh_traffic_meet(void) { table_clear(&touched); }

void mh_traffic_lane(void) { visit++; }

static uint32_t next_occurrence(const void *pc) {
    int added;
    entry *e = insert(&counters, pc, 0, 0, &added);
    if (e->visit != visit) {
        e->visit = visit;
        e->count = 0;
    }
    return e->count++;
}

/* One access to one line: counts it once per instruction, once per threadgroup, once per launch. */
static void count_line(uint32_t *last_group, uint64_t line, uint64_t *group_lines, uint64_t *launch_lines) {
    uint32_t *last = &last_group[line];
    if (*last == 0) {
        ++*launch_lines;
    }
    if (*last != mh.group_serial + 1) {
        ++*group_lines;
        *last = mh.group_serial + 1;
    }
}

void mh_traffic_count(mh_region *region, uint64_t offset, uint32_t size, int is_write, const void *pc) {
    mh_traffic *traffic = &region->traffic;
    const uint32_t occurrence = next_occurrence(pc);
    const uint64_t address = (uint64_t)(uintptr_t)region->base + offset;
    const uint64_t first_line = (uint64_t)(uintptr_t)region->base >> LINE_SHIFT;
    for (uint64_t line = address >> LINE_SHIFT; line <= (address + size - 1) >> LINE_SHIFT; line++) {
        int added;
        insert(&touched, pc, occurrence, line, &added);
        if (is_write) {
            traffic->store_lines += (uint64_t)added;
            count_line(region->store_line, line - first_line, &traffic->group_store_lines,
                       &traffic->launch_store_lines);
        } else {
            traffic->load_lines += (uint64_t)added;
            count_line(region->load_line, line - first_line, &traffic->group_load_lines,
                       &traffic->launch_load_lines);
        }
    }
    if (is_write) {
        traffic->store_bytes += size;
        traffic->stores++;
    } else {
        traffic->load_bytes += size;
        traffic->loads++;
    }
}
