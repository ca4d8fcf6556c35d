/* Run the decoder and the kernels on files without Python, for the sanitizers: see test_runtime.py.

   driver CORPUS KERNEL; a corpus is files one after another, each with its size in front (u32). It
   prints a line for each. Exit code 77: this machine does not have the kernel. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "tvp.h"

#define ROWS 4

static void *allocate(size_t size) {
    void *memory = malloc(size > 0 ? size : 1);
    if (memory == NULL) {
        exit(3);
    }
    return memory;
}

static void fill(int8_t *q, float *obs, int size, int row) {
    for (int i = 0; i < size; i++) {
        q[i] = (int8_t)((37 * i + 91 * row + 11) % 255 - 127);
        obs[i] = (float)q[i] / 8;
    }
}

static void print_numbers(const int32_t *numbers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        printf(" %ld", (long)numbers[i]);
    }
}

/* Arrays are of the very size, so that a read past the end is seen. All rows are run in a batch; of
   a policy with memory one after another, as an episode. */
static void run(const tvp_policy *policy) {
    kernels_net *net = kernels_prepare(policy);
    size_t inputs = (size_t)policy->obs_size, outputs = (size_t)policy->num_outputs;
    size_t memory_size = (size_t)policy->memory_size;
    int8_t *q = allocate(ROWS * inputs), *quantised = allocate(ROWS * inputs);
    int8_t *memory = allocate(memory_size);
    float *obs = allocate(ROWS * inputs * sizeof *obs);
    int is_discrete = policy->output_kind == TVP_DISCRETE;
    size_t acted = is_discrete ? 1 : outputs;
    int32_t *logits = allocate(ROWS * outputs * sizeof *logits);
    int32_t *actions = allocate(ROWS * acted * sizeof *actions);
    int32_t *again = allocate(ROWS * acted * sizeof *again);
    kernels_task act = is_discrete ? KERNELS_ACT : KERNELS_ACT_CONTINUOUS;
    kernels_task act_q = is_discrete ? KERNELS_ACT_Q : KERNELS_ACT_CONTINUOUS_Q;
    kernels_work *work = net != NULL ? kernels_begin(net) : NULL;
    if (work == NULL) {
        exit(3);
    }
    size_t at_once = memory_size > 0 ? 1 : ROWS;
    for (int row = 0; row < ROWS; row++) {
        fill(q + (size_t)row * inputs, obs + (size_t)row * inputs, policy->obs_size, row);
    }
    kernels_run(net, work, KERNELS_QUANTISE, obs, NULL, quantised, ROWS);
    kernels_reset(net, memory);
    for (size_t row = 0; row < ROWS; row += at_once) {
        kernels_run(net, work, KERNELS_LOGITS_Q, q + row * inputs, memory, logits + row * outputs,
                    at_once);
    }
    kernels_reset(net, memory);
    for (size_t row = 0; row < ROWS; row += at_once) {
        kernels_run(net, work, act, obs + row * inputs, memory, actions + row * acted, at_once);
    }
    kernels_reset(net, memory);
    for (size_t row = 0; row < ROWS; row += at_once) {
        kernels_run(net, work, act_q, quantised + row * inputs, memory, again + row * acted,
                    at_once);
    }
    if (memcmp(actions, again, ROWS * acted * sizeof *again) != 0) {
        exit(4);
    }
    printf("logits");
    print_numbers(logits, ROWS * outputs);
    printf(" actions");
    print_numbers(actions, ROWS * acted);
    printf("\n");
    free(q);
    free(quantised);
    free(memory);
    free(obs);
    free(logits);
    free(actions);
    free(again);
    kernels_end(work);
    kernels_free(net);
}

static void judge(const uint8_t *data, size_t size) {
    tvp_policy policy;
    tvp_error error;
    int status = tvp_decode(data, size, &policy, &error);
    if (status == TVP_REFUSED) {
        printf("refused %zu %s\n", error.offset, error.reason);
    } else if (status == TVP_NO_MEMORY) {
        exit(3);
    } else if (!policy.is_integer) {
        printf("floats\n");
    } else {
        run(&policy);
    }
    tvp_free(&policy);
    tvp_free(&policy);
}

int main(int count, char **arguments) {
    uint8_t head[4];
    FILE *corpus = count == 3 ? fopen(arguments[1], "rb") : NULL;
    if (corpus == NULL) {
        return 2;
    }
    if (kernels_choose(arguments[2]) != 0) {
        fclose(corpus);
        return 77;
    }
    while (fread(head, 1, sizeof head, corpus) == sizeof head) {
        size_t low = head[0] | (size_t)head[1] << 8, high = head[2] | (size_t)head[3] << 8;
        size_t size = low | high << 16;
        uint8_t *data = allocate(size);
        if (fread(data, 1, size, corpus) != size) {
            return 2;
        }
        judge(data, size);
        free(data);
    }
    fclose(corpus);
    return 0;
}
