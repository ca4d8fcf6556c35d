/* ---------------------------------------------------------------------------------- runtime */
#ifndef TERNEVO_C_RUNTIME
#define TERNEVO_C_RUNTIME 1

/* All kernels compute the same integers. Choose one with -DTERNEVO_KERNEL=TERNEVO_AVX2, or leave
   the choice to what the compiler was told about the processor (-march=native). */
#define TERNEVO_PORTABLE 1 /* C99: rows of 64 weights, counted in a word */
#define TERNEVO_VERTICAL 2 /* C99: 32 outputs in a word; for cores that cannot count bits */
#define TERNEVO_AVX2 3
#define TERNEVO_AVX512 4 /* with BW, VL, VNNI and BITALG */
#define TERNEVO_NEON 5   /* AArch64 */

#ifndef TERNEVO_KERNEL
#if defined(__x86_64__) && defined(__AVX512BW__) && defined(__AVX512VNNI__) \
    && defined(__AVX512BITALG__) && defined(__AVX512VL__)
#define TERNEVO_KERNEL TERNEVO_AVX512
#elif (defined(__x86_64__) || defined(_M_X64)) && defined(__AVX2__)
#define TERNEVO_KERNEL TERNEVO_AVX2
#elif defined(__aarch64__) && defined(__ARM_NEON)
#define TERNEVO_KERNEL TERNEVO_NEON
#elif UINTPTR_MAX > 0xffffffffu || defined(__wasm__)
#define TERNEVO_KERNEL TERNEVO_PORTABLE
#else
#define TERNEVO_KERNEL TERNEVO_VERTICAL
#endif
#endif

/* 1: small layers are written out as additions, unless AVX finds tables faster.
   0: all weights are in tables. */
#ifndef TERNEVO_GENERATED
#define TERNEVO_GENERATED 1
#endif

#if TERNEVO_KERNEL == TERNEVO_AVX2 || TERNEVO_KERNEL == TERNEVO_AVX512
#define TERNEVO_X86 1
#if defined(__GNUC__) && !defined(__clang__)
/* g++ warns of what intrinsics leave undefined on purpose. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#include <immintrin.h>
#endif
#else
#define TERNEVO_X86 0
#endif
#if TERNEVO_KERNEL == TERNEVO_NEON
#include <arm_neon.h>
#endif
#define TERNEVO_SIMD (TERNEVO_X86 || TERNEVO_KERNEL == TERNEVO_NEON)

#if defined(__GNUC__)
#define TERNEVO_FN static __attribute__((unused))
#define TERNEVO_INLINE static inline __attribute__((unused, always_inline))
#define TERNEVO_UNUSED __attribute__((unused))
#define TERNEVO_ALIGNED __attribute__((aligned(64)))
#elif defined(_MSC_VER)
#define TERNEVO_FN static
#define TERNEVO_INLINE static __forceinline
#define TERNEVO_UNUSED
#define TERNEVO_ALIGNED __declspec(align(64))
#else
#define TERNEVO_FN static
#define TERNEVO_INLINE static inline
#define TERNEVO_UNUSED
#define TERNEVO_ALIGNED
#endif

/* Where memory is what counts: one function instead of many copies. */
#if defined(__AVR__) || defined(__OPTIMIZE_SIZE__)
#define TERNEVO_ROUND TERNEVO_FN
#else
#define TERNEVO_ROUND TERNEVO_INLINE
#endif

/* Short loops of vector instructions cost more than their bodies. */
#if defined(__clang__)
#define TERNEVO_UNROLL _Pragma("clang loop unroll_count(8)")
#elif defined(__GNUC__) && __GNUC__ >= 8
#define TERNEVO_UNROLL _Pragma("GCC unroll 8")
#else
#define TERNEVO_UNROLL
#endif

/* An AVR copies constants to RAM unless they are marked, and reads marked ones by instructions of
   their own. */
#if defined(__AVR__)
#if TERNEVO_KERNEL != TERNEVO_VERTICAL
#error "ternevo: an AVR runs TERNEVO_VERTICAL"
#endif
#include <avr/pgmspace.h>
#define TERNEVO_CONST static const PROGMEM TERNEVO_UNUSED
#define TERNEVO_U8(p) pgm_read_byte(p)
#define TERNEVO_U16(p) pgm_read_word(p)
#define TERNEVO_U32(p) pgm_read_dword(p)
#define TERNEVO_F32(p) pgm_read_float(p)
#else
#if TERNEVO_SIMD
#define TERNEVO_CONST static const TERNEVO_UNUSED TERNEVO_ALIGNED
#else
#define TERNEVO_CONST static const TERNEVO_UNUSED
#endif
#define TERNEVO_U8(p) (*(p))
#define TERNEVO_U16(p) (*(p))
#define TERNEVO_U32(p) (*(p))
#define TERNEVO_F32(p) (*(p))
#endif

/* Signs of a layer are bits, 1 where a value is negative, in words of the kernel. */
#if TERNEVO_SIMD
typedef uint8_t ternevo_word;
#define TERNEVO_WORD_BITS 8
#elif TERNEVO_KERNEL == TERNEVO_PORTABLE
typedef uint64_t ternevo_word;
#define TERNEVO_WORD_BITS 64
#else
typedef uint32_t ternevo_word;
#define TERNEVO_WORD_BITS 32
#endif
#if TERNEVO_SIMD /* buffers are filled in whole vectors */
#define TERNEVO_PADDED(n) (((n) + 63) / 64 * 64)
#define TERNEVO_WORDS(n) (TERNEVO_PADDED(n) / 8)
#else
#define TERNEVO_PADDED(n) (((n) + 7) / 8 * 8)
#define TERNEVO_WORDS(n) (((n) + TERNEVO_WORD_BITS - 1) / TERNEVO_WORD_BITS)
#endif

/* Small integers of a layer are bytes: plain ones, or 128 more where instructions multiply
   unsigned by signed bytes. */
#if TERNEVO_X86
typedef uint8_t ternevo_byte;
#else
typedef int8_t ternevo_byte;
#endif

/* `sum * 2**-shift`, rounded half to even, clipped. Clipping first keeps shifts to the left small.
   A shift of a negative number to the right must be arithmetic, as it is everywhere. */
TERNEVO_INLINE int32_t ternevo_round(int32_t sum, int shift, int32_t limit) {
  if (shift > 0) {
    sum = (sum + (((int32_t)1 << (shift - 1)) - 1) + ((sum >> shift) & 1)) >> shift;
  } else {
    sum = sum > limit ? limit : sum < -limit ? -limit : sum;
    sum *= (int32_t)1 << -shift;
  }
  return sum > limit ? limit : sum < -limit ? -limit : sum;
}

