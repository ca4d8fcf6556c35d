/* Three kernels, one file: plain C, AVX2, and AVX-512 with VNNI. What differs is how a layer sums;
   all agree bit for bit, as sums of integers have no order.

   A policy of short dense layers is plain: one function of each kernel runs it, on the stack. All
   others are deep: see there.

   Values between layers. Plain C: int16. AVX2 and AVX-512: bytes of value + 128, as their
   instructions multiply unsigned by signed; 128 times the sum of the weights goes into the bias.
   After a sign the two have bits instead (1 is -1), and count: with planes M (weight is not 0)
   and N (weight is negative), negatives = popcount(N ^ (bits & M)), sum = nnz - 2 * negatives. */
#include "kernels.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#if FLT_EVAL_METHOD == 0
typedef float float32;
#else
typedef volatile float float32; /* to memory and back, where sums are wider than they should be */
#endif

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define HAS_X86 1
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2")))
#define AVX512                                                                         \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vpopcntdq")))
#else
#define HAS_X86 0
#endif

#define ALIGNMENT 64
#define PADDED_WIDTH (TVP_MAX_WIDTH + 64)
#define PLAIN_BLOCK 16
#define SPARSE 10     /* plain C skips zeros where all but one weight in so many are 0 */
#define PATCHES 4     /* that are summed side by side */
#define SLACK 64      /* bytes past an array, read or written by whole registers */
#define ROUNDED_UP(size) (((size_t)(size) + 63) / 64 * 64)
#define TABLE_BITS 6    /* inputs of 0 and 1 that one entry of a table sums */
#define TABLE_ENTRIES (1 << TABLE_BITS)
#define TABLE_RUN 56    /* bits that a word holds from any bit of its first byte on */
#define MAX_TABLE 65536 /* bytes: what still leaves room in a cache */
#define MAX_DEEP_VALUES ((size_t)1 << 18) /* more than these, and one observation is run at a time */

typedef struct {
    int type;
    int inputs, out; /* of the matrix: out are its rows without padding */
    int rows;        /* outputs, padded to whole blocks of the kernel */
    int blocks;      /* of rows */
    int groups;      /* of inputs: 4 bytes, or the bits of a lane, or PLAIN_BLOCK in plain C */
    int is_bits;
    int activation, shift, threshold, limit;
    int full_scale;  /* of its inputs */
    int gate_shift;  /* of the gates of TVP_GATED */
    int run, run_groups; /* inputs side by side in an image, and their groups; see `prepare_deep` */
    int32_t *own;  /* [rows], where outputs have exponents or functions: the threshold of each after
                      a ternary activation, how far the logits of each are shifted to the left, else
                      the shift of each; NULL where `shift` and `threshold` are those of all */
    uint8_t *functions; /* [rows], only where there is `own`; NULL where outputs have none */
    int32_t *bias; /* [rows], with what the kernel folds into it */
    void *weights; /* in the kernel's layout */
    int32_t *ends, *inputs_at; /* of weights without zeros: the end of each row, the input of each
                                  weight; else NULL */
    /* What only deep policies need. */
    int height, width, stride, padding, has_skip;
    int joins_patches; /* values of neighbouring patches have no gaps, nor exponents of their own */
    tvp_shape shape, after;
    int grid;         /* log2 of a unit of what it gives */
    int16_t *table;   /* of a first convolution of bits, or NULL: see `prepare_table` */
    int chunks, table_rows;
    int32_t *offsets; /* [groups], in bytes from the start of a patch */
    size_t in, given, added; /* where its inputs, its values and what is added are */
    size_t memory;
} net_layer;

typedef struct {
    const char *name;
    int block;      /* rows that are summed side by side */
    int bit_block;  /* the same where bits are counted; 0: they are not */
    int lane;       /* bits of a row in one step of counting */
    int is_wide;    /* products of bytes are summed in 32 bits, so weights may be larger than 1 */
    int (*is_supported)(void);
    void (*quantise)(const kernels_net *net, const float *obs, int8_t *q); /* into PADDED_WIDTH */
    void (*run)(const kernels_net *net, const int8_t *q, int32_t *sums);   /* the same */
    /* The sums [count][rows] of patches: of at most PATCHES. */
    void (*sum)(const net_layer *layer, const uint8_t *const *patches, int count, int16_t *wide,
                int32_t *sums);
    /* The values of `size` sums of any activation, as bytes, `added` is NULL without a skip. There
       are [rows] of them, or a multiple where outputs have no exponents of their own. */
    void (*finish)(const net_layer *layer, const int32_t *sums, const uint8_t *added, int size,
                   uint8_t *to);
    void (*pack)(const uint8_t *bytes, int count, uint8_t *bits); /* a bit for each sign */
    /* A bit for each number of an observation, and for each 0 or 1; the first layer by its table,
       from these bits on. NULL: there are no tables. */
    void (*pack_floats)(const float *obs, int count, uint8_t *bits);
    void (*pack_q)(const int8_t *q, int count, uint8_t *bits);
    void (*look_up)(const net_layer *layer, const uint8_t *bits, uint8_t *to);
} kernel;

struct kernels_net {
    const kernel *kernel;
    int input_kind, input_shift, obs_size, num_outputs, num_layers;
    int is_plain, memory_size;
    int deep_rows;       /* observations at a time */
    size_t values, total; /* bytes of the values of one observation, and of a `kernels_work` */
    size_t joined, joined_size, wide, sums, logits, q; /* where these are */
    float *mean, *scale;  /* padded to 16 */
    float *centre, *half; /* of the action range */
    float *low, *high;
    float output_scale;
    net_layer layers[TVP_MAX_LAYERS];
};

/* --------------------------------------------------------------------------------- arithmetic */

static float power_of_two(int exponent) {
    uint32_t bits = (uint32_t)(exponent + 127) << 23;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Round half to even, of a number up to 127 in size: adding 1.5 * 2**23 leaves no fraction. */
static int round_to_int(float value) {
    float32 sum = value + 12582912.0f;
    float rounded = sum;
    int32_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    return bits - 0x4b400000;
}

static float clip_to_full_scale(float value) {
    value = value == value ? value : 0.0f;
    value = value < -127.0f ? -127.0f : value;
    return value > 127.0f ? 127.0f : value;
}

/* A loop for each kind, so that compilers turn it into vectors. */
static void quantise_plain(const kernels_net *net, const float *obs, int8_t *q) {
    const int count = net->obs_size;
    switch (net->input_kind) {
    case TVP_F32:
        for (int i = 0; i < count; i++) {
            float32 centred = obs[i] - net->mean[i];
            q[i] = (int8_t)round_to_int(clip_to_full_scale(centred * net->scale[i]));
        }
        break;
    case TVP_I8:
        for (int i = 0; i < count; i++) {
            q[i] = (int8_t)round_to_int(clip_to_full_scale(obs[i]));
        }
        break;
    case TVP_BITS:
        for (int i = 0; i < count; i++) {
            q[i] = obs[i] > 0.5f;
        }
        break;
    default:
        for (int i = 0; i < count; i++) {
            float32 centred = obs[i] - 128.0f;
            q[i] = (int8_t)round_to_int(clip_to_full_scale(centred));
        }
    }
}

/* sums * 2**-shift, half to even. A shift to the left by 8 already fills any grid, as does 256. */
static inline int32_t rounded(int32_t sum, int shift) {
    if (shift > 0) {
        return (sum + ((1 << (shift - 1)) - 1) + (sum >> shift & 1)) >> shift;
    }
    sum = sum < -256 ? -256 : sum > 256 ? 256 : sum;
    return sum * (1 << (shift < -8 ? 8 : -shift));
}

static inline int32_t clipped(int32_t value, int32_t limit) {
    return value < -limit ? -limit : value > limit ? limit : value;
}

static inline int32_t on_grid(int32_t sum, int shift, int32_t limit) {
    return clipped(rounded(sum, shift), limit);
}

static inline int32_t activate(const net_layer *layer, int32_t sum) {
    if (layer->activation == TVP_SIGN) {
        return sum >= 0 ? 1 : -1;
    }
    if (layer->activation == TVP_TERNARY_ACTIVATION) {
        return (sum > layer->threshold) - (sum < -layer->threshold);
    }
    return on_grid(sum, layer->shift, layer->limit);
}

/* What a function makes of a number on the grid, as ternevo/deploy/functions.py has it. */
static inline int32_t shaped(int function, int32_t value, int32_t limit) {
    int32_t size = value < 0 ? -value : value;
    switch (function) {
    case TVP_POSITIVE: return value > 0 ? value : 0;
    case TVP_ABSOLUTE: return size;
    case TVP_FULL_SIGN: return value > 0 ? limit : value < 0 ? -limit : 0;
    case TVP_HAT: return limit - size;
    default: return value;
    }
}

static inline int32_t activate_own(const net_layer *layer, int row, int32_t sum) {
    int32_t own = layer->own[row], value;
    if (layer->activation == TVP_TERNARY_ACTIVATION) {
        value = (sum > own) - (sum < -own);
    } else {
        value = on_grid(sum, own, layer->limit);
    }
    return layer->functions == NULL ? value : shaped(layer->functions[row], value, layer->limit);
}

/* ------------------------------------------------------------------------------------ plain C */

static int always(void) {
    return 1;
}

#if defined(__GNUC__) || defined(__clang__)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#else
#define ALWAYS_INLINE static inline
#endif

/* One loop, so that compilers turn it into multiply-and-add of pairs (SSE2, NEON). Inline, so that
   they see that the count is a multiple of PLAIN_BLOCK. */
ALWAYS_INLINE int32_t dot_plain(const int16_t *weights, const int16_t *values, int count) {
    int32_t sum = 0;
    for (int i = 0; i < count; i++) {
        sum += weights[i] * values[i];
    }
    return sum;
}

/* The sums of all rows; `values` are padded by zeros to whole blocks. */
static void sum_plain(const net_layer *layer, const int16_t *values, int32_t *sums) {
    const int padded = layer->groups * PLAIN_BLOCK;
    const int16_t *weights = layer->weights;
    if (layer->ends == NULL) {
        for (int r = 0; r < layer->out; r++, weights += padded) {
            sums[r] = layer->bias[r] + dot_plain(weights, values, padded);
        }
        return;
    }
    for (int r = 0, i = 0; r < layer->out; r++) {
        int32_t sum = layer->bias[r];
        for (; i < layer->ends[r]; i++) {
            sum += weights[i] * values[layer->inputs_at[i]];
        }
        sums[r] = sum;
    }
}

static void run_plain(const kernels_net *net, const int8_t *q, int32_t *sums) {
    int16_t values[PADDED_WIDTH];
    const net_layer *layer = net->layers;
    for (int i = 0; i < layer->inputs; i++) {
        values[i] = (int16_t)(q[i] >> net->input_shift);
    }
    for (int i = 0; i < net->num_layers; i++, layer++) {
        int padded = layer->groups * PLAIN_BLOCK;
        memset(values + layer->inputs, 0, (size_t)(padded - layer->inputs) * sizeof *values);
        sum_plain(layer, values, sums);
        if (layer->activation == TVP_NONE) {
            return;
        }
        if (layer->own != NULL) {
            for (int r = 0; r < layer->out; r++) {
                values[r] = (int16_t)activate_own(layer, r, sums[r]);
            }
        } else {
            for (int r = 0; r < layer->out; r++) {
                values[r] = (int16_t)activate(layer, sums[r]);
            }
        }
    }
}

/* A patch in int16, run by run as in the matrix, then the products of all rows. */
static void sum_patches_plain(const net_layer *layer, const uint8_t *const *patches, int count,
                              int16_t *wide, int32_t *sums) {
    const int padded = layer->groups * PLAIN_BLOCK;
    for (int p = 0; p < count; p++) {
        for (int start = 0; start < layer->inputs; start += layer->run) {
            const uint8_t *from = patches[p] + layer->offsets[start / layer->run];
            for (int i = 0; i < layer->run; i++) {
                wide[start + i] = (int16_t)(from[i] - 128);
            }
        }
        memset(wide + layer->inputs, 0, (size_t)(padded - layer->inputs) * sizeof *wide);
        sum_plain(layer, wide, sums + p * layer->rows);
    }
}

static void finish_plain(const net_layer *layer, const int32_t *sums, const uint8_t *added,
                         int size, uint8_t *to) {
    for (int r = 0; r < size; r++) {
        int32_t value;
        if (added != NULL) {
            int shift = layer->own != NULL ? layer->own[r] : layer->shift;
            value = clipped(rounded(sums[r], shift) + added[r] - 128, layer->limit);
        } else {
            value = layer->own != NULL ? activate_own(layer, r, sums[r]) : activate(layer, sums[r]);
        }
        to[r] = (uint8_t)(value + 128);
    }
}

#if HAS_X86

static inline int32_t load_group(const uint8_t *from) {
    int32_t group;
    memcpy(&group, from, sizeof group);
    return group;
}

/* The first layer's inputs, as bytes of value + 128, to the end of the last group. */
static inline void offset_inputs(const kernels_net *net, const int8_t *q, uint8_t *bytes) {
    int8_t shifted[PADDED_WIDTH];
    int padded = (net->obs_size + 15) / 16 * 16;
    if (net->input_shift > 0) {
        for (int i = 0; i < padded; i++) {
            shifted[i] = (int8_t)(q[i] >> net->input_shift);
        }
        q = shifted;
    }
    for (int i = 0; i < padded; i += 16) { /* what lies past the inputs meets weights of 0 */
        __m128i values = _mm_loadu_si128((const __m128i *)(const void *)(q + i));
        values = _mm_xor_si128(values, _mm_set1_epi8(-128));
        _mm_storeu_si128((__m128i *)(void *)(bytes + i), values);
    }
}

/* What follows where outputs have exponents; rows past the last one give 128, which is 0. */
static void activate_layer_own(const net_layer *layer, const int32_t *sums, uint8_t *x) {
    for (int r = 0; r < layer->rows; r++) {
        x[r] = (uint8_t)(activate_own(layer, r, sums[r]) + 128);
    }
}

/* --------------------------------------------------------------------------------------- AVX2 */

static int has_avx2(void) {
    return __builtin_cpu_supports("avx2");
}

/* 1 where a number is above a half, which NaN is not. */
AVX2 static void quantise_bits_avx2(const float *obs, int count, int8_t *q) {
    const __m256 half = _mm256_set1_ps(0.5f);
    int i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256i ones = _mm256_castps_si256(
            _mm256_cmp_ps(_mm256_loadu_ps(obs + i), half, _CMP_GT_OQ));
        __m128i words =
            _mm_packs_epi32(_mm256_castsi256_si128(ones), _mm256_extracti128_si256(ones, 1));
        words = _mm_abs_epi8(_mm_packs_epi16(words, words));
        _mm_storel_epi64((__m128i *)(void *)(q + i), words);
    }
    for (; i < count; i++) {
        q[i] = obs[i] > 0.5f;
    }
}

