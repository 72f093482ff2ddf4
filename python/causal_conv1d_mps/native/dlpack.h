/* dlpack.h - what this binding needs of the DLPack specification (1.3): layouts and names, declared from its
 * text. */
#ifndef CC1D_DLPACK_H
#define CC1D_DLPACK_H

#include <stdint.h>

enum { DL_CPU = 1, DL_CUDA = 2, DL_CUDA_HOST = 3, DL_METAL = 8, DL_CUDA_MANAGED = 13 };
enum { DL_INT = 0, DL_UINT = 1, DL_FLOAT = 2, DL_BFLOAT = 4, DL_COMPLEX = 5, DL_BOOL = 6 };
enum { DL_FLAG_READ_ONLY = 1 };

typedef struct dl_version {
    uint32_t major, minor;
} dl_version;

typedef struct dl_tensor {
    void *data;
    struct {
        int32_t type, id;
    } device;
    int32_t ndim;
    struct {
        uint8_t code, bits;
        uint16_t lanes;
    } dtype;
    int64_t *shape;
    int64_t *strides; /* NULL before 1.2: contiguous */
    uint64_t byte_offset;
} dl_tensor;

/* The contents of a "dltensor" capsule. */
typedef struct dl_managed {
    dl_tensor tensor;
    void *manager;
    void (*deleter)(struct dl_managed *self);
} dl_managed;

/* The contents of a "dltensor_versioned" capsule. */
typedef struct dl_managed_versioned {
    dl_version version;
    void *manager;
    void (*deleter)(struct dl_managed_versioned *self);
    uint64_t flags;
    dl_tensor tensor;
} dl_managed_versioned;

/* The contents of the "dlpack_exchange_api" capsule on a tensor's type: __dlpack_c_exchange_api__. */
typedef struct dl_exchange {
    dl_version version;
    struct dl_exchange *previous;
    void (*allocate)(void);
    void (*managed_from_object)(void);
    void (*managed_to_object)(void);
    int (*tensor_from_object)(void *object,
                              dl_tensor *out); /* may be NULL; borrows for as long as the object lives */
    int (*current_stream)(int32_t device_type, int32_t device_id, void **stream);
} dl_exchange;

#endif