/* The same of sums, and of what rounding adds to them, that fit into an int. */
TERNEVO_ROUND int ternevo_round_int(int sum, int shift, int limit) {
  if (shift > 0) {
    sum = (sum + ((1 << (shift - 1)) - 1) + ((sum >> shift) & 1)) >> shift;
  } else {
    sum = sum > limit ? limit : sum < -limit ? -limit : sum;
    sum *= 1 << -shift;
  }
  return sum > limit ? limit : sum < -limit ? -limit : sum;
}

/* The place of the largest, the lowest one of equals. */
TERNEVO_INLINE int ternevo_argmax_wide(const int32_t *logits, int n) {
  int i, best = 0;
  for (i = 1; i < n; i++) {
    if (logits[i] > logits[best]) best = i;
  }
  return best;
}

/* The same where |logits| < 2**20. */
TERNEVO_INLINE int ternevo_argmax(const int32_t *logits, int n) {
#if TERNEVO_X86
  if (n <= 1024) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i best = _mm256_set1_epi32((-2147483647 - 1));
    __m128i four;
    int i;
    for (i = 0; i < n; i += 8) {
      const __m256i place = _mm256_add_epi32(lanes, _mm256_set1_epi32(i));
      const __m256i there = _mm256_cmpgt_epi32(_mm256_set1_epi32(n), place);
      __m256i key = _mm256_slli_epi32(_mm256_maskload_epi32((const int *)logits + i, there), 10);
      key = _mm256_add_epi32(key, _mm256_sub_epi32(_mm256_set1_epi32(1023), place));
      key = _mm256_blendv_epi8(_mm256_set1_epi32((-2147483647 - 1)), key, there);
      best = _mm256_max_epi32(best, key);
    }
    four = _mm_max_epi32(_mm256_castsi256_si128(best), _mm256_extracti128_si256(best, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1));
    return 1023 - (_mm_cvtsi128_si32(four) & 1023);
  }
#elif TERNEVO_KERNEL != TERNEVO_VERTICAL
  if (n <= 1024) { /* without branches, which a processor would mostly guess wrong */
    int32_t best = logits[0] * 1024 + 1023;
    int i;
    for (i = 1; i < n; i++) {
      const int32_t key = logits[i] * 1024 + (1023 - i);
      best = key > best ? key : best;
    }
    return 1023 - (int)(best & 1023);
  }
#endif
  return ternevo_argmax_wide(logits, n);
}

/* ------------------------------------------------------------------------ the observation */

#ifndef TERNEVO_NO_FLOAT
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(_M_FP_FAST) \
    || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0)
#error "ternevo: -ffast-math changes how floats are rounded; leave it off, or use TERNEVO_NO_FLOAT"
#endif
/* Where floats are computed with more digits (x87), a store cuts them. */
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ == 0
#define TERNEVO_FLOAT float
#elif defined(_MSC_VER) && defined(_M_X64)
#define TERNEVO_FLOAT float
#else
#define TERNEVO_FLOAT volatile float
#endif

/* 1: floats are computed in software, so the quantiser computes with the bits of one. */
#ifndef TERNEVO_SOFT_FLOAT
#if defined(__AVR__) || (defined(__arm__) && !defined(__ARM_FP)) \
    || (defined(__riscv) && !defined(__riscv_flen))
#define TERNEVO_SOFT_FLOAT 1
#else
#define TERNEVO_SOFT_FLOAT 0
#endif
#endif

#if TERNEVO_SOFT_FLOAT && !TERNEVO_X86
/* One subtraction of floats; the rest is done with its bits. They stand for
   (top + low / 2**16) * 2**-shift, where top has 8 bits, the first of them 1. */
TERNEVO_FN int8_t ternevo_quantise_soft(float x, float mean, int8_t exponent) {
  union {
    float value;
    uint32_t bits;
  } v;
  uint8_t biased, top, q, rest;
  uint16_t low;
  int shift;
  v.value = x - mean;
  biased = (uint8_t)(v.bits >> 23);
  top = (uint8_t)((v.bits >> 16) | 128);
  low = (uint16_t)v.bits;
  if (biased == 255 && (top != 128 || low)) return 0; /* not a number */
  shift = 134 - biased - exponent;
  if (shift > 8) return 0; /* below a half; a zero and subnormal numbers are there too */
  q = 127;
  if (shift > 0) { /* else at least 128 */
    q = (uint8_t)(top >> shift);
    rest = (uint8_t)(top << (8 - shift));
    q = (uint8_t)(q + (rest > 128 || (rest == 128 && (low || (q & 1)))));
    if (q > 127) q = 127;
  }
  return (int8_t)((v.bits >> 31) ? -q : q);
}

TERNEVO_INLINE void ternevo_quantise(const float *obs, const float *mean, const int8_t *exponent,
                                     int n, int8_t *q) {
  int i;
  for (i = 0; i < n; i++) {
    q[i] = ternevo_quantise_soft(obs[i], TERNEVO_F32(mean + i), (int8_t)TERNEVO_U8(exponent + i));
  }
}
#else
TERNEVO_INLINE int8_t ternevo_quantise_one(float x, float mean, float scale) {
  TERNEVO_FLOAT v = x - mean;
  v = v * scale; /* exact: a power of two */
  v = v == v ? v : 0.0f;
  v = v > 127.0f ? 127.0f : v;
  v = v < -127.0f ? -127.0f : v;
  v = v + 12582912.0f; /* 1.5 * 2**23: no digit is left below 1, so this rounds half to even */
  v = v - 12582912.0f;
  return (int8_t)v;
}

#if TERNEVO_KERNEL == TERNEVO_AVX512
/* Tables are padded to whole vectors, and so is q. As the product is exact, the instruction that
   multiplies can also add what rounds. Clipping comes after; the lowest byte is the integer. */
