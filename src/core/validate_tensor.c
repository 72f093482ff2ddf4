/* validate_tensor.c - see validate_tensor.h. */
#include "validate_tensor.h"

#include <stdio.h>

#include "names.h"

/* "(2, 3)" for messages. */
typedef struct list_text {
    char text[96];
} list_text;

static const char *format_list(list_text *to, int32_t count, const int64_t *values) {
    char *text = to->text;
    int length = snprintf(text, sizeof to->text, "(");
    for (int32_t i = 0; i < count; i++)
        length += snprintf(text + length, sizeof to->text - (size_t)length, i ? ", %lld" : "%lld",
                           (long long)values[i]);
    snprintf(text + length, sizeof to->text - (size_t)length, count == 1 ? ",)" : ")");
    return text;
}

static const char *format_shape(list_text *to, const cc1d_tensor *tensor) {
    if (tensor->ndim >= 0 && tensor->ndim <= CC1D_MAX_DIMS)
        return format_list(to, tensor->ndim, tensor->shape);
    snprintf(to->text, sizeof to->text, "a %d-dimensional tensor", (int)tensor->ndim);
    return to->text;
}

static cc1d_status check_dtype(const cc1d_problem *p, cc1d_role role, int32_t dtype, cc1d_dtype_rule rule) {
    const int32_t x_dtype = p->view[CC1D_X].dtype;
    const bool floating = cc1d_use_of(dtype) == CC1D_USE_NUMBERS;
    const char *name = cc1d_role_name(p->op, role), *expected = NULL;
    switch (rule) {
    case CC1D_LIKE_X:
        if (dtype != x_dtype)
            return cc1d_fail(CC1D_ERROR_TYPE, "%s: expected %s like x, got %s", name,
                             cc1d_dtype_name(x_dtype), cc1d_dtype_name(dtype));
        break;
    case CC1D_INDEX:
        if (cc1d_use_of(dtype) != CC1D_USE_INDICES) expected = "int32 or int64";
        break;
    case CC1D_PARAMETER:
        if (dtype == CC1D_FLOAT64 && x_dtype != CC1D_FLOAT64)
            expected = "float32, float16 or bfloat16 (float64 only with float64 x)";
        /* fall through */
    case CC1D_ANY_FLOAT:
        if (!floating) expected = "float32, float16, bfloat16 or float64";
        break;
    }
    if (!expected) return CC1D_OK;
    return cc1d_fail(CC1D_ERROR_TYPE, "%s: expected %s, got %s", name, expected, cc1d_dtype_name(dtype));
}

static cc1d_status check_device(const cc1d_problem *p, cc1d_role role, const cc1d_tensor *tensor) {
    const char *name = cc1d_role_name(p->op, role);
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
    list_text shape, strides;
    return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected at most 2^62 bytes, got shape %s with strides %s of %s",
                     name, format_list(&shape, tensor->ndim, tensor->shape),
                     format_list(&strides, tensor->ndim, tensor->strides), cc1d_dtype_name(tensor->dtype));
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

cc1d_status cc1d_take_tensor(cc1d_problem *p, cc1d_role role, const cc1d_tensor *tensor,
                             cc1d_dtype_rule rule) {
    cc1d_view *view = &p->view[role];
    CC1D_CHECK(check_dtype(p, role, tensor->dtype, rule));
    CC1D_CHECK(check_device(p, role, tensor));
    CC1D_CHECK(take_extent(cc1d_role_name(p->op, role), tensor, view));
    view->data = tensor->data ? (char *)((uintptr_t)tensor->data + (uintptr_t)tensor->byte_offset) : NULL;
    view->buffer = tensor->device == CC1D_METAL ? tensor->data : NULL;
    view->dtype = tensor->dtype;
    view->present = true;
    return CC1D_OK;
}

cc1d_status cc1d_check_shape(const cc1d_problem *p, cc1d_role role, const cc1d_tensor *tensor, int32_t ndim,
                             const char *letters, int64_t n0, int64_t n1, int64_t n2) {
    const int64_t want[3] = {n0, n1, n2};
    bool same = tensor->ndim == ndim;
    for (int32_t i = 0; same && i < ndim; i++) same = tensor->shape[i] == want[i];
    if (same) return CC1D_OK;
    list_text expected, got;
    return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected shape %s = %s, got %s", cc1d_role_name(p->op, role),
                     letters, format_list(&expected, ndim, want), format_shape(&got, tensor));
}

cc1d_status cc1d_check_ndim(const cc1d_problem *p, cc1d_role role, const cc1d_tensor *tensor, int32_t ndim,
                            const char *letters) {
    if (tensor->ndim == ndim) return CC1D_OK;
    list_text got;
    return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected shape %s, got %s", cc1d_role_name(p->op, role), letters,
                     format_shape(&got, tensor));
}
