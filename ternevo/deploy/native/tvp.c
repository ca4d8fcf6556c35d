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
#define CHUNK_SIZE 8
#define MAX_METADATA 65536
#define MAX_VECTORS 65535
#define MAX_PRODUCTS ((uint64_t)1 << 28) /* of all test vectors */
#define MAX_BOUND 1e30f
#define EXPONENT_LIMIT 24        /* of weights and biases */
#define EXPONENT_SPREAD 8         /* between the outputs of a layer */
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
    NEED(data[8] == 1 && data[9] == 0, r, 8, "version %d.%d; this ternevo reads 1.0", data[8],
         data[9]);
    NEED(read_u16(data + 10) == 0, r, 10, "unknown flags 0x%04x", read_u16(data + 10));
    uint32_t total = read_u32(data + 12);
    NEED(total == r->size, r, 12, "%lu bytes were written, and there are %zu",
         (unsigned long)total, r->size);
    uint32_t wanted = read_u32(data + r->end), found = crc32_of(data, r->end);
    NEED(found == wanted, r, r->end, "check sum %08lx instead of %08lx", (unsigned long)found,
         (unsigned long)wanted);
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
    NEED(1 <= p->obs_size && p->obs_size <= TVP_MAX_WIDTH, r, 16, "%d inputs; must be 1 to %d",
         p->obs_size, TVP_MAX_WIDTH);
    NEED(1 <= p->num_outputs && p->num_outputs <= TVP_MAX_WIDTH, r, 18,
         "%d outputs; must be 1 to %d", p->num_outputs, TVP_MAX_WIDTH);
    NEED(1 <= p->num_layers && p->num_layers <= TVP_MAX_LAYERS, r, 20,
         "%d layers; must be 1 to %d", p->num_layers, TVP_MAX_LAYERS);
    NEED(p->input_kind <= TVP_BITS, r, 21, "kind of input %d; must be 0 to 2", p->input_kind);
    int largest = p->input_kind == TVP_BITS ? 1 : 8;
    NEED(1 <= p->observation_bits && p->observation_bits <= largest, r, 22,
         "%d observation bits; must be 1 to %d", p->observation_bits, largest);
    NEED(p->output_kind <= TVP_CONTINUOUS, r, 23, "kind of output %d; must be 0 to 1", p->output_kind);
    NEED(0 <= p->output_shift && p->output_shift <= MAX_SHIFT, r, 24, "output shift %d; 0 to %d",
         p->output_shift, MAX_SHIFT);
    NEED(p->observation_shift <= MAX_SHIFT, r, 25, "observation shift %d; 0 to %d",
         p->observation_shift, MAX_SHIFT);
    for (int i = 26; i < HEADER_SIZE; i++) {
        NEED(data[i] == 0, r, 26, "reserved bytes are not 0");
    }
    return TVP_OK;
}

static int read_layer_record(reader *r, tvp_policy *p, int index, int inputs) {
    const uint8_t *fields;
    size_t at = r->at;
    tvp_layer *layer = &p->layers[index];
    TRY(take(r, LAYER_SIZE, "layer", &fields));
    NEED(fields[0] != 2, r, at, "a convolution; no version so far has them");
    NEED(fields[0] == 1, r, at, "unknown type of layer %d", fields[0]);
    layer->activation = fields[1];
    layer->kind = fields[2];
    layer->has_bias = fields[3] & 1;
    layer->has_outputs = fields[3] >> 1;
    layer->inputs = inputs;
    layer->out = read_u16(fields + 4);
    layer->exponent = read_i8(fields[6]);
    layer->bias_exponent = read_i8(fields[7]);
    NEED(layer->activation <= TVP_RELU, r, at + 1, "activation %d; must be 0 to 6", layer->activation);
    NEED((layer->activation == TVP_NONE) == (index == p->num_layers - 1), r, at + 1,
         "only the last layer has no activation");
    NEED(layer->kind <= TVP_FLOAT, r, at + 2, "kind of weights %d; must be 0 to 2", layer->kind);
    NEED(fields[3] <= 3, r, at + 3, "layer flags %d; must be 0 to 3", fields[3]);
    NEED(!layer->has_outputs || layer->kind != TVP_FLOAT, r, at + 3,
         "float weights have no exponents");
    NEED(1 <= layer->out && layer->out <= TVP_MAX_WIDTH, r, at + 4, "%d outputs; must be 1 to %d",
         layer->out, TVP_MAX_WIDTH);
    int limit = layer->kind == TVP_FLOAT || layer->has_outputs ? 0 : EXPONENT_LIMIT;
    NEED(abs(layer->exponent) <= limit, r, at + 6, "exponent %d; at most %d in size",
         layer->exponent, limit);
    limit = layer->kind == TVP_FLOAT || !layer->has_bias ? 0 : EXPONENT_LIMIT;
    NEED(abs(layer->bias_exponent) <= limit, r, at + 7, "exponent of biases %d; at most %d in size",
         layer->bias_exponent, limit);
    NEED(read_u32(fields + 8) == 0, r, at + 8, "a dense layer has no geometry");
    return TVP_OK;
}

