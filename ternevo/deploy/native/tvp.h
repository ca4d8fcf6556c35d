/* The policy file .tvp, decoded: the same rules as ternevo/deploy/tvp.py, in the same order. */
#ifndef TERNEVO_TVP_H
#define TERNEVO_TVP_H

#include <stddef.h>
#include <stdint.h>

#define TVP_MAX_BYTES ((size_t)16 << 20)
#define TVP_MAX_WIDTH 4096
#define TVP_MAX_LAYERS 16
#define TVP_MAX_WEIGHTS ((size_t)1 << 24)

enum { TVP_OK, TVP_REFUSED, TVP_NO_MEMORY };
enum { TVP_F32, TVP_I8, TVP_BITS };
enum { TVP_DISCRETE, TVP_CONTINUOUS };
enum { TVP_TERNARY, TVP_BINARY, TVP_FLOAT };
enum { TVP_NONE, TVP_INT8, TVP_INT4, TVP_SIGN, TVP_TERNARY_ACTIVATION, TVP_TANH, TVP_RELU };

/* Where a file breaks a rule, and which. */
typedef struct {
    size_t offset;
    char reason[128];
} tvp_error;

typedef struct {
    int kind, activation, has_bias, has_outputs, inputs, out, exponent, bias_exponent;
    int8_t *exponents; /* [out] if has_outputs, else NULL, and all outputs have `exponent` */
    int8_t *weights;   /* [out][inputs], then [out] biases if any; NULL for floats */
} tvp_layer;

typedef struct {
    int input_kind, observation_bits, observation_shift;
    int output_kind, output_shift;
    int obs_size, num_outputs, num_layers;
    int is_integer;    /* nothing after the quantiser is a float */
    float *mean;       /* [obs_size], NULL unless inputs are TVP_F32 */
    int8_t *exponent;  /* the same */
    float *low, *high; /* [num_outputs], NULL unless outputs are TVP_CONTINUOUS */
    tvp_layer layers[TVP_MAX_LAYERS];
} tvp_policy;

/* Decode `size` bytes. Whatever it returns, `tvp_free` frees the policy, once or twice. */
int tvp_decode(const uint8_t *data, size_t size, tvp_policy *policy, tvp_error *error);

void tvp_free(tvp_policy *policy);

#endif