AVX2 static void quantise_avx2(const kernels_net *net, const float *obs, int8_t *q) {
    if (net->input_kind == TVP_BITS) {
        quantise_bits_avx2(obs, net->obs_size, q);
        return;
    }
    if (net->input_kind != TVP_F32) {
        quantise_plain(net, obs, q);
        return;
    }
    const __m256 high = _mm256_set1_ps(127.0f), low = _mm256_set1_ps(-127.0f);
    const __m256i places = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for (int i = 0; i < net->obs_size; i += 8) {
        __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(net->obs_size - i), places);
        __m256 v = _mm256_maskload_ps(obs + i, mask);
        v = _mm256_mul_ps(_mm256_sub_ps(v, _mm256_loadu_ps(net->mean + i)),
                          _mm256_loadu_ps(net->scale + i));
        v = _mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q));
        v = _mm256_max_ps(_mm256_min_ps(v, high), low);
        v = _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        __m256i integers = _mm256_cvtps_epi32(v);
        __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(integers),
                                        _mm256_extracti128_si256(integers, 1));
        _mm_storel_epi64((__m128i *)(void *)(q + i), _mm_packs_epi16(words, words));
    }
}

#define LOAD256(from) _mm256_loadu_si256((const __m256i *)(const void *)(from))
#define STORE256(to, value) _mm256_storeu_si256((__m256i *)(void *)(to), value)
#define GROUPS_OF_INT16 64 /* 64 sums of two products of at most 255 stay below 2**15 */

/* Sum `width` blocks of 8 rows. Always inline, so that the accumulators are registers. */
AVX2 static inline __attribute__((always_inline)) void sum_avx2(const net_layer *layer, int block,
                                                                const int width,
                                                                const uint8_t *x, int32_t *sums) {
    const __m256i ones = _mm256_set1_epi16(1);
    const size_t stride = (size_t)layer->groups * 32;
    const int8_t *w = (const int8_t *)layer->weights + (size_t)block * stride;
    __m256i total[4];
    for (int b = 0; b < width; b++) {
        total[b] = LOAD256(layer->bias + 8 * (block + b));
    }
    for (int start = 0; start < layer->groups; start += GROUPS_OF_INT16) {
        int left = layer->groups - start;
        int stop = start + (left < GROUPS_OF_INT16 ? left : GROUPS_OF_INT16);
        __m256i part[4];
        for (int b = 0; b < width; b++) {
            part[b] = _mm256_setzero_si256();
        }
        for (int g = start; g < stop; g++, w += 32) {
            __m256i values = _mm256_set1_epi32(load_group(x + 4 * g));
            for (int b = 0; b < width; b++) {
                __m256i pairs = _mm256_maddubs_epi16(values, LOAD256(w + (size_t)b * stride));
                part[b] = _mm256_add_epi16(part[b], pairs);
            }
        }
        for (int b = 0; b < width; b++) {
            total[b] = _mm256_add_epi32(total[b], _mm256_madd_epi16(part[b], ones));
        }
    }
    for (int b = 0; b < width; b++) {
        STORE256(sums + 8 * (block + b), total[b]);
    }
}

#define GROUPS_OF_UINT8 248 /* 31 counts of eights, each at most 8, stay below 2**8 */

AVX2 static inline __m256i count_avx2(__m256i negatives) {
    const __m256i low = _mm256_set1_epi8(15);
    const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1,
                                            2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(negatives, 4), low);
    negatives = _mm256_and_si256(negatives, low);
    return _mm256_add_epi8(_mm256_shuffle_epi8(counts, negatives),
                           _mm256_shuffle_epi8(counts, high));
}

/* The negatives of 8 inputs of 32 rows. */
AVX2 static inline __m256i negatives_avx2(const uint8_t *planes, uint8_t byte) {
    __m256i masked = _mm256_and_si256(_mm256_set1_epi8((char)byte), LOAD256(planes));
    return _mm256_xor_si256(LOAD256(planes + 32), masked);
}

/* Add three bits to one of the same place and one of the next: a carry-save adder. */
AVX2 static inline __m256i add_bits_avx2(__m256i *total, __m256i b, __m256i c) {
    __m256i either = _mm256_xor_si256(*total, b);
    __m256i carry = _mm256_or_si256(_mm256_and_si256(*total, b), _mm256_and_si256(either, c));
    *total = _mm256_xor_si256(either, c);
    return carry;
}

/* Take twice the counts, which are `small` and 8 times `large`, off the sums of 32 rows. */
AVX2 static inline void take_counts_avx2(__m256i small, __m256i large, int32_t *sums) {
    uint8_t counts[64];
    STORE256(counts, small);
    STORE256(counts + 32, large);
    for (int j = 0; j < 32; j += 8) {
        __m128i eight = _mm_loadl_epi64((const __m128i *)(const void *)(counts + j));
        __m128i more = _mm_loadl_epi64((const __m128i *)(const void *)(counts + 32 + j));
        __m256i twice = _mm256_slli_epi32(_mm256_cvtepu8_epi32(eight), 1);
        __m256i larger = _mm256_slli_epi32(_mm256_cvtepu8_epi32(more), 4);
        __m256i sum = _mm256_sub_epi32(LOAD256(sums + j), _mm256_add_epi32(twice, larger));
        STORE256(sums + j, sum);
    }
}

#define BYTE_AT(g) bits[offsets != NULL ? offsets[g] : (g)]

/* Sum by counting bits: 32 rows at a time, a byte of 8 inputs each, one after another or where the
   offsets say. Eight bytes are first added bit by bit, so that only what they carry is counted. */
AVX2 static inline __attribute__((always_inline)) void count_layer_avx2(const net_layer *layer,
                                                                        const uint8_t *bits,
                                                                        const int32_t *offsets,
                                                                        int32_t *sums) {
    const uint8_t *planes = layer->weights;
    for (int r = 0; r < layer->rows; r += 32) {
        memcpy(sums + r, layer->bias + r, 32 * sizeof *sums);
        for (int start = 0; start < layer->groups; start += GROUPS_OF_UINT8) {
            int left = layer->groups - start, g = start;
            int stop = start + (left < GROUPS_OF_UINT8 ? left : GROUPS_OF_UINT8);
            __m256i small = _mm256_setzero_si256(), eights = small;
            if (left >= 16) {
                __m256i ones = small, twos = small, fours = small;
                for (; g + 8 <= stop; g += 8, planes += 512) {
                    __m256i v[8];
                    for (int i = 0; i < 8; i++) {
                        v[i] = negatives_avx2(planes + 64 * i, BYTE_AT(g + i));
                    }
                    __m256i a = add_bits_avx2(&ones, v[0], v[1]);
                    __m256i b = add_bits_avx2(&ones, v[2], v[3]);
                    __m256i first = add_bits_avx2(&twos, a, b);
                    a = add_bits_avx2(&ones, v[4], v[5]);
                    b = add_bits_avx2(&ones, v[6], v[7]);
                    __m256i second = add_bits_avx2(&twos, a, b);
                    __m256i carried = add_bits_avx2(&fours, first, second);
                    eights = _mm256_add_epi8(eights, count_avx2(carried));
                }
                twos = count_avx2(twos);
                fours = count_avx2(fours);
                fours = _mm256_add_epi8(fours, fours);
                small = _mm256_add_epi8(twos, fours);
                small = _mm256_add_epi8(_mm256_add_epi8(small, small), count_avx2(ones));
            }
            for (; g < stop; g++, planes += 64) {
                __m256i count = count_avx2(negatives_avx2(planes, BYTE_AT(g)));
                small = _mm256_add_epi8(small, count);
            }
            take_counts_avx2(small, eights, sums + r);
        }
    }
}

