/* sized.h - the public structs that begin with their size: a caller may have been compiled with an earlier
 * header. */
#ifndef CC1D_SIZED_H
#define CC1D_SIZED_H

#include "status.h"

/* Copies a caller's struct, whose first member is its size, to `to`, and zeroes the fields that its version
 * lacks. ends: the sizes of all versions, ascending; the last is this library's and that of `to`. VALUE,
 * naming the struct, if it has none of these sizes. */
cc1d_status cc1d_take_struct(const char *name, void *to, const void *from, const size_t *ends, size_t count);

#endif
