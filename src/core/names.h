/* names.h - what users call things, for messages. Static storage; never NULL. */
#ifndef CC1D_NAMES_H
#define CC1D_NAMES_H

#include "problem.h"

/* E.g. "initial_states". */
const char *cc1d_role_name(cc1d_operation op, cc1d_role role);

/* E.g. "bfloat16"; "an unsupported dtype" for a number that is none. */
const char *cc1d_dtype_name(int32_t dtype);

/* PyTorch's name of a device, "cpu", "cuda:0" or "mps:0", written to text. */
typedef struct cc1d_device_text {
    char text[32];
} cc1d_device_text;
const char *cc1d_device_name(int32_t device, int32_t index, cc1d_device_text *text);

#endif