AVX2 static inline __m256i clip_avx2(const net_layer *layer, __m256i value) {
    value = _mm256_min_epi32(value, _mm256_set1_epi32(layer->limit));
    return _mm256_max_epi32(value, _mm256_set1_epi32(-layer->limit));
}

AVX2 static inline __m256i round_avx2(const net_layer *layer, __m256i sum) {
    const __m256i one = _mm256_set1_epi32(1);
    if (layer->shift > 0) {
        const __m128i count = _mm_cvtsi32_si128(layer->shift);
        __m256i odd = _mm256_and_si256(_mm256_sra_epi32(sum, count), one);
        __m256i half_less = _mm256_set1_epi32((1 << (layer->shift - 1)) - 1);
        sum = _mm256_sra_epi32(_mm256_add_epi32(_mm256_add_epi32(sum, half_less), odd), count);
    } else {
        sum = _mm256_max_epi32(_mm256_min_epi32(sum, _mm256_set1_epi32(256)),
                               _mm256_set1_epi32(-256));
        sum = _mm256_sll_epi32(sum, _mm_cvtsi32_si128(layer->shift < -8 ? 8 : -layer->shift));
    }
    return sum;
}

AVX2 static inline __m256i activate_avx2(const net_layer *layer, __m256i sum) {
    if (layer->activation == TVP_TERNARY_ACTIVATION) {
        __m256i above = _mm256_cmpgt_epi32(sum, _mm256_set1_epi32(layer->threshold));
        __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32(-layer->threshold), sum);
        return _mm256_sub_epi32(below, above);
    }
    return clip_avx2(layer, round_avx2(layer, sum));
}

/* 8 values, as bytes of value + 128. */
AVX2 static inline void put_bytes_avx2(uint8_t *to, __m256i values) {
    __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
    words = _mm_xor_si128(_mm_packs_epi16(words, words), _mm_set1_epi8(-128));
    _mm_storel_epi64((__m128i *)(void *)to, words);
}

AVX2 static void activate_layer_avx2(const net_layer *layer, const int32_t *sums, uint8_t *x) {
    if (layer->activation == TVP_SIGN) {
        for (int r = 0; r < layer->rows; r += 8) {
            x[r / 8] = (uint8_t)_mm256_movemask_ps(_mm256_castsi256_ps(LOAD256(sums + r)));
        }
        return;
    }
    if (layer->own != NULL) {
        activate_layer_own(layer, sums, x);
        return;
    }
    for (int r = 0; r < layer->rows; r += 8) {
        put_bytes_avx2(x + r, activate_avx2(layer, LOAD256(sums + r)));
    }
}

AVX2 static void run_avx2(const kernels_net *net, const int8_t *q, int32_t *sums) {
    uint8_t x[PADDED_WIDTH]; /* bytes, or bits */
    const net_layer *layer = net->layers;
    offset_inputs(net, q, x);
    for (int i = 0; i < net->num_layers; i++, layer++) {
        int block = 0;
        if (layer->is_bits) {
            count_layer_avx2(layer, x, NULL, sums);
        } else {
            for (; block + 4 <= layer->blocks; block += 4) {
                sum_avx2(layer, block, 4, x, sums);
            }
            for (; block < layer->blocks; block++) {
                sum_avx2(layer, block, 1, x, sums);
            }
        }
        if (layer->activation != TVP_NONE) {
            activate_layer_avx2(layer, sums, x);
        }
    }
}

/* Put away the sums of pairs of 8 rows from `row` on, added to those of the groups before. */
AVX2 static inline void add_pairs_avx2(const net_layer *layer, int row, int is_first, __m256i pairs,
                                       int32_t *sums) {
    __m256i before = LOAD256(is_first ? layer->bias + row : sums + row);
    __m256i sum = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    STORE256(sums + row, _mm256_add_epi32(before, sum));
}

#define ADD_PRODUCTS(total, values, weights) \
    (total) = _mm256_add_epi16(_mm256_maddubs_epi16(values, weights), total)

/* Sum two blocks of 8 rows for PATCHES patches, whose groups lie where the offsets say. Eight
   accumulators by name: as an array compilers put some of them into memory. */
AVX2 static void tile_avx2(const net_layer *layer, int block, const uint8_t *const *patches,
                           int32_t *sums) {
    const size_t stride = (size_t)layer->groups * 32;
    const int8_t *w = (const int8_t *)layer->weights + (size_t)block * stride;
    const uint8_t *x0 = patches[0], *x1 = patches[1], *x2 = patches[2], *x3 = patches[3];
    for (int start = 0; start < layer->groups; start += GROUPS_OF_INT16) {
        int left = layer->groups - start;
        int stop = start + (left < GROUPS_OF_INT16 ? left : GROUPS_OF_INT16);
        __m256i a0, a1, a2, a3, b0, b1, b2, b3;
        a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = _mm256_setzero_si256();
        for (int g = start; g < stop; g++, w += 32) {
            const int32_t offset = layer->offsets[g];
            const __m256i wa = LOAD256(w), wb = LOAD256(w + stride);
            __m256i values = _mm256_set1_epi32(load_group(x0 + offset));
            ADD_PRODUCTS(a0, values, wa);
            ADD_PRODUCTS(b0, values, wb);
            values = _mm256_set1_epi32(load_group(x1 + offset));
            ADD_PRODUCTS(a1, values, wa);
            ADD_PRODUCTS(b1, values, wb);
            values = _mm256_set1_epi32(load_group(x2 + offset));
            ADD_PRODUCTS(a2, values, wa);
            ADD_PRODUCTS(b2, values, wb);
            values = _mm256_set1_epi32(load_group(x3 + offset));
            ADD_PRODUCTS(a3, values, wa);
            ADD_PRODUCTS(b3, values, wb);
        }
        const __m256i pairs[PATCHES][2] = {{a0, b0}, {a1, b1}, {a2, b2}, {a3, b3}};
        for (int p = 0; p < PATCHES; p++) {
            int32_t *to = sums + p * layer->rows;
            add_pairs_avx2(layer, 8 * block, start == 0, pairs[p][0], to);
            add_pairs_avx2(layer, 8 * block + 8, start == 0, pairs[p][1], to);
        }
    }
}

/* The same of one block and one patch: four accumulators, as each waits for the one before. */
AVX2 static void strip_avx2(const net_layer *layer, int block, const uint8_t *x, int32_t *sums) {
    const int8_t *w = (const int8_t *)layer->weights + (size_t)block * (size_t)layer->groups * 32;
    const int32_t *offsets = layer->offsets;
    for (int start = 0; start < layer->groups; start += GROUPS_OF_INT16) {
        int left = layer->groups - start, g = start;
        int stop = start + (left < GROUPS_OF_INT16 ? left : GROUPS_OF_INT16);
        __m256i a, b, c, d;
        a = b = c = d = _mm256_setzero_si256();
        for (; g + 4 <= stop; g += 4, w += 128) {
            ADD_PRODUCTS(a, _mm256_set1_epi32(load_group(x + offsets[g])), LOAD256(w));
            ADD_PRODUCTS(b, _mm256_set1_epi32(load_group(x + offsets[g + 1])), LOAD256(w + 32));
            ADD_PRODUCTS(c, _mm256_set1_epi32(load_group(x + offsets[g + 2])), LOAD256(w + 64));
            ADD_PRODUCTS(d, _mm256_set1_epi32(load_group(x + offsets[g + 3])), LOAD256(w + 96));
        }
        for (; g < stop; g++, w += 32) {
            ADD_PRODUCTS(a, _mm256_set1_epi32(load_group(x + offsets[g])), LOAD256(w));
        }
        a = _mm256_add_epi16(_mm256_add_epi16(a, b), _mm256_add_epi16(c, d));
        add_pairs_avx2(layer, 8 * block, start == 0, a, sums);
    }
}

AVX2 static void sum_patches_avx2(const net_layer *layer, const uint8_t *const *patches, int count,
                                  int16_t *wide, int32_t *sums) {
    (void)wide;
    int block = 0;
    if (layer->is_bits) {
        for (int p = 0; p < count; p++) {
            count_layer_avx2(layer, patches[p], layer->offsets, sums + p * layer->rows);
        }
        return;
    }
    for (; count == PATCHES && block + 2 <= layer->blocks; block += 2) {
        tile_avx2(layer, block, patches, sums);
    }
    for (; block < layer->blocks; block++) {
        for (int p = 0; p < count; p++) {
            strip_avx2(layer, block, patches[p], sums + p * layer->rows);
        }
    }
}

AVX2 static void finish_avx2(const net_layer *layer, const int32_t *sums, const uint8_t *added,
                             int size, uint8_t *to) {
    const __m256i one = _mm256_set1_epi32(1), offset = _mm256_set1_epi32(128);
    if (layer->own != NULL) {
        finish_plain(layer, sums, added, size, to);
    } else if (layer->activation == TVP_SIGN) {
        for (int r = 0; r < size; r += 8) {
            put_bytes_avx2(to + r,
                           _mm256_or_si256(_mm256_srai_epi32(LOAD256(sums + r), 31), one));
        }
    } else if (added == NULL) {
        for (int r = 0; r < size; r += 8) {
            put_bytes_avx2(to + r, activate_avx2(layer, LOAD256(sums + r)));
        }
    } else {
        for (int r = 0; r < size; r += 8) {
            __m128i eight = _mm_loadl_epi64((const __m128i *)(const void *)(added + r));
            __m256i more = _mm256_sub_epi32(_mm256_cvtepu8_epi32(eight), offset);
            __m256i values = _mm256_add_epi32(round_avx2(layer, LOAD256(sums + r)), more);
            put_bytes_avx2(to + r, clip_avx2(layer, values));
        }
    }
}

/* The upper bit of value + 128 is 0 where the sign is -1. */
AVX2 static void pack_avx2(const uint8_t *bytes, int count, uint8_t *bits) {
    for (int i = 0; i < count; i += 32) {
        uint32_t word = ~(uint32_t)_mm256_movemask_epi8(LOAD256(bytes + i));
        memcpy(bits + i / 8, &word, sizeof word);
    }
}

/* A bit for each number: 1 above a half. What follows, the next row of a batch, is fetched meanwhile. */
AVX2 static void pack_floats_avx2(const float *obs, int count, uint8_t *bits) {
    const __m256 half = _mm256_set1_ps(0.5f);
    const uintptr_t row = (uintptr_t)count * sizeof *obs;
    int i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256 is_one = _mm256_cmp_ps(_mm256_loadu_ps(obs + i), half, _CMP_GT_OQ);
        bits[i / 8] = (uint8_t)_mm256_movemask_ps(is_one);
        _mm_prefetch((const char *)((uintptr_t)(obs + i) + row), _MM_HINT_T0); /* of any address */
    }
    for (; i < count; i++) {
        bits[i / 8] = (uint8_t)((i % 8 ? bits[i / 8] : 0) | (obs[i] > 0.5f) << i % 8);
    }
}

