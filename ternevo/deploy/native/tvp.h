/* The policy file .tvp, decoded: the same rules as ternevo/deploy/tvp.py, in the same order. */
#ifndef TERNEVO_TVP_H
#define TERNEVO_TVP_H

#include <stddef.h>
#include <stdint.h>

#define TVP_MAX_BYTES ((size_t)16 << 20)
#define TVP_MAX_WIDTH 4096 /* of outputs, and in version 1 of observations */
#define TVP_MAX_OBSERVATION 65535
#define TVP_MAX_LAYERS 48
#define TVP_MAX_VALUES ((uint64_t)1 << 18) /* between two layers */
#define TVP_MAX_WEIGHTS ((uint64_t)1 << 24)

enum { TVP_OK, TVP_REFUSED, TVP_NO_MEMORY };
enum { TVP_F32, TVP_I8, TVP_BITS, TVP_PIXELS };
enum { TVP_DISCRETE, TVP_CONTINUOUS };
enum { TVP_TERNARY, TVP_BINARY, TVP_FLOAT, TVP_WEIGHT8, TVP_WEIGHT4, TVP_WEIGHT2 };
enum { TVP_DENSE = 1, TVP_CONVOLUTION, TVP_MAX_POOL, TVP_ELMAN, TVP_GATED };
enum { TVP_SAME, TVP_POSITIVE, TVP_ABSOLUTE, TVP_FULL_SIGN, TVP_HAT, TVP_NUM_FUNCTIONS };
enum { TVP_NONE, TVP_INT8, TVP_INT4, TVP_SIGN, TVP_TERNARY_ACTIVATION, TVP_TANH, TVP_RELU };

/* Where a file breaks a rule, and which. */
typedef struct {
    size_t offset;
    char reason[128];
} tvp_error;

/* Of values between layers: an image, or a row of one place. */
typedef struct {
    int is_image, height, width, channels;
} tvp_shape;

typedef struct {
    int type, kind, activation, has_bias, has_outputs, has_functions, exponent, bias_exponent;
    int inputs; /* of a row; 0 of a pool */
    int rows;   /* of the matrix: `out`, twice that if gated, 0 of a pool */
    int out;    /* values of a dense layer or a cell, else channels */
    int height, width, stride, padding; /* of a window, else 0 */
    int skip;   /* how many layers back the input is added, or 0 */
    int before; /* the activation of the grid of its inputs; -1: they are observations */
    tvp_shape shape, shape_after;
    int8_t *exponents; /* [rows] if has_outputs, else NULL, and all rows have `exponent` */
    uint8_t *functions; /* [rows] if has_functions, else NULL: what follows the activation */
    int8_t *weights;   /* [rows][inputs], then [rows] biases if any; NULL for floats and pools */
} tvp_layer;

typedef struct {
    int input_kind, observation_bits, observation_shift;
    int output_kind, output_shift;
    int obs_size, num_outputs, num_layers;
    int version, minor;
    tvp_shape shape;   /* of an observation */
    int memory_size;   /* numbers that cells carry from step to step */
    int is_integer;    /* nothing after the quantiser is a float */
    float *mean;       /* [obs_size], NULL unless inputs are TVP_F32 */
    int8_t *exponent;  /* the same */
    float *low, *high; /* [num_outputs], NULL unless outputs are TVP_CONTINUOUS */
    tvp_layer layers[TVP_MAX_LAYERS];
} tvp_policy;

/* Decode `size` bytes. Whatever it returns, `tvp_free` frees the policy, once or twice. */
int tvp_decode(const uint8_t *data, size_t size, tvp_policy *policy, tvp_error *error);

void tvp_free(tvp_policy *policy);

int tvp_values(const tvp_shape *shape);

/* Whether weights are integers of 8, 4 or 2 bits. */
int tvp_has_few_bits(const tvp_layer *layer);

/* A bias is at most 2**limit times the full scale of its layer's inputs. */
int tvp_bias_shift_limit(const tvp_layer *layer);

/* Whether a layer has a memory. */
int tvp_is_cell(const tvp_layer *layer);

#endif
