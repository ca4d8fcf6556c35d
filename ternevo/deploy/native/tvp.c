/* Every size is checked before it is used, and what is allocated is bounded by what the file has:
   an array comes after its bytes were found to be there. Each refusal has the offset and the words
   of tvp.py, which tests compare. */
#include "tvp.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#define HEADER_SIZE 32
#define LAYER_SIZE 12
#define LAYER_SIZE_2 16 /* in version 2, with the window and the skip */
#define CHUNK_SIZE 8
#define MAX_METADATA 65536
#define MAX_VECTORS 65535
#define MAX_PRODUCTS ((uint64_t)1 << 28) /* of all test vectors */
#define MAX_EVALUATION ((uint64_t)1 << 30) /* products of one evaluation */
#define MAX_LAYERS_1 16
#define MAX_FAN_IN 65536
#define MAX_WINDOW 16
#define MAX_BOUND 1e30f
#define EXPONENT_LIMIT 24        /* of weights and biases */
#define EXPONENT_SPREAD 8         /* between the outputs of a layer */
#define EXPONENT_SPREAD_BITS 6    /* the same of integers of some bits */
#define INPUT_EXPONENT_LIMIT 120 /* of observations */
#define MAX_SHIFT 8
#define TRITS_PER_BYTE 5
#define NUM_TRIT_BYTES 243

/* The bytes, and how far they were read; `end` is where the check sum starts. */
typedef struct {
    const uint8_t *data;
    size_t size, at, end;
    tvp_error *error;
} reader;

/* What a step returns is one of TVP_OK, TVP_REFUSED, TVP_NO_MEMORY. A refusal is written out as a
   constant, so that compilers see that nothing after it is read. */
#define TRY(step)                \
    do {                         \
        int status_ = (step);    \
        if (status_ != TVP_OK) { \
            return status_;      \
        }                        \
    } while (0)

#define NEED(condition, ...)     \
    do {                         \
        if (!(condition)) {      \
            refuse(__VA_ARGS__); \
            return TVP_REFUSED;  \
        }                        \
    } while (0)

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static void refuse(reader *r, size_t offset, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(r->error->reason, sizeof r->error->reason, format, arguments);
    va_end(arguments);
    r->error->offset = offset;
}

static uint16_t read_u16(const uint8_t *from) {
    return (uint16_t)(from[0] | from[1] << 8);
}

static uint32_t read_u32(const uint8_t *from) {
    return (uint32_t)read_u16(from) | (uint32_t)read_u16(from + 2) << 16;
}

static int read_i8(uint8_t byte) {
    return byte < 128 ? byte : (int)byte - 256;
}