AVX2 static void pack_q_avx2(const int8_t *q, int count, uint8_t *bits) {
    int i = 0;
    for (; i + 32 <= count; i += 32) {
        uint32_t word = (uint32_t)_mm256_movemask_epi8(
            _mm256_cmpgt_epi8(LOAD256(q + i), _mm256_setzero_si256()));
        memcpy(bits + i / 8, &word, sizeof word);
    }
    for (; i < count; i++) {
        bits[i / 8] = (uint8_t)((i % 8 ? bits[i / 8] : 0) | (q[i] > 0) << i % 8);
    }
}

/* The values of 16 sums below 2**11 in size, in 16 bits. */
AVX2 static inline __m128i activate_words_avx2(const net_layer *layer, __m256i sum) {
    const __m256i limit = _mm256_set1_epi16((int16_t)layer->limit);
    if (layer->activation == TVP_SIGN) {
        sum = _mm256_or_si256(_mm256_srai_epi16(sum, 15), _mm256_set1_epi16(1));
    } else if (layer->activation == TVP_TERNARY_ACTIVATION) {
        int threshold = layer->threshold < 4096 ? layer->threshold : 4096;
        __m256i above = _mm256_cmpgt_epi16(sum, _mm256_set1_epi16((int16_t)threshold));
        __m256i below = _mm256_cmpgt_epi16(_mm256_set1_epi16((int16_t)-threshold), sum);
        sum = _mm256_sub_epi16(below, above);
    } else {
        if (layer->shift > 0) { /* by more than 12 bits all are 0, as by 12 */
            int shift = layer->shift < 12 ? layer->shift : 12;
            const __m128i count = _mm_cvtsi32_si128(shift);
            __m256i half_less = _mm256_set1_epi16((int16_t)((1 << (shift - 1)) - 1));
            __m256i odd = _mm256_and_si256(_mm256_sra_epi16(sum, count), _mm256_set1_epi16(1));
            sum = _mm256_add_epi16(_mm256_add_epi16(sum, half_less), odd);
            sum = _mm256_sra_epi16(sum, count);
        } else {
            sum = _mm256_min_epi16(sum, limit);
            sum = _mm256_max_epi16(sum, _mm256_sub_epi16(_mm256_setzero_si256(), limit));
            sum = _mm256_sll_epi16(sum, _mm_cvtsi32_si128(layer->shift < -8 ? 8 : -layer->shift));
        }
        sum = _mm256_min_epi16(sum, limit);
        sum = _mm256_max_epi16(sum, _mm256_sub_epi16(_mm256_setzero_si256(), limit));
    }
    return _mm_xor_si128(_mm_packs_epi16(_mm256_castsi256_si128(sum),
                                         _mm256_extracti128_si256(sum, 1)),
                         _mm_set1_epi8(-128));
}

/* Run a convolution of bits: each patch is a few runs of bits of the image, and the sums of a run
   are those of its chunks, which are looked up. Always inline, so that sizes are constants. */
AVX2 static inline __attribute__((always_inline)) void look_up_places(
    const net_layer *layer, const uint8_t *bits, const int height, const int chunks,
    const size_t rows, uint8_t *to) {
    const int channels = layer->shape.channels, row_bits = layer->shape.width * channels;
    const int step = layer->stride * channels, out = layer->after.channels;
    for (int y = 0; y < layer->after.height; y++) {
        unsigned first = (unsigned)(y * layer->stride * row_bits);
        for (int x = 0; x < layer->after.width; x++, first += (unsigned)step, to += out) {
            for (size_t r = 0; r < rows; r += 16) {
                const int16_t *table = layer->table + r;
                __m256i sum = _mm256_setzero_si256();
                unsigned bit = first;
                for (int i = 0; i < height; i++, bit += (unsigned)row_bits) {
                    uint64_t word;
                    memcpy(&word, bits + bit / 8, sizeof word);
                    word >>= bit % 8;
                    for (int j = 0; j < chunks; j++, table += TABLE_ENTRIES * rows) {
                        size_t entry = (size_t)(word >> j * TABLE_BITS) % TABLE_ENTRIES;
                        sum = _mm256_add_epi16(sum, LOAD256(table + entry * rows));
                    }
                }
                _mm_storeu_si128((__m128i *)(void *)(to + r), activate_words_avx2(layer, sum));
            }
        }
    }
}

/* With constants for windows of 3 by 3 places and 16 outputs: what MinAtar's policies have. */
AVX2 static void look_up_avx2(const net_layer *layer, const uint8_t *bits, uint8_t *to) {
    int chunks = layer->height == 3 && layer->table_rows == 16 ? layer->chunks : 0;
    switch (chunks) {
    case 2: look_up_places(layer, bits, 3, 2, 16, to); break;
    case 3: look_up_places(layer, bits, 3, 3, 16, to); break;
    case 4: look_up_places(layer, bits, 3, 4, 16, to); break;
    case 5: look_up_places(layer, bits, 3, 5, 16, to); break;
    default:
        look_up_places(layer, bits, layer->height, layer->chunks, (size_t)layer->table_rows, to);
    }
}

/* ------------------------------------------------------------------------------------ AVX-512 */

static int has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vpopcntdq");
}

AVX512 static void quantise_avx512(const kernels_net *net, const float *obs, int8_t *q) {
    if (net->input_kind == TVP_BITS) {
        quantise_bits_avx2(obs, net->obs_size, q);
        return;
    }
    if (net->input_kind != TVP_F32) {
        quantise_plain(net, obs, q);
        return;
    }
    const __m512 high = _mm512_set1_ps(127.0f), low = _mm512_set1_ps(-127.0f);
    for (int i = 0; i < net->obs_size; i += 16) {
        int left = net->obs_size - i;
        __mmask16 mask = (__mmask16)(left < 16 ? (1u << left) - 1 : 0xffff);
        __m512 v = _mm512_maskz_loadu_ps(mask, obs + i);
        v = _mm512_mul_ps(_mm512_sub_ps(v, _mm512_loadu_ps(net->mean + i)),
                          _mm512_loadu_ps(net->scale + i));
        v = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, v, _CMP_ORD_Q), v);
        v = _mm512_max_ps(_mm512_min_ps(v, high), low);
        __m512i integers =
            _mm512_cvt_roundps_epi32(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm_storeu_si128((__m128i *)(void *)(q + i), _mm512_cvtepi32_epi8(integers));
    }
}

#define LOAD512(from) _mm512_loadu_si512((const void *)(from))

/* Put away the sums of `width` times 16 rows from `row` on: a bit each before a sign, else whole.
   Bits of 64 rows are one store, as smaller ones would hold up the load of a word. */
AVX512 static inline __attribute__((always_inline)) void put_avx512(const net_layer *layer, int row,
                                                                    const __m512i *total,
                                                                    const int width,
                                                                    int32_t *sums,
                                                                    uint64_t *words) {
    uint64_t word = 0;
    if (layer->activation != TVP_SIGN) {
        for (int b = 0; b < width; b++) {
            _mm512_storeu_si512(sums + row + 16 * b, total[b]);
        }
        return;
    }
    for (int b = 0; b < width; b++) {
        word |= (uint64_t)_mm512_movepi32_mask(total[b]) << 16 * b;
    }
    words[row / 64] = row % 64 == 0 ? word : words[row / 64] | word << row % 64;
}

/* Sum four blocks of 16 rows. */
AVX512 static inline void sum_four_avx512(const net_layer *layer, int block, const uint8_t *x,
                                          int32_t *sums, uint64_t *words) {
    const size_t stride = (size_t)layer->groups * 64;
    const int8_t *w = (const int8_t *)layer->weights + (size_t)block * stride;
    __m512i total[4];
    for (int b = 0; b < 4; b++) {
        total[b] = LOAD512(layer->bias + 16 * (block + b));
    }
    for (int g = 0; g < layer->groups; g++, w += 64) {
        __m512i values = _mm512_set1_epi32(load_group(x + 4 * g));
        for (int b = 0; b < 4; b++) {
            total[b] = _mm512_dpbusd_epi32(total[b], values, LOAD512(w + (size_t)b * stride));
        }
    }
    put_avx512(layer, 16 * block, total, 4, sums, words);
}

/* One block of 16 rows: four sums side by side, as each instruction waits for the one before. */
AVX512 static inline void sum_block_avx512(const net_layer *layer, int block, const uint8_t *x,
                                           int32_t *sums, uint64_t *words) {
    const int8_t *w = (const int8_t *)layer->weights + (size_t)block * (size_t)layer->groups * 64;
    __m512i total[4] = {LOAD512(layer->bias + 16 * block), _mm512_setzero_si512(),
                        _mm512_setzero_si512(), _mm512_setzero_si512()};
    int g = 0;
    for (; g + 4 <= layer->groups; g += 4, w += 256) {
        for (int j = 0; j < 4; j++) {
            __m512i values = _mm512_set1_epi32(load_group(x + 4 * (g + j)));
            total[j] = _mm512_dpbusd_epi32(total[j], values, LOAD512(w + 64 * j));
        }
    }
    for (; g < layer->groups; g++, w += 64) {
        __m512i values = _mm512_set1_epi32(load_group(x + 4 * g));
        total[0] = _mm512_dpbusd_epi32(total[0], values, LOAD512(w));
    }
    total[0] = _mm512_add_epi32(total[0], total[1]);
    total[2] = _mm512_add_epi32(total[2], total[3]);
    total[0] = _mm512_add_epi32(total[0], total[2]);
    put_avx512(layer, 16 * block, total, 1, sums, words);
}

AVX512 static inline __m512i count_avx512(const uint64_t *planes, __m512i bits, __m512i count) {
    /* 0x78: N ^ (bits & M) */
    __m512i negatives =
        _mm512_ternarylogic_epi64(LOAD512(planes + 8), bits, LOAD512(planes), 0x78);
    return _mm512_add_epi64(count, _mm512_popcnt_epi64(negatives));
}

/* Sum 16 rows by counting bits, 8 to a register: of words one after another, or of a patch. */
AVX512 static inline __attribute__((always_inline)) __m512i count_block_avx512(const net_layer *layer, int row,
                                                const uint64_t *in,
                                                const uint8_t *patch) {
    const uint64_t *planes = (const uint64_t *)layer->weights + row * layer->groups * 2;
    __m512i first = _mm512_setzero_si512(), second = _mm512_setzero_si512();
    for (int g = 0; g < layer->groups; g++, planes += 32) {
        uint64_t word;
        if (patch == NULL) {
            word = in[g];
        } else {
            memcpy(&word, patch + layer->offsets[g], sizeof word);
        }
        __m512i bits = _mm512_set1_epi64((long long)word);
        first = count_avx512(planes, bits, first);
        second = count_avx512(planes + 16, bits, second);
    }
    __m512i negatives = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(first)),
                                           _mm512_cvtepi64_epi32(second), 1);
    return _mm512_sub_epi32(LOAD512(layer->bias + row), _mm512_slli_epi32(negatives, 1));
}

AVX512 static inline void count_layer_avx512(const net_layer *layer, const uint64_t *in,
                                             int32_t *sums, uint64_t *words) {
    __m512i total[4];
    int row = 0;
    for (; row + 64 <= layer->rows; row += 64) {
        for (int b = 0; b < 4; b++) {
            total[b] = count_block_avx512(layer, row + 16 * b, in, NULL);
        }
        put_avx512(layer, row, total, 4, sums, words);
    }
    for (; row < layer->rows; row += 16) {
        total[0] = count_block_avx512(layer, row, in, NULL);
        put_avx512(layer, row, total, 1, sums, words);
    }
}

