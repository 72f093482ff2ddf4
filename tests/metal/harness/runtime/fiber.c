#include "fiber.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "mh.h"

enum { STACK_BYTES = 256 * 1024, GUARD_BYTES = 64 * 1024, STACKS = MH_MAX_GROUP };

/* Nothing is mapped this close to the stacks, so that a wild address does not pass for a local variable. */
static const size_t MARGIN_BYTES = (size_t)1 << 30;

static uint8_t *slab;
static int free_stacks[STACKS];
static int free_count;

int mh_fibers_open(void) {
    if (!slab) {
        const size_t size = (size_t)STACKS * STACK_BYTES;
        uint8_t *map = mmap(NULL, size + 2 * MARGIN_BYTES, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (map == MAP_FAILED) return 0;
        for (size_t i = 0; i < STACKS; i++) {
            uint8_t *stack = map + MARGIN_BYTES + i * STACK_BYTES;
            if (mprotect(stack + GUARD_BYTES, STACK_BYTES - GUARD_BYTES, PROT_READ | PROT_WRITE)) {
                munmap(map, size + 2 * MARGIN_BYTES);
                return 0;
            }
        }
        slab = map + MARGIN_BYTES;
    }
    mh_fibers_reset();
    return 1;
}

void mh_fibers_reset(void) {
    free_count = STACKS;
    for (int i = 0; i < STACKS; i++) {
        free_stacks[i] = STACKS - 1 - i;
    }
}

/* The order of the saved registers below is the order in which mh_switch pops them. */
#if defined(__x86_64__)
enum { SAVED_WORDS = 6 };
__asm__(".text\n"
        ".globl mh_switch\n"
        ".type mh_switch,@function\n"
        "mh_switch:\n"
        "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
        "  movq %rsp, (%rdi)\n"
        "  movq %rsi, %rsp\n"
        "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
        "  ret\n"
        ".size mh_switch,.-mh_switch\n");

void mh_fiber_start(mh_fiber *fiber, void (*body)(void)) {
    fiber->stack = free_stacks[--free_count];
    uint64_t *top = (uint64_t *)(slab + (size_t)(fiber->stack + 1) * STACK_BYTES);
    *--top = 0; /* the return address of `body`: the stack is then aligned as after a call */
    *--top = (uint64_t)(uintptr_t)body;
    top -= SAVED_WORDS;
    memset(top, 0, SAVED_WORDS * sizeof *top);
    fiber->stack_pointer = top;
}
#elif defined(__aarch64__)
enum { SAVED_WORDS = 20 };
__asm__(".text\n"
        ".globl mh_switch\n"
        ".type mh_switch,%function\n"
        "mh_switch:\n"
        "  sub sp, sp, #160\n"
        "  stp x19, x20, [sp, #0]\n  stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n"
        "  stp x25, x26, [sp, #48]\n  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n"
        "  stp d8, d9, [sp, #96]\n  stp d10, d11, [sp, #112]\n"
        "  stp d12, d13, [sp, #128]\n  stp d14, d15, [sp, #144]\n"
        "  mov x9, sp\n"
        "  str x9, [x0]\n"
        "  mov sp, x1\n"
        "  ldp x19, x20, [sp, #0]\n  ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n"
        "  ldp x25, x26, [sp, #48]\n  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n"
        "  ldp d8, d9, [sp, #96]\n  ldp d10, d11, [sp, #112]\n"
        "  ldp d12, d13, [sp, #128]\n  ldp d14, d15, [sp, #144]\n"
        "  add sp, sp, #160\n"
        "  ret\n"
        ".size mh_switch,.-mh_switch\n");

void mh_fiber_start(mh_fiber *fiber, void (*body)(void)) {
    fiber->stack = free_stacks[--free_count];
    uint64_t *top = (uint64_t *)(slab + (size_t)(fiber->stack + 1) * STACK_BYTES);
    top -= SAVED_WORDS;
    memset(top, 0, SAVED_WORDS * sizeof *top);
    top[11] = (uint64_t)(uintptr_t)body; /* x30 */
    fiber->stack_pointer = top;
}
#else
#error "the Metal harness knows how to switch stacks on x86-64 and aarch64 only"
#endif

void mh_fiber_finish(mh_fiber *fiber) {
    free_stacks[free_count++] = fiber->stack;
    fiber->stack = -1;
}

int mh_is_stack_of(const mh_fiber *fiber, const void *address) {
    const uint8_t *stack = slab + (size_t)fiber->stack * STACK_BYTES;
    return (uintptr_t)address - (uintptr_t)stack < (uintptr_t)STACK_BYTES;
}

int mh_stack_overflowed(const mh_fiber *fiber, const void *address) {
    const uint8_t *stack = slab + (size_t)fiber->stack * STACK_BYTES;
    return (uintptr_t)address - (uintptr_t)stack < (uintptr_t)GUARD_BYTES;
}