TERNEVO_INLINE void ternevo_quantise(const float *obs, const float *mean, const float *scale,
                                     int n, int8_t *q) {
  const __m512 zero = _mm512_set1_ps(12582912.0f); /* 0x4b400000 */
  int i;
  for (i = 0; i < n; i += 16) {
    const __mmask16 there = (__mmask16)(n - i >= 16 ? 0xffff : (1u << (n - i)) - 1);
    __m512 v = _mm512_maskz_loadu_ps(there, obs + i);
    __mmask16 number;
    v = _mm512_sub_ps(v, _mm512_loadu_ps(mean + i));
    number = _mm512_cmp_ps_mask(v, v, _CMP_ORD_Q);
    v = _mm512_fmadd_ps(v, _mm512_loadu_ps(scale + i), zero);
    v = _mm512_min_ps(v, _mm512_set1_ps(12582912.0f + 127.0f));
    v = _mm512_max_ps(v, _mm512_set1_ps(12582912.0f - 127.0f));
    _mm_storeu_si128((__m128i *)(void *)(q + i),
                     _mm512_maskz_cvtepi32_epi8(number, _mm512_castps_si512(v)));
  }
}
#elif TERNEVO_KERNEL == TERNEVO_AVX2
TERNEVO_INLINE __m256i ternevo_quantise_8(const float *obs, const float *mean, const float *scale,
                                          int left) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  __m256 v = left >= 8 ? _mm256_loadu_ps(obs)
                       : _mm256_maskload_ps(
                           obs, _mm256_cmpgt_epi32(_mm256_set1_epi32(left), lanes));
  v = _mm256_mul_ps(_mm256_sub_ps(v, _mm256_loadu_ps(mean)), _mm256_loadu_ps(scale));
  v = _mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q));
  v = _mm256_max_ps(_mm256_min_ps(v, _mm256_set1_ps(127.0f)), _mm256_set1_ps(-127.0f));
  return _mm256_cvtps_epi32(_mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

TERNEVO_INLINE void ternevo_quantise(const float *obs, const float *mean, const float *scale,
                                     int n, int8_t *q) {
  int i;
  for (i = 0; i < n; i += 16) {
    const __m256i a = ternevo_quantise_8(obs + i, mean + i, scale + i, n - i);
    const __m256i b =
        n - i > 8 ? ternevo_quantise_8(obs + i + 8, mean + i + 8, scale + i + 8, n - i - 8)
                  : _mm256_setzero_si256();
    const __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
    _mm_storeu_si128((__m128i *)(void *)(q + i),
                     _mm_packs_epi16(_mm256_castsi256_si128(both),
                                     _mm256_extracti128_si256(both, 1)));
  }
}
#else
TERNEVO_INLINE void ternevo_quantise(const float *obs, const float *mean, const float *scale,
                                     int n, int8_t *q) {
  int i;
  for (i = 0; i < n; i++) {
    q[i] = ternevo_quantise_one(obs[i], TERNEVO_F32(mean + i), TERNEVO_F32(scale + i));
  }
}
#endif
#endif

/* x - mean, rounded half to even and clipped. */
TERNEVO_INLINE int8_t ternevo_rounded(float x, float mean) {
#if TERNEVO_SOFT_FLOAT && !TERNEVO_X86
  return ternevo_quantise_soft(x, mean, 0);
#else
  return ternevo_quantise_one(x, mean, 1.0f);
#endif
}

/* Sensor integers that come as floats: rounded half to even. */
TERNEVO_INLINE void ternevo_integers(const float *obs, int n, int8_t *q) {
  int i;
  for (i = 0; i < n; i++) q[i] = ternevo_rounded(obs[i], 0.0f);
}

/* Bits that come as floats: rounded half to even and clipped to 0 and 1. */
TERNEVO_INLINE void ternevo_bits(const float *obs, int n, int8_t *q) {
  int i;
  for (i = 0; i < n; i++) q[i] = (int8_t)(obs[i] > 0.5f);
}
#endif

/* What a converter counts -> integers: a line in fixed point; nothing can overflow. */
TERNEVO_FN void ternevo_quantise_i16(const int16_t *raw, const int16_t *multiplier,
                                     const int32_t *offset, const uint8_t *shift, int n,
                                     int8_t *q) {
  int i;
  for (i = 0; i < n; i++) {
    int32_t sum = (int32_t)(int16_t)TERNEVO_U16(multiplier + i) * raw[i];
    uint8_t by = TERNEVO_U8(shift + i);
    sum += (int32_t)TERNEVO_U32(offset + i);
#if defined(__AVR__) /* a shift is a loop there, but that of a byte is not */
    for (; by >= 8; by = (uint8_t)(by - 8)) sum >>= 8;
#endif
    sum >>= by;
    q[i] = (int8_t)(sum > 127 ? 127 : sum < -127 ? -127 : sum);
  }
}

TERNEVO_INLINE void ternevo_copy(const int8_t *from, int n, int8_t *q) {
  int i;
  for (i = 0; i < n; i++) q[i] = from[i];
}

/* ---------------------------------------------------------- layers of bytes, layers of signs

   ternevo_take       observation -> bytes, without its low bits
   ternevo_take_bits  observation of 0 and 1 -> signs
   ternevo_dot        bytes -> sums
   ternevo_count      signs -> sums:  offset - factor * count, where count is the number of
                      negative products, of one plane of signs or of two
   ternevo_compare    signs -> signs: count >= bound, which is sum < threshold
   ternevo_signs      sums -> signs:  sum < threshold
   ternevo_bytes      sums -> bytes

   Two planes of signs stand for -1, 0, +1: value < 0 and value <= 0. */

#if !TERNEVO_X86
TERNEVO_INLINE void ternevo_take(const int8_t *q, int n, int shift, ternevo_byte *x) {
  int i;
  for (i = 0; i < n; i++) x[i] = (ternevo_byte)(q[i] >> shift);
  for (; i < TERNEVO_PADDED(n); i++) x[i] = 0;
}

TERNEVO_INLINE void ternevo_take_bits(const int8_t *q, int n, ternevo_word *s) {
  int i;
  for (i = 0; i < TERNEVO_WORDS(n); i++) s[i] = 0;
  for (i = 0; i < n; i++) {
    s[i / TERNEVO_WORD_BITS] |= (ternevo_word)((ternevo_word)(q[i] == 0) << i % TERNEVO_WORD_BITS);
  }
}

TERNEVO_FN void ternevo_signs(const int32_t *sums, int n, int32_t threshold, ternevo_word *s) {
  int i, j;
  for (i = 0; i < n; i += TERNEVO_WORD_BITS) {
    ternevo_word word = 0;
    for (j = 0; j < TERNEVO_WORD_BITS && i + j < n; j++) {
      word |= (ternevo_word)((ternevo_word)(sums[i + j] < threshold) << j);
    }
    *s++ = word;
  }
}

TERNEVO_INLINE void ternevo_bytes(const int32_t *sums, int n, int shift, int32_t limit,
                                  ternevo_byte *x) {
  int i;
  for (i = 0; i < n; i++) x[i] = (ternevo_byte)ternevo_round(sums[i], shift, limit);
  for (; i < TERNEVO_PADDED(n); i++) x[i] = 0;
}
#endif

#if !TERNEVO_SIMD
/* Sums of four inputs with all their 81 weightings: a row then takes one look-up for four. */
TERNEVO_INLINE void ternevo_weightings(const ternevo_byte *x, int16_t *sums) {
  int i, j, n = 1;
  sums[0] = (int16_t)-(x[0] + x[1] + x[2] + x[3]);
  for (i = 0; i < 4; i++) {
    for (j = 0; j < n; j++) {
      sums[n + j] = (int16_t)(sums[j] + x[i]);
      sums[2 * n + j] = (int16_t)(sums[j] + 2 * x[i]);
    }
    n *= 3;
  }
}

/* codes: for each four inputs a byte for each row, sum of (weight + 1) * 3**i. */
TERNEVO_FN void ternevo_dot(const uint8_t *codes, const int32_t *bias, const ternevo_byte *x,
                            int num_in, int num_out, int32_t *sums) {
  int i, r;
  for (r = 0; r < num_out; r++) sums[r] = (int32_t)TERNEVO_U32(bias + r);
  for (i = 0; i < num_in; i += 8) {
    int16_t first[81], second[81];
    ternevo_weightings(x + i, first);
    ternevo_weightings(x + i + 4, second);
    for (r = 0; r < num_out; r++) {
      sums[r] += first[TERNEVO_U8(codes + r)] + second[TERNEVO_U8(codes + num_out + r)];
    }
    codes += 2 * num_out;
  }
}
#endif

#if TERNEVO_KERNEL == TERNEVO_PORTABLE
TERNEVO_INLINE int32_t ternevo_popcount(uint64_t x) {
#if defined(__GNUC__) && (defined(__POPCNT__) || defined(__wasm__) || defined(__aarch64__) \
                          || defined(__riscv_zbb))
  return __builtin_popcountll(x);
#else
  x -= (x >> 1) & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return (int32_t)((x * 0x0101010101010101u) >> 56);
#endif
}

