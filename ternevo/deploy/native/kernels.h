/* Integer inference of a decoded policy: the numbers of ternevo/deploy/integer.py, bit for bit. */
#ifndef TERNEVO_KERNELS_H
#define TERNEVO_KERNELS_H

#include <stdint.h>

#include "tvp.h"

/* A policy in the layout of the kernel that runs it. It is only read, by any number of threads. */
typedef struct kernels_net kernels_net;

/* Choose the kernel of every policy from now on: "portable", "avx2", "avx512", or NULL for the
   fastest that this CPU has. Return 0, or -1 if there is none of that name. */
int kernels_choose(const char *name);

const char *kernels_name(void);

/* Return NULL where memory is short, or the policy has floats after the quantiser. */
kernels_net *kernels_prepare(const tvp_policy *policy);

void kernels_free(kernels_net *net);

/* One observation each. `q` is int8 [inputs], `logits` [outputs], `action` [outputs]. */
void kernels_quantise(const kernels_net *net, const float *obs, int8_t *q);
void kernels_logits_q(const kernels_net *net, const int8_t *q, int32_t *logits);
void kernels_logits(const kernels_net *net, const float *obs, int32_t *logits);

/* The place of the largest logit, the lowest one of equals. */
int kernels_act(const kernels_net *net, const float *obs);

/* Clipped logits, mapped to the action range; of a policy with a range. */
void kernels_act_continuous(const kernels_net *net, const float *obs, float *action);

#endif