AVX512 static inline __m512i activate_avx512(const net_layer *layer, __m512i sum) {
    const __m512i one = _mm512_set1_epi32(1);
    if (layer->activation == TVP_TERNARY_ACTIVATION) {
        __mmask16 above = _mm512_cmpgt_epi32_mask(sum, _mm512_set1_epi32(layer->threshold));
        __mmask16 below = _mm512_cmplt_epi32_mask(sum, _mm512_set1_epi32(-layer->threshold));
        return _mm512_mask_mov_epi32(_mm512_maskz_mov_epi32(above, one), below,
                                     _mm512_set1_epi32(-1));
    }
    if (layer->shift > 0) {
        const __m128i count = _mm_cvtsi32_si128(layer->shift);
        __m512i odd = _mm512_and_si512(_mm512_sra_epi32(sum, count), one);
        __m512i half_less = _mm512_set1_epi32((1 << (layer->shift - 1)) - 1);
        sum = _mm512_sra_epi32(_mm512_add_epi32(_mm512_add_epi32(sum, half_less), odd), count);
    } else {
        sum = _mm512_max_epi32(_mm512_min_epi32(sum, _mm512_set1_epi32(256)),
                               _mm512_set1_epi32(-256));
        sum = _mm512_sll_epi32(sum, _mm_cvtsi32_si128(layer->shift < -8 ? 8 : -layer->shift));
    }
    sum = _mm512_min_epi32(sum, _mm512_set1_epi32(layer->limit));
    return _mm512_max_epi32(sum, _mm512_set1_epi32(-layer->limit));
}

AVX512 static void activate_layer_avx512(const net_layer *layer, const int32_t *sums, uint8_t *x) {
    if (layer->own != NULL) {
        activate_layer_own(layer, sums, x);
        return;
    }
    for (int r = 0; r < layer->rows; r += 16) {
        __m128i bytes = _mm512_cvtepi32_epi8(activate_avx512(layer, LOAD512(sums + r)));
        bytes = _mm_xor_si128(bytes, _mm_set1_epi8(-128));
        _mm_storeu_si128((__m128i *)(void *)(x + r), bytes);
    }
}

AVX512 static void run_avx512(const kernels_net *net, const int8_t *q, int32_t *sums) {
    uint8_t x[PADDED_WIDTH];
    uint64_t words[2][PADDED_WIDTH / 64]; /* in turn: what a layer takes, and what it gives */
    const net_layer *layer = net->layers;
    offset_inputs(net, q, x);
    for (int i = 0; i < net->num_layers; i++, layer++) {
        int block = 0;
        if (layer->is_bits) {
            count_layer_avx512(layer, words[(i + 1) % 2], sums, words[i % 2]);
        } else {
            for (; block + 4 <= layer->blocks; block += 4) {
                sum_four_avx512(layer, block, x, sums, words[i % 2]);
            }
            for (; block < layer->blocks; block++) {
                sum_block_avx512(layer, block, x, sums, words[i % 2]);
            }
        }
        if (layer->activation != TVP_NONE && layer->activation != TVP_SIGN) {
            activate_layer_avx512(layer, sums, x);
        }
    }
}

AVX512 static inline __attribute__((always_inline)) void tile_avx512(
    const net_layer *layer, int block, const int width, const uint8_t *const *patches,
    const int count, int32_t *sums) {
    const size_t stride = (size_t)layer->groups * 64;
    const int8_t *w = (const int8_t *)layer->weights + (size_t)block * stride;
    __m512i total[8];
    for (int p = 0; p < count; p++) {
        for (int b = 0; b < width; b++) {
            total[p * width + b] = LOAD512(layer->bias + 16 * (block + b));
        }
    }
    for (int g = 0; g < layer->groups; g++, w += 64) {
        const int32_t offset = layer->offsets[g];
        for (int p = 0; p < count; p++) {
            __m512i values = _mm512_set1_epi32(load_group(patches[p] + offset));
            for (int b = 0; b < width; b++) {
                total[p * width + b] = _mm512_dpbusd_epi32(total[p * width + b], values,
                                                           LOAD512(w + (size_t)b * stride));
            }
        }
    }
    for (int p = 0; p < count; p++) {
        for (int b = 0; b < width; b++) {
            _mm512_storeu_si512(sums + p * layer->rows + 16 * (block + b), total[p * width + b]);
        }
    }
}

AVX512 static void sum_patches_avx512(const net_layer *layer, const uint8_t *const *patches,
                                      int count, int16_t *wide, int32_t *sums) {
    (void)wide;
    int block = 0;
    if (layer->is_bits) {
        for (int p = 0; p < count; p++) {
            for (int r = 0; r < layer->rows; r += 16) {
                __m512i total = count_block_avx512(layer, r, NULL, patches[p]);
                _mm512_storeu_si512(sums + p * layer->rows + r, total);
            }
        }
    } else if (count == PATCHES) {
        for (; block + 2 <= layer->blocks; block += 2) {
            tile_avx512(layer, block, 2, patches, PATCHES, sums);
        }
        for (; block < layer->blocks; block++) {
            tile_avx512(layer, block, 1, patches, PATCHES, sums);
        }
    } else {
        for (; block + 4 <= layer->blocks; block += 4) {
            for (int p = 0; p < count; p++) {
                tile_avx512(layer, block, 4, patches + p, 1, sums + p * layer->rows);
            }
        }
        for (; block < layer->blocks; block++) {
            for (int p = 0; p < count; p++) {
                tile_avx512(layer, block, 1, patches + p, 1, sums + p * layer->rows);
            }
        }
    }
}

#endif

/* ------------------------------------------------------------------------------------- choice */

static const kernel KERNELS[] = {
#if HAS_X86
    {"avx512", 16, 16, 64, 1, has_avx512, quantise_avx512, run_avx512, sum_patches_avx512,
     finish_avx2, pack_avx2, pack_floats_avx2, pack_q_avx2, look_up_avx2},
    {"avx2", 8, 32, 8, 0, has_avx2, quantise_avx2, run_avx2, sum_patches_avx2, finish_avx2,
     pack_avx2, pack_floats_avx2, pack_q_avx2, look_up_avx2},
#endif
    {"portable", 1, 0, 0, 1, always, quantise_plain, run_plain, sum_patches_plain, finish_plain,
     NULL, NULL, NULL, NULL},
};
#define NUM_KERNELS (sizeof KERNELS / sizeof KERNELS[0])

static const kernel *chosen = &KERNELS[NUM_KERNELS - 1];

int kernels_choose(const char *name) {
    for (size_t i = 0; i < NUM_KERNELS; i++) {
        if ((name == NULL || strcmp(name, KERNELS[i].name) == 0) && KERNELS[i].is_supported()) {
            chosen = &KERNELS[i];
            return 0;
        }
    }
    return -1;
}

const char *kernels_name(void) {
    return chosen->name;
}

/* -------------------------------------------------------------------------------- preparation */

/* Zeroed memory on a cache line of its own; the byte before it says how far it was moved. */
static void *allocate(size_t size) {
    uint8_t *raw = calloc(size + ALIGNMENT, 1);
    if (raw == NULL) {
        return NULL;
    }
    size_t moved = ALIGNMENT - (size_t)((uintptr_t)raw % ALIGNMENT);
    raw[moved - 1] = (uint8_t)moved;
    return raw + moved;
}

static void release(void *memory) {
    if (memory != NULL) {
        free((uint8_t *)memory - ((uint8_t *)memory)[-1]);
    }
}

/* What a bias of 1 adds: full scale times 2**shift, at most 2**limit, rounded half to even. */
static int32_t bias_size(int full_scale, int shift, int limit) {
    if (shift >= 0) {
        return full_scale << (shift < limit ? shift : limit);
    }
    return shift < -8 ? 0 : on_grid(full_scale, -shift, full_scale); /* full scale is below 2**7 */
}

/* Each run of inputs has groups of its own, of which the last may not be full. */
static int group_of(const net_layer *layer, int input, int size) {
    return input / layer->run * layer->run_groups + input % layer->run / size;
}

static int64_t place_of(const net_layer *layer, const kernel *k, int row, int input) {
    int64_t block = row / k->block, lane = row % k->block;
    if (k->block == 1) {
        return (int64_t)row * layer->groups * PLAIN_BLOCK + input;
    }
    int64_t group = group_of(layer, input, 4), in_group = input % layer->run % 4;
    return ((block * layer->groups + group) * k->block + lane) * 4 + in_group;
}

/* Planes: blocks of rows, then lanes of inputs, then one register of M and one of N for each part
   of the block: all rows of a block in AVX2, 8 in AVX-512. */
static void set_bit(const net_layer *layer, const kernel *k, int row, int input, int weight) {
    const int lane_bytes = k->lane / 8, size = k->lane == 8 ? 32 : 64, rows = size / lane_bytes;
    uint8_t *bytes = layer->weights;
    size_t step = (size_t)(row / k->bit_block) * (size_t)layer->groups;
    step += (size_t)group_of(layer, input, k->lane);
    size_t part = step * (size_t)(k->bit_block / rows) + (size_t)(row % k->bit_block / rows);
    size_t place = part * 2 * (size_t)size;
    int bit = input % layer->run % k->lane;
    place += (size_t)(row % rows * lane_bytes + bit / 8);
    bytes[place] |= (uint8_t)((weight != 0) << bit % 8);
    bytes[place + (size_t)size] |= (uint8_t)((weight < 0) << bit % 8);
}

static void place_weights(net_layer *layer, const kernel *k, const tvp_layer *from) {
    for (int r = 0; r < layer->out; r++) {
        const int8_t *row = from->weights + (size_t)r * (size_t)layer->inputs;
        int32_t sum = 0, nonzero = 0;
        for (int i = 0; i < layer->inputs; i++) {
            sum += row[i];
            nonzero += row[i] != 0;
            if (layer->is_bits) {
                set_bit(layer, k, r, i, row[i]);
            } else if (k->block == 1) {
                ((int16_t *)layer->weights)[place_of(layer, k, r, i)] = row[i];
            } else {
                ((int8_t *)layer->weights)[place_of(layer, k, r, i)] = row[i];
            }
        }
        if (layer->is_bits) {
            layer->bias[r] += nonzero;
        } else if (k->block > 1) {
            layer->bias[r] -= 128 * sum;
        }
    }
}

/* How many weights are not 0, biases apart. */
static size_t count_weights(const tvp_layer *from) {
    size_t count = 0, size = (size_t)from->rows * (size_t)from->inputs;
    for (size_t i = 0; i < size; i++) {
        count += from->weights[i] != 0;
    }
    return count;
}