/* Of each row and 64 inputs: negative weights, then non-zero ones. */
TERNEVO_INLINE int32_t ternevo_row(const uint64_t *w, const uint64_t *s, int planes, int words) {
  int p, i;
  int32_t count = 0;
  for (p = 0; p < planes; p++) {
    for (i = 0; i < words; i++) {
      count += ternevo_popcount(w[2 * i] ^ (s[p * words + i] & w[2 * i + 1]));
    }
  }
  return count;
}

TERNEVO_INLINE void ternevo_count(const uint64_t *w, const int32_t *offset, int factor,
                                  const uint64_t *s, int planes, int num_in, int num_out,
                                  int bits, int32_t *sums) {
  const int words = TERNEVO_WORDS(num_in);
  int r;
  (void)bits;
  for (r = 0; r < num_out; r++) {
    sums[r] = offset[r] - factor * ternevo_row(w + (intptr_t)2 * words * r, s, planes, words);
  }
}

TERNEVO_INLINE void ternevo_compare(const uint64_t *w, const uint16_t *bound, int bounds,
                                    const uint64_t *s, int planes, int num_in, int num_out,
                                    int bits, uint64_t *out) {
  const int words = TERNEVO_WORDS(num_in), out_words = TERNEVO_WORDS(num_out);
  int i, r;
  (void)bits;
  for (i = 0; i < out_words; i++) {
    const int rows = num_out - 64 * i < 64 ? num_out - 64 * i : 64;
    uint64_t first = 0, second = 0;
    for (r = 0; r < rows; r++) {
      const int32_t count = ternevo_row(w, s, planes, words);
      first |= (uint64_t)(count >= bound[64 * i + r]) << r;
      if (bounds == 2) second |= (uint64_t)(count >= bound[num_out + 64 * i + r]) << r;
      w += 2 * words;
    }
    out[i] = first;
    if (bounds == 2) out[out_words + i] = second;
  }
}
#endif

#if TERNEVO_KERNEL == TERNEVO_VERTICAL
#define TERNEVO_ADD(high, low, a, b)                \
  do {                                              \
    const uint32_t half_ = low ^ (a);               \
    high = (low & (a)) | (half_ & (b));             \
    low = half_ ^ (b);                              \
  } while (0)

/* Add up the products of 32 outputs at once: bit r of counts[b] is bit b of the count of output r.
   w: of each input the outputs with a negative weight, then those with a non-zero one. */
TERNEVO_FN void ternevo_counts(const uint32_t *w, const uint32_t *s, int planes, int num_in,
                               int bits, uint32_t *counts) {
  uint32_t ones = 0, twos = 0, fours = 0;
  int p, i, j;
  for (i = 3; i < bits; i++) counts[i] = 0;
  for (p = 0; p < planes; p++) {
    const uint32_t *row = w;
    for (i = 0; i < num_in; i += 8) {
      uint32_t signs = s[i / 32] >> i % 32, x[8], a, b, c, d;
      for (j = 0; j < 8; j++) {
        x[j] = TERNEVO_U32(row) ^ (TERNEVO_U32(row + 1) & (0u - (signs & 1)));
        signs >>= 1;
        row += 2;
      }
      TERNEVO_ADD(a, ones, x[0], x[1]);
      TERNEVO_ADD(b, ones, x[2], x[3]);
      TERNEVO_ADD(c, twos, a, b);
      TERNEVO_ADD(a, ones, x[4], x[5]);
      TERNEVO_ADD(b, ones, x[6], x[7]);
      TERNEVO_ADD(d, twos, a, b);
      TERNEVO_ADD(a, fours, c, d);
      for (j = 3; j < bits && a; j++) {
        b = counts[j] & a;
        counts[j] ^= a;
        a = b;
      }
    }
    s += TERNEVO_WORDS(num_in);
  }
  counts[0] = ones;
  counts[1] = twos;
  counts[2] = fours;
}

TERNEVO_FN void ternevo_count(const uint32_t *w, const int32_t *offset, int factor,
                              const uint32_t *s, int planes, int num_in, int num_out, int bits,
                              int32_t *sums) {
  uint32_t counts[16] = {0}; /* gcc -O3 does not see that those in use are set */
  int r, b;
  for (r = 0; r < num_out; r++) {
    int32_t count = 0;
    if (r % 32 == 0) {
      ternevo_counts(w, s, planes, num_in, bits, counts);
      w += 2 * TERNEVO_PADDED(num_in);
    }
    for (b = bits; b-- > 0;) {
      count = count * 2 + (int32_t)(counts[b] & 1);
      counts[b] >>= 1;
    }
    sums[r] = (int32_t)TERNEVO_U32(offset + r) - factor * count;
  }
}

