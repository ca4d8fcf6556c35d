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

static void print_actions(const kernels_net *net, const tvp_policy *policy, const float *obs) {
    size_t count = (size_t)policy->num_outputs;
    float *action = allocate(count * sizeof *action);
    if (policy->output_kind == TVP_DISCRETE) {
        printf(" %d", kernels_act(net, obs));
    } else {
        kernels_act_continuous(net, obs, action);
        for (size_t i = 0; i < count; i++) {
            int32_t bits;
            memcpy(&bits, action + i, sizeof bits);
            printf(" %ld", (long)bits);
        }
    }
    free(action);
}

/* Arrays are of the very size, so that a read past the end is seen. */
static void run(const tvp_policy *policy) {
    kernels_net *net = kernels_prepare(policy);
    size_t inputs = (size_t)policy->obs_size, outputs = (size_t)policy->num_outputs;
    int8_t *q = allocate(inputs), *quantised = allocate(inputs);
    float *obs = allocate(inputs * sizeof *obs);
    int32_t *logits = allocate(outputs * sizeof *logits);
    if (net == NULL) {
        exit(3);
    }
    printf("logits");
    for (int row = 0; row < ROWS; row++) {
        fill(q, obs, policy->obs_size, row);
        kernels_logits_q(net, q, logits);
        for (size_t i = 0; i < outputs; i++) {
            printf(" %ld", (long)logits[i]);
        }
    }
    printf(" actions");
    for (int row = 0; row < ROWS; row++) {
        fill(q, obs, policy->obs_size, row);
        kernels_quantise(net, obs, quantised);
        kernels_logits(net, obs, logits);
        print_actions(net, policy, obs);
    }
    printf("\n");
    free(q);
    free(quantised);
    free(obs);
    free(logits);
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
