/* sized.c - see sized.h. */
#include "sized.h"

#include <string.h>

cc1d_status cc1d_take_struct(const char *name, void *to, const void *from, const size_t *ends, size_t count) {
    const size_t known = ends[count - 1];
    if (!from) return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected a struct, got NULL", name);
    size_t size;
    memcpy(&size, from, sizeof size);
    size_t i = 0;
    while (i < count && ends[i] != size) i++;
    if (i == count) return cc1d_fail(CC1D_ERROR_VALUE, "%s: expected size = %zu, got %zu", name, known, size);
    memset((char *)to + size, 0, known - size);
    memcpy(to, from, size);
    memcpy(to, &known, sizeof known);
    return CC1D_OK;
}
