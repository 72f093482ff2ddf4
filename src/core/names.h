/* names.h - what users call things, for messages. Static storage; never NULL. */
#ifndef CC1D_NAMES_H
#define CC1D_NAMES_H

#include "problem.h"

/* E.g. "silu"; NULL for a number that is none. */
const char *cc1d_activation_name(int32_t activation);

/* The number of the activation that users call so, or -1. */
int32_t cc1d_activation_named(const char *name);

/* E.g. "bfloat16"; "an unsupported dtype" for a number that is none. */
const char *cc1d_dtype_name(int32_t dtype);

/* PyTorch's name of a device, "cpu", "cuda:0" or "mps:0", written to text. */
typedef struct cc1d_device_text {
    char text[32];
} cc1d_device_text;
const char *cc1d_device_name(int32_t device, int32_t index, cc1d_device_text *text);

/* A list in brackets, "(2, 3)", written to text, which is returned. */
typedef struct cc1d_list_text {
    char text[96];
} cc1d_list_text;
const char *cc1d_join_numbers(cc1d_list_text *text, int32_t count, const int64_t *numbers);
const char *cc1d_join_words(cc1d_list_text *text, int32_t count, const char *const *words);
const char *cc1d_shape_text(cc1d_list_text *text, const cc1d_tensor *tensor);

#endif
