/* Coroutines with their own stacks: one per suspended GPU thread. */
#ifndef MH_FIBER_H
#define MH_FIBER_H

#include <stddef.h>

typedef struct mh_fiber {
    void *stack_pointer;
    int stack; /* index in the slab, or -1 */
} mh_fiber;

/* Maps the stacks once; 0 if there is no memory. */
int mh_fibers_open(void);
/* Gives the fiber a stack on which its first resume runs `body` (which must not return). */
void mh_fiber_start(mh_fiber *fiber, void (*body)(void));
/* Gives the stack back; the fiber must not be resumed again. */
void mh_fiber_finish(mh_fiber *fiber);
/* Forgets every fiber. */
void mh_fibers_reset(void);
int mh_is_stack_of(const mh_fiber *fiber, const void *address);
int mh_stack_overflowed(const mh_fiber *fiber, const void *address);
/* Saves the running context in *from and continues at `to`. */
void mh_switch(void **from, void *to);

#endif
