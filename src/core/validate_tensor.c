/* validate_tensor.c - see validate_tensor.h. */
#include "validate_tensor.h"

#include "names.h"

static cc1d_status refuse_dtype(const char *name, const char *expected, int32_t dtype) {
    return cc1d_fail(CC1D_ERROR_TYPE, "%s: expected %s, got %s", name, expected, cc1d_dtype_name(dtype));
}

/* Of x's dtype, or of another argument's. */
static cc1d_status check_alike(const cc1d_problem *p, const cc1d_argument *argument, int32_t dtype,
                               cc1d_role other) {
    const int32_t wanted = p->view[other].dtype;
    if (dtype == wanted) return CC1D_OK;
    return cc1d_fail(CC1D_ERROR_TYPE, "%s: expected %s like %s, got %s", argument->name,
                     cc1d_dtype_name(wanted), cc1d_role_name(p->op, other), cc1d_dtype_name(dtype));
}

static cc1d_status check_parameter(const cc1d_problem *p, const cc1d_argument *argument, int32_t dtype) {
    if (argument->like >= 0) { /* a gradient; that of an absent bias is like the weight */
        const cc1d_role like = cc1d_tables[p->op].argument[argument->like].role;
        return check_alike(p, argument, dtype, cc1d_has(p, like) ? like : CC1D_WEIGHT);
    }
    if (dtype == CC1D_FLOAT64 && p->view[CC1D_X].dtype != CC1D_FLOAT64)
        return refuse_dtype(argument->name, "float32, float16 or bfloat16 (float64 only with float64 x)",
                            dtype);
    if (cc1d_use_of(dtype) == CC1D_USE_NUMBERS) return CC1D_OK;
    return refuse_dtype(argument->name, "float32, float16, bfloat16 or float64", dtype);
}

/* Steps are rounded to a state's dtype when they are stored there. */
static cc1d_status check_state(const cc1d_problem *p, const cc1d_argument *argument, int32_t dtype) {
    if (argument->role == CC1D_NODE_STATES) return check_alike(p, argument, dtype, CC1D_STATE);
    const bool wide = p->view[CC1D_X].dtype == CC1D_FLOAT64;
    if (wide) return check_alike(p, argument, dtype, CC1D_X);
    if (cc1d_use_of(dtype) == CC1D_USE_NUMBERS && dtype != CC1D_FLOAT64) return CC1D_OK;
    return refuse_dtype(argument->name, "float32, float16 or bfloat16 (float64 only with float64 x)", dtype);
}

static cc1d_status check_dtype(const cc1d_problem *p, const cc1d_argument *argument, int32_t dtype) {
    switch (argument->kind) {
    case CC1D_KIND_INDEX:
        if (cc1d_use_of(dtype) == CC1D_USE_INDICES) return CC1D_OK;
        return refuse_dtype(argument->name, "int32 or int64", dtype);
    case CC1D_KIND_BOOL:
        if (dtype == CC1D_BOOL) return CC1D_OK;
        return refuse_dtype(argument->name, "bool", dtype);
    case CC1D_KIND_STATE: return check_state(p, argument, dtype);
    case CC1D_KIND_PARAMETER: return check_parameter(p, argument, dtype);
    default:
        if (argument->role != CC1D_X) return check_alike(p, argument, dtype, CC1D_X);
        if (cc1d_use_of(dtype) == CC1D_USE_NUMBERS) return CC1D_OK;
        return refuse_dtype(argument->name, "float32, float16, bfloat16 or float64", dtype);
    }
}

static cc1d_status check_device(const cc1d_problem *p, const char *name, const cc1d_tensor *tensor) {
    cc1d_device_text x, got;
    if (tensor->device < CC1D_CPU || tensor->device > CC1D_METAL)
        return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected a cpu, cuda or mps tensor, got %s", name,
                         cc1d_device_name(tensor->device, tensor->device_index, &got));
    if (tensor->device == (int32_t)p->device && tensor->device_index == p->device_index) return CC1D_OK;
    return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected device %s like x, got %s", name,
                     cc1d_device_name((int32_t)p->device, p->device_index, &x),
                     cc1d_device_name(tensor->device, tensor->device_index, &got));
}

static cc1d_status too_large(const char *name, const cc1d_tensor *tensor) {
    cc1d_list_text shape, strides;
    return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected at most 2^62 bytes, got shape %s with strides %s of %s",
                     name, cc1d_join_numbers(&shape, tensor->ndim, tensor->shape),
                     cc1d_join_numbers(&strides, tensor->ndim, tensor->strides),
                     cc1d_dtype_name(tensor->dtype));
}

/* Sizes and strides into the view, if they stay inside the bounds. In double first: it has no overflow, and
 * its rounding is far smaller than the distance from 2^62 to 2^63. */
static cc1d_status take_extent(const char *name, const cc1d_tensor *tensor, cc1d_view *view) {
    const uint64_t item = cc1d_itemsize(tensor->dtype), start = (uintptr_t)tensor->data;
    double elements = 1, reach = 1;
    uint64_t extent = 1;
    for (int32_t i = 0; i < 3; i++) {
        view->shape[i] = i < tensor->ndim ? tensor->shape[i] : 1;
        view->stride[i] = 0;
        if (view->shape[i] == 0 || view->shape[i] == 1) continue;
        if (view->shape[i] < 0 || tensor->strides[i] < 0)
            return cc1d_fail(
                CC1D_ERROR_VALUE,
                "%s: expected shape and strides >= 0, got size %lld and stride %lld at dimension %d", name,
                (long long)tensor->shape[i], (long long)tensor->strides[i], (int)i);
        view->stride[i] = tensor->strides[i];
        elements *= (double)view->shape[i];
        reach += (double)(view->shape[i] - 1) * (double)view->stride[i];
        extent += (uint64_t)(view->shape[i] - 1) * (uint64_t)view->stride[i];
    }
    if ((elements > reach ? elements : reach) * (double)item > CC1D_MOST_BYTES)
        return too_large(name, tensor);
    if (tensor->byte_offset > UINTPTR_MAX - start ||
        extent * item > UINTPTR_MAX - start - tensor->byte_offset)
        return cc1d_fail(
            CC1D_ERROR_VALUE, "%s: expected memory inside the address space, got %llu bytes at %p + %llu",
            name, (unsigned long long)(extent * item), tensor->data, (unsigned long long)tensor->byte_offset);
    if (!tensor->data && view->shape[0] && view->shape[1] && view->shape[2])
        return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected a data pointer, got NULL", name);
    return CC1D_OK;
}

cc1d_status cc1d_take_tensor(cc1d_problem *p, const cc1d_argument *argument, const cc1d_tensor *tensor) {
    cc1d_view *view = &p->view[argument->role];
    CC1D_CHECK(check_dtype(p, argument, tensor->dtype));
    CC1D_CHECK(check_device(p, argument->name, tensor));
    CC1D_CHECK(take_extent(argument->name, tensor, view));
    view->data = tensor->data ? (char *)((uintptr_t)tensor->data + (uintptr_t)tensor->byte_offset) : NULL;
    view->buffer = tensor->device == CC1D_METAL ? tensor->data : NULL;
    view->dtype = tensor->dtype;
    view->present = true;
    return CC1D_OK;
}