/* bound: of each 32 outputs the bits of their bounds, as those of the counts. */
TERNEVO_FN void ternevo_compare(const uint32_t *w, const uint32_t *bound, int bounds,
                                const uint32_t *s, int planes, int num_in, int num_out, int bits,
                                uint32_t *out) {
  uint32_t counts[16];
  int i, j, b;
  for (i = 0; i < TERNEVO_WORDS(num_out); i++) {
    ternevo_counts(w, s, planes, num_in, bits, counts);
    w += 2 * TERNEVO_PADDED(num_in);
    for (j = 0; j < bounds; j++) {
      uint32_t below = 0; /* the borrow of count - bound */
      for (b = 0; b < bits; b++) {
        const uint32_t t = TERNEVO_U32(bound++);
        below = (~counts[b] & t) | (below & ~(counts[b] ^ t));
      }
      out[j * TERNEVO_WORDS(num_out) + i] = ~below;
    }
  }
}
#endif

#if TERNEVO_SIMD
/* Rows are padded with zeros to 16 in layers of bytes, to 32 in layers of signs. */
#define TERNEVO_ROWS16(n) (((n) + 15) / 16 * 16)
#define TERNEVO_ROWS32(n) (((n) + 31) / 32 * 32)
#endif

#if TERNEVO_X86
TERNEVO_INLINE int32_t ternevo_load32(const uint8_t *p) {
#if defined(__GNUC__)
  int32_t value;
  __builtin_memcpy(&value, p, sizeof value);
  return value;
#else
  return _mm_cvtsi128_si32(_mm_loadu_si32(p));
#endif
}

TERNEVO_INLINE __m128i ternevo_load128(const void *p) {
  return _mm_loadu_si128((const __m128i *)p);
}

TERNEVO_INLINE __m256i ternevo_load256(const void *p) {
  return _mm256_loadu_si256((const __m256i *)p);
}

TERNEVO_INLINE void ternevo_take(const int8_t *q, int n, int shift, ternevo_byte *x) {
  const __m128i keep = _mm_set1_epi8((char)(255 >> shift));
  const __m128i back = _mm_set1_epi8((char)(128 - (128 >> shift)));
  int i;
  for (i = 0; i < n; i += 16) {
    __m128i v = _mm_xor_si128(ternevo_load128(q + i), _mm_set1_epi8((char)-128));
    if (shift) {
      v = _mm_and_si128(_mm_srl_epi16(v, _mm_cvtsi32_si128(shift)), keep);
      v = _mm_add_epi8(v, back);
    }
    _mm_storeu_si128((__m128i *)(void *)(x + i), v);
  }
}

#endif

#if TERNEVO_KERNEL == TERNEVO_AVX512
TERNEVO_INLINE __m512i ternevo_load512(const void *p) { return _mm512_loadu_si512(p); }

/* Signs are stored and loaded by 64: an eighth of a vector, each of which gets them. */
TERNEVO_INLINE __m512i ternevo_load_signs(const uint8_t *s) {
  return _mm512_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)(const void *)s));
}

TERNEVO_INLINE void ternevo_store_signs(uint8_t *s, uint64_t signs) {
  _mm_storel_epi64((__m128i *)(void *)s, _mm_cvtsi64_si128((long long)signs));
}

TERNEVO_INLINE void ternevo_take_bits(const int8_t *q, int n, ternevo_word *s) {
  int i;
  for (i = 0; i < n; i += 64) {
    const __m512i v = ternevo_load512(q + i);
    ternevo_store_signs(s + i / 8, _mm512_testn_epi8_mask(v, v));
  }
}

/* Add the products of 64 rows with four inputs, which are in each 32 bits of x. */
TERNEVO_INLINE void ternevo_step(__m512i sums[4], __m512i x, const int8_t *w) {
  sums[0] = _mm512_dpbusd_epi32(sums[0], x, ternevo_load512(w));
  sums[1] = _mm512_dpbusd_epi32(sums[1], x, ternevo_load512(w + 64));
  sums[2] = _mm512_dpbusd_epi32(sums[2], x, ternevo_load512(w + 128));
  sums[3] = _mm512_dpbusd_epi32(sums[3], x, ternevo_load512(w + 192));
}

TERNEVO_INLINE void ternevo_dot(const int8_t *w, const int32_t *bias, const uint8_t *x,
                                int num_in, int num_out, int32_t *sums) {
  const int rows = TERNEVO_ROWS16(num_out), steps = (num_in + 3) / 4;
  int r, k;
  for (r = 0; r + 64 <= rows; r += 64) {
    const int8_t *p = w + 4 * r;
    /* Every second step has sums of its own, so that none waits for the one before. */
    const __m512i zero = _mm512_setzero_si512();
    __m512i a[4] = {ternevo_load512(bias + r), ternevo_load512(bias + r + 16),
                    ternevo_load512(bias + r + 32), ternevo_load512(bias + r + 48)};
    __m512i b[4] = {zero, zero, zero, zero};
    TERNEVO_UNROLL
    for (k = 0; k < steps; k += 4) {
      /* 16 inputs go to each quarter of a vector at once: then each step needs only a shuffle. */
      const __m512i v = _mm512_broadcast_i32x4(ternevo_load128(x + 4 * k));
      ternevo_step(a, _mm512_shuffle_epi32(v, _MM_PERM_AAAA), p);
      if (k + 1 < steps) ternevo_step(b, _mm512_shuffle_epi32(v, _MM_PERM_BBBB), p + 4 * rows);
      if (k + 2 < steps) ternevo_step(a, _mm512_shuffle_epi32(v, _MM_PERM_CCCC), p + 8 * rows);
      if (k + 3 < steps) ternevo_step(b, _mm512_shuffle_epi32(v, _MM_PERM_DDDD), p + 12 * rows);
      p += 16 * rows;
    }
    _mm512_storeu_si512(sums + r, _mm512_add_epi32(a[0], b[0]));
    _mm512_storeu_si512(sums + r + 16, _mm512_add_epi32(a[1], b[1]));
    _mm512_storeu_si512(sums + r + 32, _mm512_add_epi32(a[2], b[2]));
    _mm512_storeu_si512(sums + r + 48, _mm512_add_epi32(a[3], b[3]));
  }
  for (; r < rows; r += 16) {
    __m512i a = ternevo_load512(bias + r);
    TERNEVO_UNROLL
    for (k = 0; k < steps; k++) {
      const __m512i v = _mm512_set1_epi32(ternevo_load32(x + 4 * k));
      a = _mm512_dpbusd_epi32(a, v, ternevo_load512(w + 4 * (k * rows + r)));
    }
    _mm512_storeu_si512(sums + r, a);
  }
}

