/* validate_overlap.c - see validate_overlap.h. */
#include "validate_overlap.h"

#include "arguments.h"

static bool is_empty(const cc1d_view *v) { return v->shape[0] == 0 || v->shape[1] == 0 || v->shape[2] == 0; }

/* Dimensions by falling stride, those of size 1 left out; returns how many. */
static int sorted_dims(const cc1d_view *v, int order[3]) {
    int count = 0;
    for (int i = 0; i < 3; i++) {
        if (v->shape[i] == 1) continue;
        int at = count++;
        for (; at > 0 && v->stride[order[at - 1]] < v->stride[i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
    return count;
}

/* Distance in elements from the first to the last element. */
static int64_t reach(const cc1d_view *v) {
    int64_t sum = 0;
    for (int i = 0; i < 3; i++) sum += (v->shape[i] - 1) * v->stride[i];
    return sum;
}

/* Provably no two indices share an element: each stride steps over everything that the smaller ones reach. */
static bool is_injective(const cc1d_view *v) {
    int order[3];
    int64_t inner = 0;
    for (int i = sorted_dims(v, order) - 1; i >= 0; i--) {
        if (v->stride[order[i]] <= inner) return false;
        inner += (v->shape[order[i]] - 1) * v->stride[order[i]];
    }
    return true;
}

/* Whether |delta| bytes apart, two injective views with equal strides share a byte: delta must be a sum of
 * i*stride with |i| < shape, to within an element. Largest stride first, only two multiples can lead there.
 */
static bool meets(const cc1d_view *v, const int64_t shape[3], const int *order, int count, int64_t delta,
                  int64_t item) {
    if (count == 0) return delta > -item && delta < item;
    const int64_t step = v->stride[order[0]] * item, size = shape[order[0]];
    const int64_t low = delta / step - (delta % step < 0);
    for (int64_t i = low; i <= low + 1; i++)
        if (i > -size && i < size && meets(v, shape, order + 1, count - 1, delta - i * step, item))
            return true;
    return false;
}

static bool overlaps(const cc1d_view *a, const cc1d_view *b) {
    if (is_empty(a) || is_empty(b) || a->buffer != b->buffer) return false;
    const int64_t item_a = (int64_t)cc1d_itemsize(a->dtype), item_b = (int64_t)cc1d_itemsize(b->dtype);
    const uintptr_t a0 = (uintptr_t)a->data, a1 = a0 + (uintptr_t)((reach(a) + 1) * item_a);
    const uintptr_t b0 = (uintptr_t)b->data, b1 = b0 + (uintptr_t)((reach(b) + 1) * item_b);
    if (a1 <= b0 || b1 <= a0) return false;
    bool comparable = item_a == item_b && is_injective(a) && is_injective(b);
    int64_t shape[3];
    for (int i = 0; i < 3; i++) {
        if (a->shape[i] > 1 && b->shape[i] > 1 && a->stride[i] != b->stride[i]) comparable = false;
        /* A difference of indices; a dimension that only one of them has keeps its own reach. */
        shape[i] = a->shape[i] > b->shape[i] ? a->shape[i] : b->shape[i];
    }
    if (!comparable) return true;
    cc1d_view joint = *a;
    for (int i = 0; i < 3; i++) {
        joint.shape[i] = shape[i];
        if (a->shape[i] <= 1) joint.stride[i] = b->stride[i];
    }
    if (!is_injective(&joint)) return true;
    int order[3];
    const int count = sorted_dims(&joint, order);
    return meets(&joint, shape, order, count, (int64_t)(b0 - a0), item_a);
}

static cc1d_status refuse_inside(const char *name, const cc1d_view *v) {
    return cc1d_fail(CC1D_ERROR_VALUE,
                     "%s: expected memory without overlap inside the tensor, got strides (%lld, %lld, %lld)",
                     name, (long long)v->stride[0], (long long)v->stride[1], (long long)v->stride[2]);
}

cc1d_status cc1d_check_overlap(const cc1d_problem *p) {
    const cc1d_table *table = &cc1d_tables[p->op];
    for (int i = 0; i < table->count; i++) {
        const cc1d_argument *output = &table->argument[i];
        const cc1d_view *view = &p->view[output->role];
        if (!output->written || !view->present || is_empty(view)) continue;
        if (!is_injective(view)) return refuse_inside(output->name, view);
        for (int j = 0; j < table->count; j++) {
            const cc1d_view *other = &p->view[table->argument[j].role];
            if (p->in_place && output->role == CC1D_OUT && table->argument[j].role == CC1D_X) continue;
            if (j != i && other->present && overlaps(view, other))
                return cc1d_fail(CC1D_ERROR_VALUE,
                                 "%s: expected memory of its own, got memory that overlaps %s", output->name,
                                 table->argument[j].name);
        }
    }
    return CC1D_OK;
}
