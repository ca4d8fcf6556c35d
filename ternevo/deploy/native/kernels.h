/* Integer inference of a decoded policy: the numbers of ternevo/deploy/integer.py, bit for bit. */
#ifndef TERNEVO_KERNELS_H
#define TERNEVO_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "tvp.h"

/* A policy in the layout of the kernel that runs it. It is only read, by any number of threads. */
typedef struct kernels_net kernels_net;

/* The arrays that a call works in; each call at a time needs its own. */
typedef struct kernels_work kernels_work;

/* What is made of each row: an action int32, or float32 [outputs]; logits int32 [outputs]; int8
   [inputs]. Rows are float32 [inputs], or int8 for tasks of quantised ones, from KERNELS_LOGITS_Q
   on. Of quantised bits those that act take 0 and 1 only. */
typedef enum {
    KERNELS_ACT,
    KERNELS_ACT_CONTINUOUS,
    KERNELS_LOGITS,
    KERNELS_QUANTISE,
    KERNELS_LOGITS_Q,
    KERNELS_ACT_Q,
    KERNELS_ACT_CONTINUOUS_Q
} kernels_task;

/* Choose the kernel of every policy from now on: "portable", "avx2", "avx512", or NULL for the
   fastest that this CPU has. Return 0, or -1 if there is none of that name. */
int kernels_choose(const char *name);

const char *kernels_name(void);

/* Return NULL where memory is short, or the policy has floats after the quantiser. */
kernels_net *kernels_prepare(const tvp_policy *policy);

void kernels_free(kernels_net *net);

/* Whether all layers are dense, and short enough that a call needs no `kernels_work`. */
int kernels_is_plain(const kernels_net *net);

/* Return NULL where memory is short. */
kernels_work *kernels_begin(const kernels_net *net);

void kernels_end(kernels_work *work);

/* Fill the memory of the first step, as many numbers as the policy's `memory_size`. */
void kernels_reset(const kernels_net *net, int8_t *memory);

/* Do the task for each row. `work` may be NULL if the net is plain. `memory` [rows][memory_size] is
   read and written; of a policy without memory it may be NULL. */
void kernels_run(const kernels_net *net, kernels_work *work, kernels_task task, const void *from,
                 int8_t *memory, void *to, size_t rows);

/* The action of one observation, the lowest one of equals. The net must be plain: this is
   `kernels_run` of one row, without what it asks of other nets, which takes a tenth of a call. */
void kernels_act(const kernels_net *net, const float *obs, int32_t *action);

#endif