/* Put the `count` weights that are not 0 one after another. */
static int place_sparse(net_layer *layer, const tvp_layer *from, size_t count) {
    int16_t *weights = layer->weights = allocate(count * sizeof *weights);
    layer->ends = allocate((size_t)layer->out * sizeof *layer->ends);
    layer->inputs_at = allocate(count * sizeof *layer->inputs_at);
    if (weights == NULL || layer->ends == NULL || layer->inputs_at == NULL) {
        return -1;
    }
    const int8_t *weight = from->weights;
    for (int r = 0, at = 0; r < layer->out; r++) {
        for (int i = 0; i < layer->inputs; i++, weight++) {
            if (*weight != 0) {
                weights[at] = *weight;
                layer->inputs_at[at++] = i;
            }
        }
        layer->ends[r] = at;
    }
    return 0;
}

static int exponent_of(const tvp_layer *layer, int row) {
    return layer->exponents != NULL ? layer->exponents[row] : layer->exponent;
}

/* The exponent of the layer, or the largest of its outputs: that of the logits. */
static int largest_exponent(const tvp_layer *layer) {
    int largest = exponent_of(layer, 0);
    for (int r = 1; r < layer->rows; r++) {
        int exponent = exponent_of(layer, r);
        largest = exponent > largest ? exponent : largest;
    }
    return largest;
}

static int threshold_of(int unit_bits) {
    return unit_bits >= 1 ? 1 << (unit_bits - 1) : 0;
}

/* Fill `own`: one unit is 2**(exponent + in_bits) of the sums, and 2**out_bits of what follows. */
static int prepare_own(net_layer *layer, const tvp_layer *from, int in_bits, int out_bits) {
    int largest = largest_exponent(from);
    layer->own = allocate((size_t)layer->rows * sizeof *layer->own);
    layer->functions = from->functions != NULL ? allocate((size_t)layer->rows) : NULL;
    if (layer->own == NULL || (from->functions != NULL && layer->functions == NULL)) {
        return -1;
    }
    if (from->functions != NULL) {
        memcpy(layer->functions, from->functions, (size_t)from->rows);
    }
    for (int r = 0; r < from->rows; r++) {
        int unit_bits = exponent_of(from, r) + in_bits;
        int is_gate = from->type == TVP_GATED && r >= from->out;
        layer->own[r] = is_gate                          ? unit_bits + 1 - out_bits
                        : layer->activation == TVP_NONE ? largest - exponent_of(from, r)
                        : layer->activation == TVP_TERNARY_ACTIVATION ? threshold_of(unit_bits)
                                                                      : unit_bits - out_bits;
    }
    return 0;
}

/* What the bias of a row adds. */
static int32_t bias_of(const net_layer *layer, const tvp_layer *from, int row) {
    size_t count = (size_t)from->rows * (size_t)from->inputs;
    if (!from->has_bias) {
        return 0;
    }
    int shift = exponent_of(from, row) - from->bias_exponent;
    int limit = tvp_bias_shift_limit(from);
    return bias_size(layer->full_scale, shift, limit) * from->weights[count + (size_t)row];
}

static int prepare_layer(net_layer *layer, const kernel *k, const tvp_layer *from,
                         int full_scale) {
    int group = layer->is_bits ? k->lane : k->block == 1 ? PLAIN_BLOCK : 4;
    int block = layer->is_bits ? k->bit_block : k->block;
    layer->inputs = from->inputs;
    layer->out = from->rows;
    layer->blocks = (from->rows + block - 1) / block;
    layer->rows = layer->blocks * block;
    layer->run = from->type == TVP_CONVOLUTION ? from->width * from->shape.channels : from->inputs;
    layer->run_groups = (layer->run + group - 1) / group;
    layer->groups = layer->inputs / layer->run * layer->run_groups;
    if (k->block == 1) { /* in plain C runs are put together */
        layer->groups = (layer->inputs + group - 1) / group;
    }
    size_t places = (size_t)layer->rows * (size_t)layer->groups * (size_t)group;
    /* bits: two planes; plain C: int16; else bytes */
    size_t size = layer->is_bits ? places / 4 : k->block == 1 ? 2 * places : places;
    layer->bias = allocate((size_t)layer->rows * sizeof *layer->bias);
    if (layer->bias == NULL) {
        return -1;
    }
    layer->full_scale = full_scale;
    for (int r = 0; r < from->rows; r++) {
        layer->bias[r] = bias_of(layer, from, r);
    }
    size_t count = count_weights(from);
    if (k->block == 1 && SPARSE * count <= (size_t)from->rows * (size_t)from->inputs) {
        return place_sparse(layer, from, count);
    }
    layer->weights = allocate(size);
    if (layer->weights == NULL) {
        return -1;
    }
    place_weights(layer, k, from);
    return 0;
}

/* Whether a layer counts bits: it takes signs, and in an image each place has whole bytes. */
static int counts_bits(const kernels_net *net, const tvp_layer *from) {
    return net->kernel->bit_block > 0 && from->before == TVP_SIGN && !tvp_is_cell(from) &&
           (from->type == TVP_DENSE || from->shape.channels % 8 == 0);
}

/* Fold exponents into biases and shifts, as `compile_integer` does. */
static int prepare_layers(kernels_net *net, const tvp_policy *p) {
    static const int BITS[] = {0, 7, 3, 0, 0}, LIMITS[] = {0, 127, 7, 1, 1};
    int bits = p->observation_bits - 1 - p->observation_shift, unit_bits = 0;
    int full_scale = p->observation_bits > 1 ? (1 << (p->observation_bits - 1)) - 1 : 1;
    for (int i = 0; i < p->num_layers; i++) {
        const tvp_layer *from = &p->layers[i];
        net_layer *layer = &net->layers[i];
        layer->type = from->type;
        if (from->type == TVP_MAX_POOL) {
            continue;
        }
        int inputs_full_scale = full_scale, in_bits = bits;
        unit_bits = largest_exponent(from) + bits;
        layer->is_bits = counts_bits(net, from);
        layer->activation = from->activation;
        layer->grid = bits = BITS[from->activation];
        full_scale = layer->limit = LIMITS[from->activation];
        layer->shift = unit_bits - bits;
        layer->gate_shift = unit_bits + 1 - bits;
        layer->threshold = threshold_of(unit_bits);
        if (prepare_layer(layer, net->kernel, from, inputs_full_scale) != 0) {
            return -1;
        }
        int needs_own = from->exponents != NULL && from->activation != TVP_SIGN;
        needs_own = needs_own || from->functions != NULL;
        if (needs_own && prepare_own(layer, from, in_bits, bits) != 0) {
            return -1;
        }
    }
    net->output_scale = power_of_two(-(unit_bits + p->output_shift));
    return 0;
}

/* Where a patch has its groups: one run after another, each in a row of the image. A bit is a byte
   in plain C, which has one offset for each run. */
static int prepare_offsets(const kernels_net *net, net_layer *layer) {
    int is_plain = net->kernel->block == 1, runs = layer->inputs / layer->run;
    int of_run = is_plain ? 1 : layer->run_groups;
    int step = layer->is_bits ? net->kernel->lane / 8 : 4;
    int row = (layer->shape.width + 2 * layer->padding) * layer->shape.channels;
    row = layer->is_bits ? row / 8 : row;
    layer->offsets = allocate((size_t)runs * (size_t)of_run * sizeof *layer->offsets);
    for (int i = 0; layer->offsets != NULL && i < runs * of_run; i++) {
        layer->offsets[i] = i / of_run * row + i % of_run * step;
    }
    return layer->offsets != NULL ? 0 : -1;
}

/* Whether the first layer is a convolution of bits that tables run: one shift for all outputs, runs
   that fit into a word, and tables that are small. */
static int has_table(const kernels_net *net, const tvp_layer *from) {
    const net_layer *layer = &net->layers[0];
    int chunks = (layer->run + TABLE_BITS - 1) / TABLE_BITS;
    size_t rows = (size_t)(from->out + 15) / 16 * 16;
    size_t size = (size_t)(from->height * chunks * TABLE_ENTRIES) * rows * sizeof(int16_t);
    return net->kernel->look_up != NULL && net->input_kind == TVP_BITS &&
           from->type == TVP_CONVOLUTION && from->padding == 0 && layer->own == NULL &&
           !tvp_has_few_bits(from) && layer->run <= TABLE_RUN && size <= MAX_TABLE;
}

/* Fill a table [height][chunks][entries][rows] with the sums of the inputs that are 1 in the number
   of an entry; the first chunk has the biases too. The last of a run takes no more bits than are
   its own. Sums stay below 16 * 56 + 2**8. */
static int prepare_table(net_layer *layer, const tvp_layer *from) {
    layer->chunks = (layer->run + TABLE_BITS - 1) / TABLE_BITS;
    layer->table_rows = (from->out + 15) / 16 * 16;
    size_t rows = (size_t)layer->table_rows, chunks = (size_t)(from->height * layer->chunks);
    layer->table = allocate(chunks * TABLE_ENTRIES * rows * sizeof *layer->table);
    if (layer->table == NULL) {
        return -1;
    }
    for (size_t i = 0; i < chunks * TABLE_ENTRIES; i++) {
        int chunk = (int)(i / TABLE_ENTRIES), entry = (int)(i % TABLE_ENTRIES);
        int start = chunk % layer->chunks * TABLE_BITS;
        int size = layer->run - start < TABLE_BITS ? layer->run - start : TABLE_BITS;
        for (int r = 0; r < from->out; r++) {
            const int8_t *weights = from->weights + (size_t)r * (size_t)from->inputs +
                                    chunk / layer->chunks * layer->run + start;
            int sum = chunk == 0 ? bias_of(layer, from, r) : 0;
            for (int bit = 0; bit < size; bit++) {
                sum += entry >> bit & 1 ? weights[bit] : 0;
            }
            layer->table[i * rows + (size_t)r] = (int16_t)sum;
        }
    }
    return 0;
}