/* How many products are negative, in each byte. 0x78: negative ^ (nonzero & signs) */
TERNEVO_INLINE __m512i ternevo_products(__m512i negative, __m512i nonzero, __m512i signs) {
  return _mm512_popcnt_epi8(_mm512_ternarylogic_epi64(negative, nonzero, signs, 0x78));
}

/* w: of eight rows and 64 inputs a word for each row. There are often few rows, and so a vector is
   better full of inputs. */
TERNEVO_INLINE void ternevo_count(const uint64_t *w, const int32_t *offset, int factor,
                                  const uint8_t *s, int planes, int num_in, int num_out, int bits,
                                  int32_t *sums) {
  const __m512i zero = _mm512_setzero_si512();
  const int stride = TERNEVO_WORDS(num_in);
  int r, k, p;
  (void)bits;
  for (r = 0; r < num_out; r += 8) {
    __m512i count = zero;
    __m256i product;
    TERNEVO_UNROLL
    for (k = 0; k < stride; k += 8) {
      for (p = 0; p < planes; p++) {
        const __m512i counts = ternevo_products(ternevo_load512(w), ternevo_load512(w + 8),
                                                ternevo_load_signs(s + p * stride + k));
        count = _mm512_add_epi64(count, _mm512_sad_epu8(counts, zero));
      }
      w += 16;
    }
    product = _mm256_mullo_epi32(_mm512_cvtepi64_epi32(count), _mm256_set1_epi32(factor));
    _mm256_storeu_si256((__m256i *)(void *)(sums + r),
                        _mm256_sub_epi32(ternevo_load256(offset + r), product));
  }
  if (r % 16) { /* what follows takes 16 */
    _mm256_storeu_si256((__m256i *)(void *)(sums + r), _mm256_setzero_si256());
  }
}

TERNEVO_INLINE void ternevo_compare(const uint8_t *w, const uint8_t *bound, int bounds,
                                    const uint8_t *s, int planes, int num_in, int num_out,
                                    int bits, uint8_t *out) {
  const int rows = TERNEVO_ROWS32(num_out), stride = TERNEVO_WORDS(num_in);
  int r, j, k, p;
  (void)bits;
  for (r = 0; r < rows; r += 64) {
    const __mmask64 there = rows - r < 64 ? 0xffffffffu : ~(__mmask64)0;
    __m512i count = _mm512_setzero_si512(); /* each byte counts one row, eight inputs at a time */
    TERNEVO_UNROLL
    for (k = 0; k < (num_in + 7) / 8; k++) {
      const uint8_t *at = w + 2 * k * rows + r;
      const __m512i negative = _mm512_maskz_loadu_epi8(there, at);
      const __m512i nonzero = _mm512_maskz_loadu_epi8(there, at + rows);
      for (p = 0; p < planes; p++) {
        /* To shuffle is faster than to fill a vector with each byte. */
        const __m512i signs = _mm512_shuffle_epi8(ternevo_load_signs(s + p * stride + k / 8 * 8),
                                                  _mm512_set1_epi8((char)(k % 8)));
        count = _mm512_add_epi8(count, ternevo_products(negative, nonzero, signs));
      }
    }
    for (j = 0; j < bounds; j++) {
      ternevo_store_signs(out + j * TERNEVO_WORDS(num_out) + r / 8,
                          _mm512_cmpge_epu8_mask(
                              count, _mm512_maskz_loadu_epi8(there, bound + j * rows + r)));
    }
  }
}

TERNEVO_INLINE void ternevo_signs(const int32_t *sums, int n, int32_t threshold, uint8_t *s) {
  const __m512i least = _mm512_set1_epi32(threshold);
  const int rows = TERNEVO_ROWS16(n);
  int i, j;
  for (i = 0; i < rows; i += 64) {
    const int end = rows - i < 64 ? rows - i : 64;
    uint64_t signs = 0;
    TERNEVO_UNROLL
    for (j = 0; j < end; j += 16) {
      const __mmask16 less = _mm512_cmplt_epi32_mask(ternevo_load512(sums + i + j), least);
      signs |= (uint64_t)less << j;
    }
    ternevo_store_signs(s + i / 8, signs);
  }
}

TERNEVO_INLINE void ternevo_bytes(const int32_t *sums, int n, int shift, int32_t limit,
                                  uint8_t *x) {
  const __m512i high = _mm512_set1_epi32(limit), low = _mm512_set1_epi32(-limit);
  const __m128i by = _mm_cvtsi32_si128(shift > 0 ? shift : -shift);
  int i;
  TERNEVO_UNROLL
  for (i = 0; i < TERNEVO_ROWS16(n); i += 16) {
    __m512i v = ternevo_load512(sums + i);
    if (shift > 0) {
      const __m512i odd = _mm512_and_si512(_mm512_sra_epi32(v, by), _mm512_set1_epi32(1));
      v = _mm512_add_epi32(v, _mm512_set1_epi32((1 << (shift - 1)) - 1));
      v = _mm512_sra_epi32(_mm512_add_epi32(v, odd), by);
    } else {
      v = _mm512_sll_epi32(_mm512_max_epi32(_mm512_min_epi32(v, high), low), by);
    }
    v = _mm512_max_epi32(_mm512_min_epi32(v, high), low);
    _mm_storeu_si128((__m128i *)(void *)(x + i),
                     _mm_xor_si128(_mm512_cvtepi32_epi8(v), _mm_set1_epi8((char)-128)));
  }
}
#endif

#if TERNEVO_KERNEL == TERNEVO_AVX2
TERNEVO_INLINE void ternevo_take_bits(const int8_t *q, int n, ternevo_word *s) {
  int i;
  for (i = 0; i < n; i += 16) {
    const int zero =
        _mm_movemask_epi8(_mm_cmpeq_epi8(ternevo_load128(q + i), _mm_setzero_si128()));
    s[i / 8] = (uint8_t)zero;
    s[i / 8 + 1] = (uint8_t)(zero >> 8);
  }
}