static size_t count_of(const tvp_layer *layer) {
    return (size_t)layer->out * (size_t)(layer->inputs + layer->has_bias);
}

static int read_layer_records(reader *r, tvp_policy *p) {
    size_t total = 0; /* at most 16 * 4096 * 4097 */
    int inputs = p->obs_size;
    p->is_integer = 1;
    for (int i = 0; i < p->num_layers; i++) {
        const tvp_layer *layer = &p->layers[i];
        TRY(read_layer_record(r, p, i, inputs));
        inputs = layer->out;
        total += count_of(layer);
        p->is_integer &= layer->kind != TVP_FLOAT && layer->activation < TVP_TANH;
    }
    NEED(inputs == p->num_outputs, r, 18, "%d outputs, and the last layer has %d", p->num_outputs,
         inputs);
    NEED(total <= TVP_MAX_WEIGHTS, r, 20, "more than %zu weights", TVP_MAX_WEIGHTS);
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

static int read_exponents(reader *r, tvp_layer *layer) {
    const uint8_t *bytes;
    size_t start = r->at, count = (size_t)layer->out;
    int least = 127, most = -128;
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
    NEED(most - least <= EXPONENT_SPREAD, r, start,
         "exponents of outputs are %d apart; at most %d", most - least, EXPONENT_SPREAD);
    return TVP_OK;
}

static int read_payload(reader *r, tvp_layer *layer) {
    const uint8_t *unused;
    if (layer->has_outputs) {
        TRY(read_exponents(r, layer));
    }
    if (layer->kind == TVP_FLOAT) {
        return take_floats(r, count_of(layer), "weight", &unused);
    }
    if (layer->kind == TVP_BINARY) {
        return read_bits(r, count_of(layer), &layer->weights);
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

/* Run the policy on the examples. */
static int check_vectors(reader *r, const tvp_policy *p, size_t count, const uint8_t *inputs,
                         const uint8_t *logits) {
    size_t start = (size_t)(logits - r->data), outputs = (size_t)p->num_outputs;
    int32_t *found = malloc(outputs * sizeof *found);
    kernels_net *net = kernels_prepare(p);
    int status = found != NULL && net != NULL ? TVP_OK : TVP_NO_MEMORY;
    for (size_t i = 0; i < count && status == TVP_OK; i++) {
        kernels_logits_q(net, (const int8_t *)inputs + i * (size_t)p->obs_size, found);
        for (size_t j = 0; j < outputs && status == TVP_OK; j++) {
            size_t offset = 4 * (i * outputs + j);
            if ((uint32_t)found[j] != read_u32(logits + offset)) {
                refuse(r, start + offset, "the policy does not give the logits of its test");
                status = TVP_REFUSED;
            }
        }
    }
    kernels_free(net);
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
    uint64_t products = 0;
    for (int i = 0; i < p->num_layers; i++) {
        products += (uint64_t)count * (uint64_t)p->layers[i].inputs * (uint64_t)p->layers[i].out;
    }
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
        free(policy->layers[i].weights);
    }
    memset(policy, 0, sizeof *policy);
}