/* What lies in front of a layer's inputs: a border, or what a memory is joined to, or bits. */
static size_t joined_size_of(const tvp_layer *from) {
    size_t height = (size_t)(from->shape.height + 2 * from->padding);
    size_t width = (size_t)(from->shape.width + 2 * from->padding);
    size_t image = height * width * (size_t)from->shape.channels;
    return ROUNDED_UP(image + (tvp_is_cell(from) ? (size_t)from->out : 0)) + SLACK;
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

/* Lay out the values of an observation, one layer after another, and then what all layers share. */
static int prepare_deep(kernels_net *net, const tvp_policy *p) {
    size_t at = 0, rows = 0, inputs = 0, memory = 0, joined = 0;
    size_t given = ROUNDED_UP(p->obs_size) + SLACK;
    for (int i = 0; i < p->num_layers; i++) {
        const tvp_layer *from = &p->layers[i];
        net_layer *layer = &net->layers[i];
        layer->in = at;
        layer->given = at += given;
        layer->added = from->skip > 0 ? net->layers[i - (from->skip - 1)].in : 0;
        layer->has_skip = from->skip > 0;
        layer->joins_patches =
            from->type == TVP_CONVOLUTION && layer->rows == from->out && layer->own == NULL;
        layer->memory = memory;
        layer->height = from->height;
        layer->width = from->width;
        layer->stride = from->stride;
        layer->padding = from->padding;
        layer->shape = from->shape;
        layer->after = from->shape_after;
        given = ROUNDED_UP(tvp_values(&from->shape_after)) + 2 * SLACK;
        memory += tvp_is_cell(from) ? (size_t)from->out : 0;
        rows = larger(rows, (size_t)layer->rows);
        inputs = larger(inputs, (size_t)layer->inputs);
        joined = larger(joined, joined_size_of(from));
        if (from->type != TVP_MAX_POOL && prepare_offsets(net, layer) != 0) {
            return -1;
        }
    }
    if (has_table(net, &p->layers[0]) && prepare_table(&net->layers[0], &p->layers[0]) != 0) {
        return -1;
    }
    net->values = at + given;
    net->deep_rows = net->values + joined > MAX_DEEP_VALUES ? 1 : PATCHES;
    net->joined = net->values * (size_t)net->deep_rows;
    net->joined_size = joined;
    net->wide = net->joined + joined * (size_t)net->deep_rows;
    net->sums = net->wide + ROUNDED_UP(2 * (inputs + PLAIN_BLOCK));
    net->logits = net->sums + PATCHES * ROUNDED_UP(4 * rows);
    net->q = net->logits + (size_t)net->deep_rows * ROUNDED_UP(4 * (size_t)p->num_outputs);
    net->total = net->q + ROUNDED_UP(p->obs_size) + SLACK;
    return 0;
}

static int prepare_inputs(kernels_net *net, const tvp_policy *p) {
    if (p->input_kind != TVP_F32) {
        return 0;
    }
    size_t padded = (size_t)(p->obs_size + 15) / 16 * 16;
    net->mean = allocate(padded * sizeof *net->mean);
    net->scale = allocate(padded * sizeof *net->scale);
    if (net->mean == NULL || net->scale == NULL) {
        return -1;
    }
    for (int i = 0; i < p->obs_size; i++) {
        net->mean[i] = p->mean[i];
        net->scale[i] = power_of_two(p->exponent[i]);
    }
    return 0;
}

static int prepare_range(kernels_net *net, const tvp_policy *p) {
    if (p->output_kind != TVP_CONTINUOUS) {
        return 0;
    }
    size_t count = (size_t)p->num_outputs;
    net->centre = allocate(4 * count * sizeof *net->centre);
    if (net->centre == NULL) {
        return -1;
    }
    net->half = net->centre + count;
    net->low = net->half + count;
    net->high = net->low + count;
    for (size_t i = 0; i < count; i++) {
        volatile float sum = p->low[i] + p->high[i], difference = p->high[i] - p->low[i];
        net->centre[i] = sum / 2.0f;
        net->half[i] = difference / 2.0f;
        net->low[i] = p->low[i];
        net->high[i] = p->high[i];
    }
    return 0;
}

static int is_plain_policy(const tvp_policy *p) {
    int is_plain = p->obs_size <= TVP_MAX_WIDTH;
    for (int i = 0; i < p->num_layers; i++) {
        is_plain = is_plain && p->layers[i].type == TVP_DENSE && p->layers[i].skip == 0;
    }
    return is_plain;
}

/* Whether a kernel runs integers of a few bits. AVX2 sums products of trits and signs in 16 bits,
   where those of larger weights do not fit, and AVX-512 has only bits after signs: then plain C runs
   them, in which compilers multiply pairs of int16 into int32. */
static int runs_few_bits(const kernel *k, const tvp_policy *p) {
    for (int i = 0; i < p->num_layers; i++) {
        int is_wide = k->is_wide && (k->bit_block == 0 || p->layers[i].before != TVP_SIGN);
        if (tvp_has_few_bits(&p->layers[i]) && !is_wide) {
            return 0;
        }
    }
    return 1;
}

kernels_net *kernels_prepare(const tvp_policy *policy) {
    kernels_net *net = policy->is_integer ? calloc(1, sizeof *net) : NULL;
    if (net == NULL) {
        return NULL;
    }
    net->kernel = runs_few_bits(chosen, policy) ? chosen : &KERNELS[NUM_KERNELS - 1];
    net->input_kind = policy->input_kind;
    net->input_shift = policy->input_kind == TVP_BITS ? 0 : 8 - policy->observation_bits;
    net->obs_size = policy->obs_size;
    net->num_outputs = policy->num_outputs;
    net->num_layers = policy->num_layers;
    net->memory_size = policy->memory_size;
    net->is_plain = is_plain_policy(policy);
    if (prepare_layers(net, policy) || prepare_inputs(net, policy) || prepare_range(net, policy) ||
        (!net->is_plain && prepare_deep(net, policy))) {
        kernels_free(net);
        return NULL;
    }
    return net;
}

void kernels_free(kernels_net *net) {
    if (net == NULL) {
        return;
    }
    for (int i = 0; i < TVP_MAX_LAYERS; i++) {
        release(net->layers[i].table);
        release(net->layers[i].offsets);
        release(net->layers[i].own);
        release(net->layers[i].functions);
        release(net->layers[i].bias);
        release(net->layers[i].weights);
        release(net->layers[i].ends);
        release(net->layers[i].inputs_at);
    }
    release(net->mean);
    release(net->scale);
    release(net->centre); /* and with it half, low and high */
    free(net);
}

/* --------------------------------------------------------------------------------------- deep */

/* A deep policy runs layer by layer on up to PATCHES observations. Values lie as bytes of value +
   128, images as [height][width][channels], each layer's in a place of its own, so that skips find
   them. A convolution reads its patches where they are: a run of `width * channels` bytes in each
   of `height` rows, so the matrix has these runs padded to whole groups. A dense layer has one
   patch for each observation. Before a layer that counts bits its values are packed. */

typedef struct {
    const kernels_net *net;
    uint8_t *base;
    int8_t *memory;
    int count; /* of observations */
} deep_call;

/* Patches that wait for their sums, and where they belong. */
typedef struct {
    const uint8_t *patches[PATCHES];
    int observation[PATCHES], place[PATCHES], count;
} waiting;

static uint8_t *values_at(const deep_call *call, size_t at, int observation) {
    return call->base + (size_t)observation * call->net->values + at;
}

static int8_t *memory_at(const deep_call *call, const net_layer *layer, int observation) {
    return call->memory + (size_t)observation * (size_t)call->net->memory_size + layer->memory;
}

static void pool(const net_layer *layer, const uint8_t *from, uint8_t *to) {
    const int channels = layer->shape.channels;
    for (int y = 0; y < layer->after.height; y++) {
        for (int x = 0; x < layer->after.width; x++, to += channels) {
            int top = y * layer->stride - layer->padding, left = x * layer->stride - layer->padding;
            memset(to, 0, (size_t)channels); /* below every value */
            for (int i = top < 0 ? 0 : top; i < top + layer->height && i < layer->shape.height; i++) {
                for (int j = left < 0 ? 0 : left;
                     j < left + layer->width && j < layer->shape.width; j++) {
                    const uint8_t *place =
                        from + ((size_t)i * (size_t)layer->shape.width + (size_t)j) * (size_t)channels;
                    for (int c = 0; c < channels; c++) {
                        to[c] = place[c] > to[c] ? place[c] : to[c];
                    }
                }
            }
        }
    }
}

/* Copy an image into the middle of one with a border of zeros. */
static void add_border(const net_layer *layer, const uint8_t *from, uint8_t *to) {
    const size_t channels = (size_t)layer->shape.channels, pad = (size_t)layer->padding;
    const size_t inner = (size_t)layer->shape.width * channels, outer = inner + 2 * pad * channels;
    memset(to, 128, ((size_t)layer->shape.height + 2 * pad) * outer);
    for (int y = 0; y < layer->shape.height; y++) {
        memcpy(to + (pad + (size_t)y) * outer + pad * channels, from + (size_t)y * inner, inner);
    }
}

/* Return what the patches of a layer are taken from. */
static const uint8_t *inputs_at(const deep_call *call, const net_layer *layer, int observation) {
    const kernels_net *net = call->net;
    const uint8_t *values = values_at(call, layer->in, observation);
    uint8_t *joined = call->base + net->joined + (size_t)observation * net->joined_size;
    int size = tvp_values(&layer->shape);
    if (layer->is_bits) {
        net->kernel->pack(values, size, joined);
        return joined;
    }
    if (layer->padding > 0) {
        add_border(layer, values, joined);
        return joined;
    }
    if (layer->type == TVP_ELMAN || layer->type == TVP_GATED) {
        const int8_t *memory = memory_at(call, layer, observation);
        memcpy(joined, values, (size_t)size);
        for (int i = 0; i < layer->after.channels; i++) {
            joined[size + i] = (uint8_t)(memory[i] + 128);
        }
        return joined;
    }
    return values;
}

/* Move the memory towards its candidates, by as many parts of a unit as the gates say. */
static void finish_gated(const net_layer *layer, const int32_t *sums, int8_t *memory, uint8_t *to) {
    const int size = layer->after.channels, bits = layer->grid, unit = 1 << bits;
    for (int r = 0; r < size; r++) {
        int32_t wanted = layer->own != NULL ? activate_own(layer, r, sums[r])
                                            : activate(layer, sums[r]);
        int32_t change = wanted - memory[r], gate = sums[size + r];
        if (bits == 0) {
            change = gate > 0 ? change : 0;
        } else {
            int shift = layer->own != NULL ? layer->own[size + r] : layer->gate_shift;
            gate = on_grid(gate, shift, unit) + unit / 2;
            gate = gate < 0 ? 0 : gate > unit ? unit : gate;
            change = rounded(gate * change, bits);
        }
        memory[r] = (int8_t)(memory[r] + change);
        to[r] = (uint8_t)(memory[r] + 128);
    }
}

/* Make values of the sums of one patch. */
static void finish_patch(const deep_call *call, const net_layer *layer, int observation, int place,
                         const int32_t *sums) {
    const kernels_net *net = call->net;
    size_t offset = (size_t)place * (size_t)layer->after.channels;
    uint8_t *to = values_at(call, layer->given, observation) + offset;
    if (layer->activation == TVP_NONE) {
        uint8_t *logits = call->base + net->logits;
        size_t size = (size_t)net->num_outputs * sizeof *sums;
        memcpy(logits + (size_t)observation * size, sums, size);
    } else if (layer->type == TVP_GATED) {
        finish_gated(layer, sums, memory_at(call, layer, observation), to);
    } else {
        const uint8_t *added =
            layer->has_skip ? values_at(call, layer->added, observation) + offset : NULL;
        net->kernel->finish(layer, sums, added, layer->rows, to);
    }
    if (layer->type == TVP_ELMAN) {
        int8_t *memory = memory_at(call, layer, observation);
        for (int i = 0; i < layer->after.channels; i++) {
            memory[i] = (int8_t)(to[i] - 128);
        }
    }
}

/* The same of patches whose values lie one after another, as their sums do. */
static void finish_side_by_side(const deep_call *call, const net_layer *layer, waiting *list,
                                const int32_t *sums) {
    int observation = list->observation[0];
    size_t offset = (size_t)list->place[0] * (size_t)layer->after.channels;
    const uint8_t *added =
        layer->has_skip ? values_at(call, layer->added, observation) + offset : NULL;
    call->net->kernel->finish(layer, sums, added, PATCHES * layer->rows,
                              values_at(call, layer->given, observation) + offset);
    list->count = 0;
}

static void sum_waiting(const deep_call *call, const net_layer *layer, waiting *list) {
    const kernels_net *net = call->net;
    int32_t *sums = (int32_t *)(void *)(call->base + net->sums);
    int16_t *wide = (int16_t *)(void *)(call->base + net->wide);
    net->kernel->sum(layer, list->patches, list->count, wide, sums);
    if (layer->joins_patches && list->count == PATCHES &&
        list->observation[0] == list->observation[PATCHES - 1]) {
        finish_side_by_side(call, layer, list, sums);
        return;
    }
    for (int i = 0; i < list->count; i++) {
        finish_patch(call, layer, list->observation[i], list->place[i], sums + i * layer->rows);
    }
    list->count = 0;
}

static void run_layer(const deep_call *call, const net_layer *layer) {
    waiting list = {{NULL}, {0}, {0}, 0};
    int is_image = layer->type == TVP_CONVOLUTION;
    int bits = layer->is_bits ? 8 : 1;
    int across = is_image ? layer->stride * layer->shape.channels / bits : 0;
    int row = (layer->shape.width + 2 * layer->padding) * layer->shape.channels / bits;
    int down = is_image ? layer->stride * row : 0;
    for (int b = 0; b < call->count; b++) {
        if (layer->type == TVP_MAX_POOL) {
            pool(layer, values_at(call, layer->in, b), values_at(call, layer->given, b));
            continue;
        }
        const uint8_t *inputs = inputs_at(call, layer, b);
        for (int y = 0; y < layer->after.height; y++) {
            for (int x = 0; x < layer->after.width; x++) {
                list.patches[list.count] = inputs + y * down + x * across;
                list.observation[list.count] = b;
                list.place[list.count++] = y * layer->after.width + x;
                if (list.count == PATCHES) {
                    sum_waiting(call, layer, &list);
                }
            }
        }
    }
    if (list.count > 0) {
        sum_waiting(call, layer, &list);
    }
}

/* The first layer's inputs, as bytes of value + 128. */
static void put_inputs(const deep_call *call, const int8_t *q, int observation) {
    uint8_t *to = values_at(call, 0, observation);
    const int shift = call->net->input_shift, count = call->net->obs_size;
    for (int i = 0; shift == 0 && i < count; i++) {
        to[i] = (uint8_t)((uint8_t)q[i] ^ 128);
    }
    for (int i = 0; shift > 0 && i < count; i++) {
        to[i] = (uint8_t)((q[i] >> shift) + 128);
    }
}

/* ------------------------------------------------------------------------------------- results */

/* The place of the largest logit, the lowest one of equals. */
static int best_of(const int32_t *logits, int count) {
    int best = 0;
    for (int i = 1; i < count; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return best;
}

static void actions_of(const kernels_net *net, const int32_t *logits, float *action) {
    for (int i = 0; i < net->num_outputs; i++) {
        float unit = (float)logits[i] * net->output_scale;
        unit = unit < -1.0f ? -1.0f : unit > 1.0f ? 1.0f : unit;
        volatile float moved = unit * net->half[i]; /* volatile: no fused multiply-add */
        float value = net->centre[i] + moved;
        value = value < net->low[i] ? net->low[i] : value;
        action[i] = value > net->high[i] ? net->high[i] : value;
    }
}

/* Give logits of outputs with exponents the largest of these: below 2**28 of inputs within the
   grid, and as in NumPy modulo 2**32 of others. */
static void align(const kernels_net *net, int32_t *logits) {
    const int32_t *own = net->layers[net->num_layers - 1].own;
    for (int r = 0; own != NULL && r < net->num_outputs; r++) {
        logits[r] = (int32_t)((uint32_t)logits[r] << own[r]);
    }
}

static int takes_q(kernels_task task) {
    return task >= KERNELS_LOGITS_Q;
}

/* The first layer of an observation, by its table. */
static void look_up(const deep_call *call, kernels_task task, const void *from, int observation) {
    const kernels_net *net = call->net;
    const size_t start = (size_t)observation * (size_t)net->obs_size;
    uint8_t *bits = call->base + net->joined;
    if (takes_q(task)) {
        net->kernel->pack_q((const int8_t *)from + start, net->obs_size, bits);
    } else {
        net->kernel->pack_floats((const float *)from + start, net->obs_size, bits);
    }
    net->kernel->look_up(net->layers, bits, values_at(call, net->layers[0].given, observation));
}

static void run_deep(deep_call *call, kernels_task task, const void *from, void *to) {
    const kernels_net *net = call->net;
    const size_t inputs = (size_t)net->obs_size, outputs = (size_t)net->num_outputs;
    int8_t *padded = (int8_t *)call->base + net->q;
    /* Integers of whoever asks for logits may be others than 0 and 1. */
    int looks_up =
        net->layers[0].table != NULL && task != KERNELS_LOGITS_Q && task != KERNELS_QUANTISE;
    for (int b = 0; b < call->count; b++) {
        const int8_t *q = padded;
        if (looks_up) {
            look_up(call, task, from, b);
            continue;
        }
        if (takes_q(task)) {
            q = (const int8_t *)from + (size_t)b * inputs;
        } else {
            net->kernel->quantise(net, (const float *)from + (size_t)b * inputs, padded);
        }
        if (task == KERNELS_QUANTISE) {
            memcpy((int8_t *)to + (size_t)b * inputs, q, inputs);
        }
        put_inputs(call, q, b);
    }
    for (int i = looks_up; i < net->num_layers && task != KERNELS_QUANTISE; i++) {
        run_layer(call, &net->layers[i]);
    }
    for (int b = 0; b < call->count && task != KERNELS_QUANTISE; b++) {
        int32_t *logits = (int32_t *)(void *)(call->base + net->logits) + (size_t)b * outputs;
        align(net, logits);
        if (task == KERNELS_ACT || task == KERNELS_ACT_Q) {
            ((int32_t *)to)[b] = best_of(logits, net->num_outputs);
        } else if (task == KERNELS_ACT_CONTINUOUS || task == KERNELS_ACT_CONTINUOUS_Q) {
            actions_of(net, logits, (float *)to + (size_t)b * outputs);
        } else {
            memcpy((int32_t *)to + (size_t)b * outputs, logits, outputs * sizeof *logits);
        }
    }
}

/* -------------------------------------------------------------------------------------- calls */

/* What lies past the inputs meets weights of 0, yet is read: it must be there and be defined. */
static void clear_tail(const kernels_net *net, int8_t *q) {
    memset(q + net->obs_size, 0, 16);
}

static void run_plain_net(const kernels_net *net, const int8_t *q, int32_t *sums) {
    net->kernel->run(net, q, sums);
    align(net, sums);
}

static void run_floats(const kernels_net *net, const float *obs, int32_t *sums) {
    int8_t q[PADDED_WIDTH];
    clear_tail(net, q);
    net->kernel->quantise(net, obs, q);
    run_plain_net(net, q, sums);
}

static void run_integers(const kernels_net *net, const int8_t *q, int32_t *sums) {
    int8_t padded[PADDED_WIDTH];
    memcpy(padded, q, (size_t)net->obs_size);
    clear_tail(net, padded);
    run_plain_net(net, padded, sums);
}

void kernels_act(const kernels_net *net, const float *obs, int32_t *action) {
    int32_t sums[PADDED_WIDTH];
    run_floats(net, obs, sums);
    *action = best_of(sums, net->num_outputs);
}

static void act_continuous_row(const kernels_net *net, const float *obs, float *action) {
    int32_t sums[PADDED_WIDTH];
    run_floats(net, obs, sums);
    actions_of(net, sums, action);
}

static void quantise_row(const kernels_net *net, const float *obs, int8_t *q) {
    int8_t padded[PADDED_WIDTH];
    net->kernel->quantise(net, obs, padded);
    memcpy(q, padded, (size_t)net->obs_size);
}

static void act_q_row(const kernels_net *net, const int8_t *q, int32_t *action) {
    int32_t sums[PADDED_WIDTH];
    run_integers(net, q, sums);
    *action = best_of(sums, net->num_outputs);
}

static void act_continuous_q_row(const kernels_net *net, const int8_t *q, float *action) {
    int32_t sums[PADDED_WIDTH];
    run_integers(net, q, sums);
    actions_of(net, sums, action);
}

static void logits_q_row(const kernels_net *net, const int8_t *q, int32_t *logits) {
    int32_t sums[PADDED_WIDTH];
    run_integers(net, q, sums);
    memcpy(logits, sums, (size_t)net->num_outputs * sizeof *logits);
}

static void logits_row(const kernels_net *net, const float *obs, int32_t *logits) {
    int32_t sums[PADDED_WIDTH];
    run_floats(net, obs, sums);
    memcpy(logits, sums, (size_t)net->num_outputs * sizeof *logits);
}

static void run_plain_row(const kernels_net *net, kernels_task task, const void *from, void *to) {
    switch (task) {
    case KERNELS_ACT: kernels_act(net, from, to); break;
    case KERNELS_ACT_CONTINUOUS: act_continuous_row(net, from, to); break;
    case KERNELS_LOGITS: logits_row(net, from, to); break;
    case KERNELS_LOGITS_Q: logits_q_row(net, from, to); break;
    case KERNELS_QUANTISE: quantise_row(net, from, to); break;
    case KERNELS_ACT_Q: act_q_row(net, from, to); break;
    case KERNELS_ACT_CONTINUOUS_Q: act_continuous_q_row(net, from, to); break;
    }
}

/* Bytes of a row of what a task reads, and of what it writes. */
static size_t row_read(const kernels_net *net, kernels_task task) {
    return (size_t)net->obs_size * (takes_q(task) ? 1 : sizeof(float));
}

static size_t row_written(const kernels_net *net, kernels_task task) {
    if (task == KERNELS_QUANTISE) {
        return (size_t)net->obs_size;
    }
    int is_one = task == KERNELS_ACT || task == KERNELS_ACT_Q;
    return sizeof(int32_t) * (is_one ? 1 : (size_t)net->num_outputs);
}

int kernels_is_plain(const kernels_net *net) {
    return net->is_plain;
}

kernels_work *kernels_begin(const kernels_net *net) {
    return allocate(net->total + 1);
}

void kernels_end(kernels_work *work) {
    release(work);
}

void kernels_reset(const kernels_net *net, int8_t *memory) {
    for (int i = 0; i < net->num_layers; i++) {
        const net_layer *layer = &net->layers[i];
        if (layer->type == TVP_ELMAN || layer->type == TVP_GATED) {
            memset(memory + layer->memory, layer->activation == TVP_SIGN,
                   (size_t)layer->after.channels);
        }
    }
}

void kernels_run(const kernels_net *net, kernels_work *work, kernels_task task, const void *from,
                 int8_t *memory, void *to, size_t rows) {
    const size_t read = row_read(net, task), written = row_written(net, task);
    const size_t at_once = net->is_plain ? 1 : (size_t)net->deep_rows;
    for (size_t i = 0; i < rows; i += at_once) {
        const uint8_t *source = (const uint8_t *)from + i * read;
        uint8_t *target = (uint8_t *)to + i * written;
        if (net->is_plain) {
            run_plain_row(net, task, source, target);
            continue;
        }
        int8_t *own = memory != NULL ? memory + i * (size_t)net->memory_size : NULL;
        int count = (int)(rows - i < at_once ? rows - i : at_once);
        deep_call call = {net, (uint8_t *)work, own, count};
        run_deep(&call, task, source, target);
    }
}