/* Bytes are multiplied in pairs into 16 bits: at most 510 a step, so 64 steps fit. */
TERNEVO_INLINE __m256i ternevo_step(__m256i sum, __m256i x, const int8_t *w) {
  return _mm256_add_epi16(sum, _mm256_maddubs_epi16(x, ternevo_load256(w)));
}

TERNEVO_INLINE void ternevo_store_pairs(int32_t *sums, const int32_t *before, __m256i pairs) {
  const __m256i sum = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
  _mm256_storeu_si256((__m256i *)(void *)sums, _mm256_add_epi32(ternevo_load256(before), sum));
}

TERNEVO_INLINE void ternevo_dot(const int8_t *w, const int32_t *bias, const uint8_t *x,
                                int num_in, int num_out, int32_t *sums) {
  const int rows = TERNEVO_ROWS16(num_out), steps = (num_in + 3) / 4;
  int r, k, from;
  for (from = 0; from < steps; from += 64) {
    const int to = steps - from < 64 ? steps : from + 64;
    const int32_t *before = from ? sums : bias;
    for (r = 0; r + 32 <= rows; r += 32) {
      const int8_t *p = w + 4 * (from * rows + r);
      __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
      TERNEVO_UNROLL
      for (k = from; k < to; k++) {
        const __m256i v = _mm256_set1_epi32(ternevo_load32(x + 4 * k));
        a = ternevo_step(a, v, p);
        b = ternevo_step(b, v, p + 32);
        c = ternevo_step(c, v, p + 64);
        d = ternevo_step(d, v, p + 96);
        p += 4 * rows;
      }
      ternevo_store_pairs(sums + r, before + r, a);
      ternevo_store_pairs(sums + r + 8, before + r + 8, b);
      ternevo_store_pairs(sums + r + 16, before + r + 16, c);
      ternevo_store_pairs(sums + r + 24, before + r + 24, d);
    }
    for (; r < rows; r += 8) {
      __m256i a = _mm256_setzero_si256();
      TERNEVO_UNROLL
      for (k = from; k < to; k++) {
        const __m256i v = _mm256_set1_epi32(ternevo_load32(x + 4 * k));
        a = ternevo_step(a, v, w + 4 * (k * rows + r));
      }
      ternevo_store_pairs(sums + r, before + r, a);
    }
  }
}

TERNEVO_INLINE __m256i ternevo_popcount(__m256i x) {
  const __m256i counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1,
                                          2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i low = _mm256_and_si256(x, nibble);
  const __m256i high = _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble);
  return _mm256_add_epi8(_mm256_shuffle_epi8(counts, low), _mm256_shuffle_epi8(counts, high));
}

/* Counts of 32 rows, of eight inputs at a time: each byte counts one row. */
TERNEVO_INLINE __m256i ternevo_counts(const uint8_t *w, int rows, const uint8_t *s, int planes,
                                      int stride, int from, int to) {
  __m256i count = _mm256_setzero_si256();
  int k, p;
  TERNEVO_UNROLL
  for (k = from; k < to; k++) {
    const __m256i negative = ternevo_load256(w + 2 * k * rows);
    const __m256i nonzero = ternevo_load256(w + (2 * k + 1) * rows);
    for (p = 0; p < planes; p++) {
      const __m256i signs = _mm256_set1_epi8((char)s[p * stride + k]);
      count = _mm256_add_epi8(count, ternevo_popcount(_mm256_xor_si256(
                                         negative, _mm256_and_si256(nonzero, signs))));
    }
  }
  return count;
}

TERNEVO_INLINE void ternevo_count(const uint8_t *w, const int32_t *offset, int factor,
                                  const uint8_t *s, int planes, int num_in, int num_out, int bits,
                                  int32_t *sums) {
  const int rows = TERNEVO_ROWS32(num_out), steps = (num_in + 7) / 8;
  const int most = planes == 2 ? 15 : 31; /* 8 bits a step: more do not fit into a byte */
  const __m256i times = _mm256_set1_epi32(factor);
  int r, k, i;
  (void)bits;
  for (r = 0; r < rows; r += 32) {
    for (k = 0; k < steps; k += most) {
      uint8_t counts[32];
      _mm256_storeu_si256(
          (__m256i *)(void *)counts,
          ternevo_counts(w + r, rows, s, planes, TERNEVO_WORDS(num_in), k,
                         steps - k < most ? steps : k + most));
      for (i = 0; i < 32; i += 8) {
        const __m256i count =
            _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(counts + i)));
        const __m256i before = ternevo_load256(k ? sums + r + i : offset + r + i);
        _mm256_storeu_si256((__m256i *)(void *)(sums + r + i),
                            _mm256_sub_epi32(before, _mm256_mullo_epi32(count, times)));
      }
    }
  }
}

TERNEVO_INLINE void ternevo_compare(const uint8_t *w, const uint8_t *bound, int bounds,
                                    const uint8_t *s, int planes, int num_in, int num_out,
                                    int bits, uint8_t *out) {
  const int rows = TERNEVO_ROWS32(num_out);
  int r, j;
  (void)bits;
  for (r = 0; r < rows; r += 32) {
    const __m256i count = ternevo_counts(w + r, rows, s, planes, TERNEVO_WORDS(num_in), 0,
                                         (num_in + 7) / 8);
    for (j = 0; j < bounds; j++) {
      const __m256i least = ternevo_load256(bound + j * rows + r);
      const uint32_t word = (uint32_t)_mm256_movemask_epi8(
          _mm256_cmpeq_epi8(_mm256_max_epu8(count, least), count));
      uint8_t *to = out + j * TERNEVO_WORDS(num_out) + r / 8;
      to[0] = (uint8_t)word;
      to[1] = (uint8_t)(word >> 8);
      to[2] = (uint8_t)(word >> 16);
      to[3] = (uint8_t)(word >> 24);
    }
  }
}

TERNEVO_INLINE void ternevo_signs(const int32_t *sums, int n, int32_t threshold, uint8_t *s) {
  int i;
  TERNEVO_UNROLL
  for (i = 0; i < TERNEVO_ROWS16(n); i += 8) {
    const __m256i less = _mm256_cmpgt_epi32(_mm256_set1_epi32(threshold),
                                            ternevo_load256(sums + i));
    s[i / 8] = (uint8_t)_mm256_movemask_ps(_mm256_castsi256_ps(less));
  }
}

