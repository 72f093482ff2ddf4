/* test_sized.c - structs that begin with their size, from callers of earlier and later versions. */
#include "check.h"
#include "core/sized.h"

/* Three versions: the last two appended a field each. */
typedef struct third {
    size_t size;
    int64_t first;
    int32_t second; /* padding after it belongs to the second version */
    int64_t third;
} third;

static const size_t sizes[] = {offsetof(third, second), offsetof(third, third), sizeof(third)};
enum { VERSIONS = sizeof sizes / sizeof *sizes };

static void test_every_size(void) {
    for (size_t size = 0; size <= sizeof(third) + 8; size++) {
        /* Exactly as many bytes as the caller has: a sanitizer sees a read past them. */
        unsigned char memory[sizeof(third) + 8];
        const third given = {.size = size, .first = 1, .second = 2, .third = 3};
        memset(memory, 0xee, sizeof memory);
        memcpy(memory, &given, sizeof given);
        third taken;
        memset(&taken, 0xcc, sizeof taken);
        const bool known = size == sizes[0] || size == sizes[1] || size == sizes[2];
        CHECK_STATUS(cc1d_take_struct("args", &taken, memory, sizes, VERSIONS),
                     known ? CC1D_OK : CC1D_ERROR_VALUE);
        char line[64];
        snprintf(line, sizeof line, "args: expected size = %zu, got %zu", sizeof(third), size);
        if (!known) CHECK(strcmp(cc1d_last_error(), line) == 0);
        if (!known) continue;
        CHECK(taken.size == sizeof taken && taken.first == 1);
        CHECK(taken.second == (size >= sizes[1] ? 2 : 0));
        CHECK(taken.third == (size >= sizes[2] ? 3 : 0));
    }
}

static void test_null(void) {
    third taken;
    CHECK_STATUS(cc1d_take_struct("args", &taken, NULL, sizes, VERSIONS), CC1D_ERROR_VALUE);
    CHECK(strcmp(cc1d_last_error(), "args: expected a struct, got NULL") == 0);
    CHECK_STATUS(cc1d_forward(NULL, NULL), CC1D_ERROR_VALUE);
    CHECK_STATUS(cc1d_backward(NULL, NULL), CC1D_ERROR_VALUE);
    CHECK_STATUS(cc1d_update(NULL, NULL), CC1D_ERROR_VALUE);
    CHECK_STATUS(cc1d_varlen_states(NULL, NULL), CC1D_ERROR_VALUE);
    CHECK_STATUS(cc1d_backward_scratch(&(cc1d_backward_args){.size = sizeof(cc1d_backward_args)}, NULL),
                 CC1D_ERROR_VALUE);
    CHECK(strcmp(cc1d_last_error(), "bytes: expected a pointer, got NULL") == 0);
}

/* A size inside a field is refused by every function that takes an exec. */
static void test_exec(void) {
    float data[4] = {1, 2, 3, 4}, weight_data[1] = {2}, out_data[4];
    cc1d_tensor x = check_tensor(data, CC1D_FLOAT32, 3, 1, 1, 4), out = x;
    cc1d_tensor weight = check_tensor(weight_data, CC1D_FLOAT32, 2, 1, 1, 0);
    out.data = out_data;
    const cc1d_forward_args args = {.size = sizeof args, .x = &x, .weight = &weight, .out = &out};
    for (size_t size = 0; size <= sizeof(cc1d_exec) + 8; size++) {
        const cc1d_exec exec = {.size = size};
        CHECK_STATUS(cc1d_forward(&args, &exec), size == sizeof exec ? CC1D_OK : CC1D_ERROR_VALUE);
    }
}

int main(void) {
    const check_test tests[] = {{"every size", test_every_size}, {"NULL", test_null}, {"exec", test_exec}};
    return check_run(tests, sizeof tests / sizeof *tests);
}
