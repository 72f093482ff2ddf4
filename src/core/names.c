/* names.c - see names.h. */
#include "names.h"

#include <stdio.h>
#include <string.h>

#include "activations.h"

const char *cc1d_activation_name(int32_t activation) {
    switch (activation) {
#define NAME(value, name) \
    case CC1D_ACTIVATION_##value: return name;
        CC1D_EACH_ACTIVATION(NAME)
#undef NAME
    default: return NULL;
    }
}

int32_t cc1d_activation_named(const char *name) {
#define COMPARE(value, known) \
    if (strcmp(name, known) == 0) return CC1D_ACTIVATION_##value;
    CC1D_EACH_ACTIVATION(COMPARE)
    CC1D_EACH_ACTIVATION_ALIAS(COMPARE)
#undef COMPARE
    return -1;
}

const char *cc1d_dtype_name(int32_t dtype) {
    switch (dtype) {
#define NAME(value, name, bytes, use, code) \
    case value: return name;
        CC1D_EACH_DTYPE(NAME)
#undef NAME
    default: return "an unsupported dtype";
    }
}

const char *cc1d_device_name(int32_t device, int32_t index, cc1d_device_text *text) {
    static const char *const names[] = {[CC1D_CPU] = "cpu", [CC1D_CUDA] = "cuda", [CC1D_METAL] = "mps"};
    if (device < CC1D_CPU || device > CC1D_METAL) return "an unknown device";
    if (device == CC1D_CPU && index == 0) return names[device]; /* there is only one */
    snprintf(text->text, sizeof text->text, "%s:%d", names[device], (int)index);
    return text->text;
}

const char *cc1d_join_numbers(cc1d_list_text *to, int32_t count, const int64_t *numbers) {
    int length = snprintf(to->text, sizeof to->text, "(");
    for (int32_t i = 0; i < count; i++)
        length += snprintf(to->text + length, sizeof to->text - (size_t)length, i ? ", %lld" : "%lld",
                           (long long)numbers[i]);
    snprintf(to->text + length, sizeof to->text - (size_t)length, count == 1 ? ",)" : ")");
    return to->text;
}

const char *cc1d_join_words(cc1d_list_text *to, int32_t count, const char *const *words) {
    int length = snprintf(to->text, sizeof to->text, "(");
    for (int32_t i = 0; i < count; i++)
        length += snprintf(to->text + length, sizeof to->text - (size_t)length, i ? ", %s" : "%s", words[i]);
    snprintf(to->text + length, sizeof to->text - (size_t)length, ")");
    return to->text;
}

const char *cc1d_shape_text(cc1d_list_text *to, const cc1d_tensor *tensor) {
    if (tensor->ndim >= 0 && tensor->ndim <= CC1D_MAX_DIMS)
        return cc1d_join_numbers(to, tensor->ndim, tensor->shape);
    snprintf(to->text, sizeof to->text, "a %d-dimensional tensor", (int)tensor->ndim);
    return to->text;
}