static uint32_t crc32_of(const uint8_t *data, size_t size) {
    /* Four bits at a time: a table of 16 entries, and no set-up. */
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static int take(reader *r, size_t size, const char *what, const uint8_t **bytes) {
    NEED(size <= r->end - r->at, r, r->at, "%s takes %zu bytes, and %zu are left", what, size,
         r->end - r->at);
    *bytes = r->data + r->at;
    r->at += size;
    return TVP_OK;
}

/* ---------------------------------------------------------------- the header and its records */

static int check_frame(reader *r) {
    static const uint8_t magic[8] = {0x89, 'T', 'V', 'P', '\r', '\n', 0x1a, '\n'};
    const uint8_t *data = r->data;
    NEED(r->size <= TVP_MAX_BYTES, r, 0, "larger than %zu bytes", TVP_MAX_BYTES);
    NEED(r->size >= 8 && memcmp(data, magic, 8) == 0, r, 0, "not a .tvp policy file");
    NEED(r->size >= HEADER_SIZE + LAYER_SIZE + 4, r, r->size, "the file is cut off");
    r->end = r->size - 4;
    r->at = HEADER_SIZE;
    NEED((data[8] == 1 || data[8] == 2) && data[9] <= 1, r, 8,
         "version %d.%d; this ternevo reads 1.0, 1.1, 2.0 and 2.1", data[8], data[9]);
    NEED(read_u16(data + 10) <= data[9], r, 10, "unknown flags 0x%04x", read_u16(data + 10));
    NEED(read_u16(data + 10) == 0, r, 10, "a compact file; only Python reads it");
    uint32_t total = read_u32(data + 12);
    NEED(total == r->size, r, 12, "%lu bytes were written, and there are %zu",
         (unsigned long)total, r->size);
    uint32_t wanted = read_u32(data + r->end), found = crc32_of(data, r->end);
    NEED(found == wanted, r, r->end, "check sum %08lx instead of %08lx", (unsigned long)found,
         (unsigned long)wanted);
    return TVP_OK;
}

/* The last bytes of the header: of version 2, the shape of an image. */
static int read_image(reader *r, tvp_policy *p) {
    const uint8_t *data = r->data;
    uint64_t height = read_u16(data + 26), width = read_u16(data + 28), depth = read_u16(data + 30);
    int is_image = height != 0 || width != 0 || depth != 0;
    tvp_shape flat = {0, 1, 1, p->obs_size}, image = {1, (int)height, (int)width, (int)depth};
    NEED(p->version == 2 || !is_image, r, 26, "reserved bytes are not 0");
    NEED(!is_image || height * width * depth == (uint64_t)p->obs_size, r, 26,
         "an image of %d by %d by %d is not %d inputs", (int)height, (int)width, (int)depth,
         p->obs_size);
    p->shape = is_image ? image : flat;
    return TVP_OK;
}

static int read_header(reader *r, tvp_policy *p) {
    const uint8_t *data = r->data;
    TRY(check_frame(r));
    p->obs_size = read_u16(data + 16);
    p->num_outputs = read_u16(data + 18);
    p->num_layers = data[20];
    p->input_kind = data[21];
    p->observation_bits = data[22];
    p->output_kind = data[23];
    p->output_shift = read_i8(data[24]);
    p->observation_shift = data[25];
    p->version = data[8];
    p->minor = data[9];
    int most = p->version == 1 ? TVP_MAX_WIDTH : TVP_MAX_OBSERVATION;
    NEED(1 <= p->obs_size && p->obs_size <= most, r, 16, "%d inputs; must be 1 to %d", p->obs_size,
         most);
    NEED(1 <= p->num_outputs && p->num_outputs <= TVP_MAX_WIDTH, r, 18,
         "%d outputs; must be 1 to %d", p->num_outputs, TVP_MAX_WIDTH);
    most = p->version == 1 ? MAX_LAYERS_1 : TVP_MAX_LAYERS;
    NEED(1 <= p->num_layers && p->num_layers <= most, r, 20, "%d layers; must be 1 to %d",
         p->num_layers, most);
    int last_kind = p->version == 1 ? TVP_BITS : TVP_PIXELS;
    NEED(p->input_kind <= last_kind, r, 21, "kind of input %d; must be 0 to %d", p->input_kind,
         last_kind);
    int largest = p->input_kind == TVP_BITS ? 1 : 8;
    NEED(1 <= p->observation_bits && p->observation_bits <= largest, r, 22,
         "%d observation bits; must be 1 to %d", p->observation_bits, largest);
    NEED(p->output_kind <= TVP_CONTINUOUS, r, 23, "kind of output %d; must be 0 to 1", p->output_kind);
    NEED(0 <= p->output_shift && p->output_shift <= MAX_SHIFT, r, 24, "output shift %d; 0 to %d",
         p->output_shift, MAX_SHIFT);
    NEED(p->observation_shift <= MAX_SHIFT, r, 25, "observation shift %d; 0 to %d",
         p->observation_shift, MAX_SHIFT);
    return read_image(r, p);
}

int tvp_values(const tvp_shape *shape) {
    return shape->height * shape->width * shape->channels;
}

int tvp_is_cell(const tvp_layer *layer) {
    return layer->type == TVP_ELMAN || layer->type == TVP_GATED;
}

static int takes_image(const tvp_layer *layer) {
    return layer->type == TVP_CONVOLUTION || layer->type == TVP_MAX_POOL;
}

static int same_shape(const tvp_shape *a, const tvp_shape *b) {
    return a->is_image == b->is_image && a->height == b->height && a->width == b->width &&
           a->channels == b->channels;
}

int tvp_has_few_bits(const tvp_layer *layer) {
    return layer->kind >= TVP_WEIGHT8;
}

int tvp_bias_shift_limit(const tvp_layer *layer) {
    return tvp_has_few_bits(layer) ? 4 : 8;
}

/* The largest integer among the weights. */
static int largest_level(const tvp_layer *layer) {
    return layer->kind == TVP_WEIGHT8 ? 127 : layer->kind == TVP_WEIGHT4 ? 7 : 1;
}

/* Logits of integers of some bits must stay below 2**24, whatever the weights are. An int32 holds
   the sums of all other layers, of at most MAX_FAN_IN inputs. */
static int check_sum(reader *r, const tvp_policy *p, const tvp_layer *layer, size_t at) {
    static const char *const names[] = {"int8", "int4", "int2"};
    static const int full_scales[] = {1, 127, 7, 1, 1, 1, 1}; /* by the activation before */
    int full_scale = layer->before >= 0          ? full_scales[layer->before]
                     : p->observation_bits > 1 ? (1 << (p->observation_bits - 1)) - 1
                                                 : 1;
    uint64_t most = (uint64_t)largest_level(layer) * (uint64_t)full_scale *
                    ((uint64_t)layer->inputs + ((uint64_t)1 << tvp_bias_shift_limit(layer)));
    NEED(layer->activation != TVP_NONE || most < (uint64_t)1 << 24, r, at,
         "%d inputs of %s weights: sums of %llu", layer->inputs, names[layer->kind - TVP_WEIGHT8],
         (unsigned long long)most);
    return TVP_OK;
}

/* The part of a record that both versions have; a pool has 0 there but for its size. */
static int read_layer_start(reader *r, const tvp_policy *p, tvp_layer *layer, const uint8_t *fields,
                            int is_last) {
    size_t at = (size_t)(fields - r->data);
    int is_pool = layer->type == TVP_MAX_POOL;
    layer->activation = fields[1];
    layer->kind = fields[2];
    layer->has_bias = fields[3] & 1;
    layer->has_outputs = fields[3] >> 1 & 1;
    layer->has_functions = fields[3] >> 2 & 1;
    layer->out = read_u16(fields + 4);
    layer->exponent = read_i8(fields[6]);
    layer->bias_exponent = read_i8(fields[7]);
    NEED(layer->activation <= TVP_RELU, r, at + 1, "activation %d; must be 0 to 6", layer->activation);
    NEED(!is_pool || layer->activation == TVP_NONE, r, at + 1, "a pool has no activation");
    NEED(!is_pool || (fields[2] == 0 && fields[3] == 0), r, at + 2, "a pool has no weights");
    NEED(is_pool || (layer->activation == TVP_NONE) == is_last, r, at + 1,
         "only the last layer has no activation");
    int most = p->minor ? TVP_WEIGHT2 : TVP_FLOAT;
    NEED(layer->kind <= most, r, at + 2, "kind of weights %d; must be 0 to %d", layer->kind, most);
    NEED(fields[3] <= 7, r, at + 3, "layer flags %d; must be 0 to 7", fields[3]);
    int has_grid = layer->activation == TVP_INT8 || layer->activation == TVP_INT4 ||
                   layer->activation == TVP_TERNARY_ACTIVATION;
    has_grid = has_grid && (layer->type == TVP_DENSE || layer->type == TVP_ELMAN);
    NEED(has_grid || !layer->has_functions, r, at + 3,
         "functions need a dense layer or an Elman cell, on int8, int4 or ternary");
    NEED(!layer->has_outputs || layer->kind != TVP_FLOAT, r, at + 3,
         "float weights have no exponents");
    NEED(1 <= layer->out && layer->out <= TVP_MAX_WIDTH, r, at + 4, "%d outputs; must be 1 to %d",
         layer->out, TVP_MAX_WIDTH);
    int limit = layer->kind == TVP_FLOAT || layer->has_outputs || is_pool ? 0 : EXPONENT_LIMIT;
    NEED(abs(layer->exponent) <= limit, r, at + 6, "exponent %d; at most %d in size",
         layer->exponent, limit);
    limit = layer->kind != TVP_FLOAT && layer->has_bias ? EXPONENT_LIMIT : 0;
    NEED(abs(layer->bias_exponent) <= limit, r, at + 7,
         "exponent of biases %d; at most %d in size", layer->bias_exponent, limit);
    return TVP_OK;
}

/* The window of a convolution or a pool, against the image that it takes. */
static int read_window(reader *r, tvp_layer *layer, const uint8_t *fields) {
    static const char names[3][7] = {"height", "width", "stride"};
    const tvp_shape *shape = &layer->shape;
    size_t at = (size_t)(fields - r->data);
    int is_pool = layer->type == TVP_MAX_POOL;
    NEED(shape->is_image, r, at, "a convolution or a pool takes an image");
    for (size_t i = 0; i < 3; i++) {
        NEED(1 <= fields[8 + i] && fields[8 + i] <= MAX_WINDOW, r, at + 8 + i,
             "%s %d of a window; must be 1 to %d", names[i], fields[8 + i], MAX_WINDOW);
    }
    layer->height = fields[8];
    layer->width = fields[9];
    layer->stride = fields[10];
    layer->padding = fields[11];
    int most = (layer->height < layer->width ? layer->height : layer->width) - 1;
    NEED(layer->padding <= most, r, at + 11, "padding %d; must be 0 to %d", layer->padding, most);
    NEED(is_pool || layer->before != TVP_SIGN || layer->padding == 0, r, at + 11,
         "signs have no 0 to pad with");
    int down = shape->height + 2 * layer->padding - layer->height;
    int across = shape->width + 2 * layer->padding - layer->width;
    NEED(down >= 0 && across >= 0, r, at + 8,
         "a window of %d by %d does not fit an image of %d by %d", layer->height, layer->width,
         shape->height, shape->width);
    NEED(!is_pool || layer->out == shape->channels, r, at + 4, "a pool gives %d channels",
         shape->channels);
    tvp_shape after = {1, down / layer->stride + 1, across / layer->stride + 1, layer->out};
    layer->shape_after = after;
    return TVP_OK;
}

/* What a row of the matrix multiplies, and how many values the layer gives. */
static int check_sizes(reader *r, tvp_layer *layer, size_t at) {
    const tvp_shape *after = &layer->shape_after;
    uint64_t values =
        (uint64_t)after->height * (uint64_t)after->width * (uint64_t)after->channels;
    NEED(layer->inputs <= MAX_FAN_IN, r, at, "%d inputs of an output; at most %d", layer->inputs,
         MAX_FAN_IN);
    NEED(values <= TVP_MAX_VALUES, r, at + 4, "a layer of %llu values; at most %llu",
         (unsigned long long)values, (unsigned long long)TVP_MAX_VALUES);
    return TVP_OK;
}

/* What a skip adds must be there, on the same grid, and of the same shape. */
static int check_skip(reader *r, const tvp_policy *p, int index, size_t at) {
    static const char *const names[] = {"none", "int8", "int4", "sign", "ternary"};
    const tvp_layer *layer = &p->layers[index];
    if (layer->skip == 0) {
        return TVP_OK;
    }
    NEED((layer->type == TVP_DENSE || layer->type == TVP_CONVOLUTION) &&
             index != p->num_layers - 1,
         r, at, "only a convolution or a dense layer before the last has a skip");
    NEED(!layer->has_functions, r, at, "a skip of a layer with functions");
    NEED(layer->activation != TVP_SIGN && layer->activation != TVP_TERNARY_ACTIVATION, r, at,
         "a skip before the activation %s", names[layer->activation]);
    NEED(layer->skip <= index, r, at, "skip %d of layer %d; at most %d", layer->skip, index, index);
    const tvp_layer *source = layer - (layer->skip - 1);
    NEED(source->before == layer->activation, r, at, "a skip adds values of another grid");
    NEED(same_shape(&source->shape, &layer->shape_after), r, at,
         "a skip adds values of another shape");
    return TVP_OK;
}

static int inputs_of(const tvp_layer *layer) {
    if (layer->type == TVP_MAX_POOL) {
        return 0;
    }
    if (layer->type == TVP_CONVOLUTION) {
        return layer->height * layer->width * layer->shape.channels;
    }
    return tvp_values(&layer->shape) + (tvp_is_cell(layer) ? layer->out : 0);
}

static int read_layer_record(reader *r, tvp_policy *p, int index) {
    const uint8_t *fields;
    size_t at = r->at, size = p->version == 1 ? LAYER_SIZE : LAYER_SIZE_2;
    int is_last = index == p->num_layers - 1;
    tvp_layer *layer = &p->layers[index];
    TRY(take(r, size, "layer", &fields));
    layer->type = fields[0];
    NEED(TVP_DENSE <= layer->type && layer->type <= (p->version == 1 ? TVP_DENSE : TVP_GATED), r,
         at, "unknown type of layer %d", layer->type);
    NEED(layer->type == TVP_DENSE || !is_last, r, at, "the last layer must be dense");
    TRY(read_layer_start(r, p, layer, fields, is_last));
    layer->shape = index == 0 ? p->shape : layer[-1].shape_after;
    layer->before = index == 0                         ? -1
                    : layer[-1].type == TVP_MAX_POOL ? layer[-1].before
                                                     : layer[-1].activation;
    if (takes_image(layer)) {
        TRY(read_window(r, layer, fields));
    } else {
        tvp_shape after = {0, 1, 1, layer->out};
        layer->shape_after = after;
        for (int i = 8; i < 12; i++) {
            NEED(fields[i] == 0, r, at + 8, "a %s has no geometry",
                 layer->type == TVP_DENSE ? "dense layer" : "cell");
        }
    }
    layer->inputs = inputs_of(layer);
    layer->rows = layer->type == TVP_MAX_POOL ? 0
                  : layer->type == TVP_GATED  ? 2 * layer->out
                                              : layer->out;
    if (tvp_has_few_bits(layer)) {
        TRY(check_sum(r, p, layer, at));
    }
    if (p->version == 2) {
        layer->skip = fields[12];
        TRY(check_sizes(r, layer, at));
        TRY(check_skip(r, p, index, at + 12));
        NEED(fields[13] == 0 && fields[14] == 0 && fields[15] == 0, r, at + 13,
             "reserved bytes are not 0");
    }
    return TVP_OK;
}

/* Weights and biases; size_t holds them: at most 8192 * 65537. */
static size_t count_of(const tvp_layer *layer) {
    return (size_t)layer->rows * (size_t)(layer->inputs + layer->has_bias);
}

/* Products of an evaluation; comparisons of a pool count as much. */
static uint64_t products_of(const tvp_layer *layer) {
    const tvp_shape *after = &layer->shape_after;
    uint64_t places = (uint64_t)after->height * (uint64_t)after->width;
    if (layer->type == TVP_MAX_POOL) {
        return places * (uint64_t)layer->out * (uint64_t)(layer->height * layer->width);
    }
    return places * (uint64_t)layer->rows * (uint64_t)layer->inputs;
}

static uint64_t all_products(const tvp_policy *p) {
    uint64_t products = 0; /* at most 48 * 2**18 * 2**17 */
    for (int i = 0; i < p->num_layers; i++) {
        products += products_of(&p->layers[i]);
    }
    return products;
}

static int is_held_by_version_1(const tvp_policy *p) {
    int is_held = p->input_kind != TVP_PIXELS && p->obs_size <= TVP_MAX_WIDTH &&
                  p->num_layers <= MAX_LAYERS_1;
    for (int i = 0; i < p->num_layers; i++) {
        is_held = is_held && p->layers[i].type == TVP_DENSE && p->layers[i].skip == 0;
    }
    return is_held;
}

static int read_layer_records(reader *r, tvp_policy *p) {
    uint64_t total = 0;
    int has_few_bits = 0;
    p->is_integer = 1;
    for (int i = 0; i < p->num_layers; i++) {
        const tvp_layer *layer = &p->layers[i];
        TRY(read_layer_record(r, p, i));
        total += count_of(layer);
        p->memory_size += tvp_is_cell(layer) ? layer->out : 0;
        p->is_integer &= layer->kind != TVP_FLOAT && layer->activation < TVP_TANH;
        has_few_bits |= tvp_has_few_bits(layer);
    }
    int outputs = p->layers[p->num_layers - 1].out;
    NEED(outputs == p->num_outputs, r, 18, "%d outputs, and the last layer has %d", p->num_outputs,
         outputs);
    NEED(total <= TVP_MAX_WEIGHTS, r, 20, "more than %llu weights",
         (unsigned long long)TVP_MAX_WEIGHTS);
    NEED(has_few_bits || !p->minor, r, 8, "version %d.1 of a policy that version %d.0 can hold",
         p->version, p->version);
    if (p->version == 1) {
        return TVP_OK;
    }
    NEED(all_products(p) <= MAX_EVALUATION, r, 20, "an evaluation takes more than %llu products",
         (unsigned long long)MAX_EVALUATION);
    NEED(!p->shape.is_image || takes_image(&p->layers[0]), r, 26,
         "the first layer does not take an image");
    NEED(!is_held_by_version_1(p), r, 8, "version 2.0 of a policy that version 1.0 can hold");
    return TVP_OK;
}

/* ------------------------------------------------------------------------------------- arrays */

static float float_at(const uint8_t *bytes, size_t index) {
    uint32_t bits = read_u32(bytes + 4 * index);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int take_floats(reader *r, size_t count, const char *what, const uint8_t **bytes) {
    size_t start = r->at;
    TRY(take(r, 4 * count, what, bytes));
    for (size_t i = 0; i < count; i++) {
        NEED((read_u32(*bytes + 4 * i) & 0x7f800000) != 0x7f800000, r, start + 4 * i,
             "%s %zu is not finite", what, i);
    }
    return TVP_OK;
}

static int read_floats(reader *r, int count, const char *what, float **values) {
    const uint8_t *bytes;
    TRY(take_floats(r, (size_t)count, what, &bytes));
    *values = malloc((size_t)count * sizeof **values);
    if (*values == NULL) {
        return TVP_NO_MEMORY;
    }
    for (int i = 0; i < count; i++) {
        (*values)[i] = float_at(bytes, (size_t)i);
    }
    return TVP_OK;
}

static int read_input_table(reader *r, tvp_policy *p) {
    const uint8_t *bytes;
    if (p->input_kind != TVP_F32) {
        return TVP_OK;
    }
    TRY(read_floats(r, p->obs_size, "mean", &p->mean));
    size_t start = r->at;
    TRY(take(r, (size_t)p->obs_size, "exponents", &bytes));
    p->exponent = malloc((size_t)p->obs_size);
    if (p->exponent == NULL) {
        return TVP_NO_MEMORY;
    }
    for (int i = 0; i < p->obs_size; i++) {
        int value = read_i8(bytes[i]);
        NEED(abs(value) <= INPUT_EXPONENT_LIMIT, r, start + (size_t)i,
             "exponent %d of input %d; at most %d in size", value, i, INPUT_EXPONENT_LIMIT);
        p->exponent[i] = (int8_t)value;
    }
    return TVP_OK;
}

static int read_range(reader *r, tvp_policy *p) {
    size_t start = r->at;
    if (p->output_kind != TVP_CONTINUOUS) {
        return TVP_OK;
    }
    TRY(read_floats(r, p->num_outputs, "low of action", &p->low));
    TRY(read_floats(r, p->num_outputs, "high of action", &p->high));
    for (int i = 0; i < p->num_outputs; i++) {
        NEED(p->low[i] <= p->high[i], r, start + 4 * (size_t)i, "action %d has low above high", i);
    }
    for (int i = 0; i < p->num_outputs; i++) {
        NEED(-MAX_BOUND <= p->low[i] && p->high[i] <= MAX_BOUND, r, start + 4 * (size_t)i,
             "action %d has a bound above 1e+30 in size", i);
    }
    return TVP_OK;
}

static int read_trits(reader *r, size_t count, int8_t **values) {
    const uint8_t *bytes;
    size_t start = r->at, size = (count + TRITS_PER_BYTE - 1) / TRITS_PER_BYTE;
    TRY(take(r, size, "weights", &bytes));
    for (size_t i = 0; i < size; i++) {
        NEED(bytes[i] < NUM_TRIT_BYTES, r, start + i, "%d is not five base-3 digits", bytes[i]);
    }
    *values = malloc(size * TRITS_PER_BYTE);
    if (*values == NULL) {
        return TVP_NO_MEMORY;
    }
    for (size_t i = 0; i < size; i++) {
        int rest = bytes[i];
        for (int j = 0; j < TRITS_PER_BYTE; j++, rest /= 3) {
            (*values)[TRITS_PER_BYTE * i + (size_t)j] = (int8_t)(rest % 3 - 1);
        }
    }
    for (size_t i = count; i < size * TRITS_PER_BYTE; i++) {
        NEED((*values)[i] == 0, r, start + size - 1, "unused trits are not 0");
    }
    return TVP_OK;
}

static int read_bits(reader *r, size_t count, int8_t **values) {
    const uint8_t *bytes;
    size_t start = r->at, size = (count + 7) / 8;
    TRY(take(r, size, "weights", &bytes));
    NEED(count % 8 == 0 || bytes[size - 1] >> count % 8 == 0, r, start + size - 1,
         "unused bits are not 0");
    *values = malloc(count);
    if (*values == NULL) {
        return TVP_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        (*values)[i] = bytes[i / 8] >> i % 8 & 1 ? 1 : -1;
    }
    return TVP_OK;
}

/* Bytes, or halves of bytes, the lower first. */
static int read_integers(reader *r, const tvp_layer *layer, size_t count, int8_t **values) {
    static const char *const names[] = {"int8", "int4"};
    const uint8_t *bytes;
    size_t per_byte = layer->kind == TVP_WEIGHT8 ? 1 : 2, start = r->at;
    size_t size = (count + per_byte - 1) / per_byte;
    TRY(take(r, size, "weights", &bytes));
    *values = malloc(size * per_byte);
    if (*values == NULL) {
        return TVP_NO_MEMORY;
    }
    for (size_t i = 0; i < size * per_byte; i++) {
        int value = read_i8(bytes[i / per_byte]);
        if (per_byte == 2) {
            value = (bytes[i / 2] >> 4 * (i % 2) & 15) ^ 8;
            value -= 8;
        }
        (*values)[i] = (int8_t)value;
    }
    NEED(size * per_byte == count || (*values)[count] == 0, r, start + size - 1,
         "an unused half of a byte is not 0");
    for (size_t i = 0; i < count; i++) {
        NEED((*values)[i] != -largest_level(layer) - 1, r, start + i / per_byte,
             "%d among %s weights", (*values)[i], names[layer->kind - TVP_WEIGHT8]);
    }
    return TVP_OK;
}

static int read_exponents(reader *r, tvp_layer *layer) {
    const uint8_t *bytes;
    size_t start = r->at, count = (size_t)layer->rows;
    int least = 127, most = -128, apart;
    TRY(take(r, count, "exponents", &bytes));
    layer->exponents = malloc(count);
    if (layer->exponents == NULL) {
        return TVP_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        int value = read_i8(bytes[i]);
        NEED(abs(value) <= EXPONENT_LIMIT, r, start + i,
             "exponent %d of output %zu; at most %d in size", value, i, EXPONENT_LIMIT);
        layer->exponents[i] = (int8_t)value;
        least = value < least ? value : least;
        most = value > most ? value : most;
    }
    apart = tvp_has_few_bits(layer) ? EXPONENT_SPREAD_BITS : EXPONENT_SPREAD;
    NEED(most - least <= apart, r, start, "exponents of outputs are %d apart; at most %d",
         most - least, apart);
    return TVP_OK;
}

static int read_functions(reader *r, tvp_layer *layer) {
    const uint8_t *bytes;
    size_t start = r->at, count = (size_t)layer->rows;
    TRY(take(r, count, "functions", &bytes));
    for (size_t i = 0; i < count; i++) {
        NEED(bytes[i] < TVP_NUM_FUNCTIONS, r, start + i, "function %d of output %zu; must be 0 to %d",
             bytes[i], i, TVP_NUM_FUNCTIONS - 1);
    }
    layer->functions = malloc(count);
    if (layer->functions == NULL) {
        return TVP_NO_MEMORY;
    }
    memcpy(layer->functions, bytes, count);
    return TVP_OK;
}

static int read_payload(reader *r, tvp_layer *layer) {
    const uint8_t *unused;
    if (layer->type == TVP_MAX_POOL) {
        return TVP_OK;
    }
    if (layer->has_outputs) {
        TRY(read_exponents(r, layer));
    }
    if (layer->has_functions) {
        TRY(read_functions(r, layer));
    }
    if (layer->kind == TVP_FLOAT) {
        return take_floats(r, count_of(layer), "weight", &unused);
    }
    if (layer->kind == TVP_BINARY) {
        return read_bits(r, count_of(layer), &layer->weights);
    }
    if (layer->kind == TVP_WEIGHT8 || layer->kind == TVP_WEIGHT4) {
        return read_integers(r, layer, count_of(layer), &layer->weights);
    }
    return read_trits(r, count_of(layer), &layer->weights);
}

/* ------------------------------------------------------------------------------------- chunks */

/* Whether it is UTF-8 as Python's strict decoder has it: shortest forms, no surrogates. */
static int is_utf8(const uint8_t *text, size_t size) {
    for (size_t i = 0; i < size;) {
        uint8_t lead = text[i++];
        if (lead < 0x80) {
            continue;
        }
        size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        if (lead < 0xc2 || lead > 0xf4 || size - i < more) {
            return 0;
        }
        uint8_t lowest = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        uint8_t highest = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        if (text[i] < lowest || text[i] > highest) {
            return 0;
        }
        for (size_t j = 1; j < more; j++) {
            if ((text[i + j] & 0xc0) != 0x80) {
                return 0;
            }
        }
        i += more;
    }
    return 1;
}

typedef struct {
    const uint8_t *bytes;
    size_t size;
} text;

static int read_text(reader *r, size_t stop, text *found) {
    const uint8_t *length;
    size_t at = r->at;
    NEED(stop - at >= 2, r, at, "metadata are cut off");
    TRY(take(r, 2, "metadata", &length));
    found->size = read_u16(length);
    NEED(stop - r->at >= found->size, r, at, "metadata are cut off");
    return take(r, found->size, "metadata", &found->bytes);
}

static int is_above(const text *name, const text *previous) {
    size_t common = name->size < previous->size ? name->size : previous->size;
    int order = common ? memcmp(name->bytes, previous->bytes, common) : 0;
    return order > 0 || (order == 0 && name->size > previous->size);
}

static int read_metadata(reader *r, size_t size) {
    NEED(0 < size && size <= MAX_METADATA, r, r->at - 4, "%zu bytes of metadata", size);
    size_t stop = r->at + size;
    text name, value, previous = {NULL, 0};
    while (r->at < stop) {
        size_t at = r->at;
        TRY(read_text(r, stop, &name));
        TRY(read_text(r, stop, &value));
        NEED(is_above(&name, &previous), r, at, "names of metadata are empty, or do not ascend");
        NEED(is_utf8(name.bytes, name.size) && is_utf8(value.bytes, value.size), r, at,
             "metadata are not UTF-8");
        previous = name;
    }
    return TVP_OK;
}

/* `counts` counts, then a number for each input. */
static int read_moments(reader *r, const tvp_policy *p, size_t size, size_t counts) {
    const uint8_t *bytes;
    size_t count = counts + (size_t)p->obs_size, at = r->at;
    NEED(p->input_kind == TVP_F32, r, at - 8, "moments of inputs that are not floats");
    NEED(size == 4 * count, r, at - 4, "moments take %zu bytes, not %zu", 4 * count, size);
    TRY(take_floats(r, count, "moment", &bytes));
    for (size_t i = 0; i < count; i++) {
        NEED(bytes[4 * i + 3] < 128, r, at + 4 * i, "moment %zu is negative", i);
    }
    return TVP_OK;
}

/* Run the policy on the examples, which are one episode if it has a memory. */
static int check_vectors(reader *r, const tvp_policy *p, size_t count, const uint8_t *inputs,
                         const uint8_t *logits) {
    size_t start = (size_t)(logits - r->data), outputs = (size_t)p->num_outputs;
    kernels_net *net = kernels_prepare(p);
    int32_t *found = malloc(outputs * sizeof *found);
    kernels_work *work = net != NULL ? kernels_begin(net) : NULL;
    int8_t *memory = malloc((size_t)p->memory_size + 1);
    int status = found && work && memory ? TVP_OK : TVP_NO_MEMORY;
    if (status == TVP_OK) {
        kernels_reset(net, memory);
    }
    for (size_t i = 0; i < count && status == TVP_OK; i++) {
        kernels_run(net, work, KERNELS_LOGITS_Q, inputs + i * (size_t)p->obs_size, memory, found, 1);
        for (size_t j = 0; j < outputs && status == TVP_OK; j++) {
            size_t offset = 4 * (i * outputs + j);
            if ((uint32_t)found[j] != read_u32(logits + offset)) {
                refuse(r, start + offset, "the policy does not give the logits of its test");
                status = TVP_REFUSED;
            }
        }
    }
    kernels_end(work);
    kernels_free(net);
    free(memory);
    free(found);
    return status;
}

static int read_vectors(reader *r, const tvp_policy *p, size_t size) {
    const uint8_t *bytes, *inputs, *logits;
    size_t at = r->at, obs_size = (size_t)p->obs_size, outputs = (size_t)p->num_outputs;
    NEED(p->is_integer, r, at - 8, "test vectors of a policy with floats");
    NEED(size >= 4, r, at - 4, "test vectors are cut off");
    TRY(take(r, 4, "test vectors", &bytes));
    uint32_t count = read_u32(bytes);
    NEED(1 <= count && count <= MAX_VECTORS, r, at, "%lu test vectors; must be 1 to %d",
         (unsigned long)count, MAX_VECTORS);
    uint64_t products = (uint64_t)count * all_products(p); /* below 2**46 */
    NEED(products <= MAX_PRODUCTS, r, at, "%lu test vectors take more than 2**28 products",
         (unsigned long)count);
    uint64_t wanted = 4 + (uint64_t)count * (obs_size + 4 * outputs); /* below 2**31 */
    NEED(size == wanted, r, at - 4, "%lu test vectors do not take %zu", (unsigned long)count, size);
    size_t start = r->at;
    TRY(take(r, count * obs_size, "inputs", &inputs));
    int low = p->input_kind == TVP_BITS ? 0 : -127, high = p->input_kind == TVP_BITS ? 1 : 127;
    for (size_t i = 0; i < count * obs_size; i++) {
        int value = read_i8(inputs[i]);
        NEED(low <= value && value <= high, r, start + i, "input %d is not %d to %d", value, low,
             high);
    }
    TRY(take(r, 4 * count * outputs, "logits", &logits));
    return check_vectors(r, p, count, inputs, logits);
}

enum { META, MOMT, MOMD, TEST, NUM_TAGS };

/* Which chunks were there: the first tag that may follow, and whether one had moments. */
typedef struct {
    int first_allowed, has_moments;
} chunks_read;

static int read_chunk(reader *r, const tvp_policy *p, chunks_read *before) {
    static const char tags[NUM_TAGS][5] = {"META", "MOMT", "MOMD", "TEST"};
    const uint8_t *head;
    size_t at = r->at;
    TRY(take(r, CHUNK_SIZE, "chunk", &head));
    int tag = 0;
    while (tag < NUM_TAGS && memcmp(head, tags[tag], 4) != 0) {
        tag++;
    }
    NEED(tag < NUM_TAGS, r, at, "unknown chunk %02x%02x%02x%02x", head[0], head[1], head[2],
         head[3]);
    NEED(tag >= before->first_allowed, r, at, "chunk %s is out of order, or there twice", tags[tag]);
    before->first_allowed = tag + 1;
    size_t size = read_u32(head + 4);
    NEED(size <= r->end - r->at, r, at + 4, "chunk of %zu bytes, and %zu are left", size,
         r->end - r->at);
    if (tag == META) {
        return read_metadata(r, size);
    }
    if (tag == TEST) {
        return read_vectors(r, p, size);
    }
    NEED(!before->has_moments, r, at, "moments are there twice");
    before->has_moments = 1;
    return read_moments(r, p, size, tag == MOMT ? 1 : (size_t)p->obs_size);
}

static int decode(reader *r, tvp_policy *p) {
    chunks_read before = {0, 0};
    TRY(read_header(r, p));
    TRY(read_layer_records(r, p));
    TRY(read_input_table(r, p));
    TRY(read_range(r, p));
    for (int i = 0; i < p->num_layers; i++) {
        TRY(read_payload(r, &p->layers[i]));
    }
    while (r->at < r->end) {
        TRY(read_chunk(r, p, &before));
    }
    return TVP_OK;
}

int tvp_decode(const uint8_t *data, size_t size, tvp_policy *policy, tvp_error *error) {
    reader r = {data, size, 0, 0, error};
    memset(policy, 0, sizeof *policy);
    memset(error, 0, sizeof *error);
    return decode(&r, policy);
}

void tvp_free(tvp_policy *policy) {
    free(policy->mean);
    free(policy->exponent);
    free(policy->low);
    free(policy->high);
    for (int i = 0; i < TVP_MAX_LAYERS; i++) {
        free(policy->layers[i].exponents);
        free(policy->layers[i].functions);
        free(policy->layers[i].weights);
    }
    memset(policy, 0, sizeof *policy);
}