TERNEVO_INLINE void ternevo_bytes(const int32_t *sums, int n, int shift, int32_t limit,
                                  uint8_t *x) {
  const __m256i high = _mm256_set1_epi32(limit), low = _mm256_set1_epi32(-limit);
  const __m128i by = _mm_cvtsi32_si128(shift > 0 ? shift : -shift);
  int i;
  TERNEVO_UNROLL
  for (i = 0; i < TERNEVO_ROWS16(n); i += 8) {
    __m256i v = ternevo_load256(sums + i);
    __m128i half;
    if (shift > 0) {
      const __m256i odd = _mm256_and_si256(_mm256_sra_epi32(v, by), _mm256_set1_epi32(1));
      v = _mm256_add_epi32(v, _mm256_set1_epi32((1 << (shift - 1)) - 1));
      v = _mm256_sra_epi32(_mm256_add_epi32(v, odd), by);
    } else {
      v = _mm256_sll_epi32(_mm256_max_epi32(_mm256_min_epi32(v, high), low), by);
    }
    v = _mm256_max_epi32(_mm256_min_epi32(v, high), low);
    half = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64((__m128i *)(void *)(x + i),
                     _mm_xor_si128(_mm_packs_epi16(half, half), _mm_set1_epi8((char)-128)));
  }
}
#endif

#if TERNEVO_KERNEL == TERNEVO_NEON
TERNEVO_INLINE void ternevo_dot(const int8_t *w, const int32_t *bias, const int8_t *x, int num_in,
                                int num_out, int32_t *sums) {
  const int rows = TERNEVO_ROWS16(num_out), steps = (num_in + 3) / 4;
  int r, k;
  for (r = 0; r < rows; r += 4) {
    int32x4_t sum = vld1q_s32(bias + r);
    TERNEVO_UNROLL
    for (k = 0; k < steps; k++) {
      const int8_t *v = x + 4 * k;
      const int8_t twice[8] = {v[0], v[1], v[2], v[3], v[0], v[1], v[2], v[3]};
      const int8x8_t four = vld1_s8(twice);
      const int8_t *p = w + 4 * (k * rows + r);
      sum = vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(vmull_s8(vld1_s8(p), four)),
                                      vpaddlq_s16(vmull_s8(vld1_s8(p + 8), four))));
    }
    vst1q_s32(sums + r, sum);
  }
}

/* Counts of 16 rows, of eight inputs at a time: each byte counts one row. */
TERNEVO_INLINE uint8x16_t ternevo_counts(const uint8_t *w, int rows, const uint8_t *s, int planes,
                                         int stride, int from, int to) {
  uint8x16_t count = vdupq_n_u8(0);
  int k, p;
  TERNEVO_UNROLL
  for (k = from; k < to; k++) {
    const uint8x16_t negative = vld1q_u8(w + 2 * k * rows);
    const uint8x16_t nonzero = vld1q_u8(w + (2 * k + 1) * rows);
    for (p = 0; p < planes; p++) {
      const uint8x16_t signs = vdupq_n_u8(s[p * stride + k]);
      count = vaddq_u8(count, vcntq_u8(veorq_u8(negative, vandq_u8(nonzero, signs))));
    }
  }
  return count;
}

TERNEVO_INLINE void ternevo_count(const uint8_t *w, const int32_t *offset, int factor,
                                  const uint8_t *s, int planes, int num_in, int num_out, int bits,
                                  int32_t *sums) {
  const int rows = TERNEVO_ROWS32(num_out), steps = (num_in + 7) / 8;
  const int most = planes == 2 ? 15 : 31; /* 8 bits a step: more do not fit into a byte */
  int r, k, i;
  (void)bits;
  for (r = 0; r < rows; r += 16) {
    for (k = 0; k < steps; k += most) {
      uint8_t counts[16];
      vst1q_u8(counts, ternevo_counts(w + r, rows, s, planes, TERNEVO_WORDS(num_in), k,
                                      steps - k < most ? steps : k + most));
      for (i = 0; i < 16; i++) {
        sums[r + i] = (k ? sums[r + i] : offset[r + i]) - factor * counts[i];
      }
    }
  }
}

TERNEVO_INLINE void ternevo_compare(const uint8_t *w, const uint8_t *bound, int bounds,
                                    const uint8_t *s, int planes, int num_in, int num_out,
                                    int bits, uint8_t *out) {
  const uint8_t places[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const int rows = TERNEVO_ROWS32(num_out);
  int r, j;
  (void)bits;
  for (r = 0; r < rows; r += 16) {
    const uint8x16_t count = ternevo_counts(w + r, rows, s, planes, TERNEVO_WORDS(num_in), 0,
                                            (num_in + 7) / 8);
    for (j = 0; j < bounds; j++) {
      const uint8x16_t set =
          vandq_u8(vcgeq_u8(count, vld1q_u8(bound + j * rows + r)), vld1q_u8(places));
      uint8_t *to = out + j * TERNEVO_WORDS(num_out) + r / 8;
      to[0] = vaddv_u8(vget_low_u8(set));
      to[1] = vaddv_u8(vget_high_u8(set));
    }
  }
}
#endif

/* ---------------------------------------------------- outputs with exponents of their own

   ternevo_bytes_each  ternevo_bytes with a shift for each output
   ternevo_signs_each  ternevo_signs with a threshold for each output
   ternevo_align       sums -> logits of one exponent */

TERNEVO_FN void ternevo_bytes_each(const int32_t *sums, int n, const int8_t *shift, int32_t limit,
                                   ternevo_byte *x) {
  int i;
  for (i = 0; i < n; i++) {
    const int by = (int8_t)TERNEVO_U8(shift + i);
    x[i] = (ternevo_byte)(ternevo_round(sums[i], by, limit) + (TERNEVO_X86 ? 128 : 0));
  }
  for (; i < TERNEVO_PADDED(n); i++) x[i] = 0;
}

TERNEVO_FN void ternevo_signs_each(const int32_t *sums, int n, const int32_t *threshold,
                                   ternevo_word *s) {
  int i, j;
  for (i = 0; i < TERNEVO_WORDS(n) * TERNEVO_WORD_BITS; i += TERNEVO_WORD_BITS) {
    ternevo_word word = 0;
    for (j = 0; j < TERNEVO_WORD_BITS && i + j < n; j++) {
      const int32_t least = (int32_t)TERNEVO_U32(threshold + i + j);
      word |= (ternevo_word)((ternevo_word)(sums[i + j] < least) << j);
    }
    *s++ = word;
  }
}

TERNEVO_FN void ternevo_align(int32_t *sums, int n, const uint8_t *shift) {
  int i;
  for (i = 0; i < n; i++) sums[i] *= (int32_t)1 << TERNEVO_U8(shift + i); /* below 2**28 */
}

#endif /* TERNEVO_C_RUNTIME */
