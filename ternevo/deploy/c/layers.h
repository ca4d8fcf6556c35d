/* --------------------------------------------------------------------- images, pools, memory */
#ifndef TERNEVO_C_LAYERS
#define TERNEVO_C_LAYERS 1

/* Values between layers are plain int8_t, in one array of a fixed size. It is on the stack; define
   TERNEVO_MAPS as static to have it in RAM, where a linker sees it, for one thread only. */
#ifndef TERNEVO_MAPS
#define TERNEVO_MAPS
#endif

/* What a kernel for bytes takes, made in place. */
TERNEVO_INLINE const ternevo_byte *ternevo_raised(int8_t *q, int n) {
#if TERNEVO_X86
  int i;
  for (i = 0; i < n; i++) q[i] = (int8_t)(q[i] ^ -128);
#else
  (void)n;
#endif
  return (const ternevo_byte *)q;
}

/* Signs of a kernel: value < 0, and then value <= 0 where there are two planes. */
TERNEVO_FN void ternevo_pack(const int8_t *q, int n, int planes, ternevo_word *s) {
  int p, i, j;
  for (p = 0; p < planes; p++) {
    for (i = 0; i < TERNEVO_WORDS(n) * TERNEVO_WORD_BITS; i += TERNEVO_WORD_BITS) {
      ternevo_word word = 0;
      for (j = 0; j < TERNEVO_WORD_BITS && i + j < n; j++) {
        word |= (ternevo_word)((ternevo_word)(q[i + j] < p) << j);
      }
      *s++ = word;
    }
  }
}

/* Weights of several bits, a row for each output. */
TERNEVO_FN void ternevo_dot_wide(const int8_t *w, const int32_t *bias, const int8_t *x, int num_in,
                                 int num_out, int32_t *sums) {
  int r, i;
  for (r = 0; r < num_out; r++) {
    int32_t sum = (int32_t)TERNEVO_U32(bias + r);
    for (i = 0; i < num_in; i++) sum += (int32_t)((int8_t)TERNEVO_U8(w++)) * x[i];
    sums[r] = sum;
  }
}

/* Rows of which most weights are 0: the others, and how far each is from the one before. A gap of
   254 has no weight at its end, 255 ends a row. Without `w` weights are 1 up to the first end of a
   row and -1 up to the second. */
TERNEVO_FN void ternevo_dot_sparse(const uint8_t *gaps, const int8_t *w, const int32_t *bias,
                                   const int8_t *x, int num_out, int32_t *sums) {
  int r, half;
  for (r = 0; r < num_out; r++) {
    int32_t sum = (int32_t)TERNEVO_U32(bias + r);
    for (half = 0; half < (w ? 1 : 2); half++) {
      const int8_t *at = x;
      uint8_t gap;
      while ((gap = TERNEVO_U8(gaps++)) != 255) {
        at += gap;
        if (gap == 254) continue;
        sum += w ? (int32_t)((int8_t)TERNEVO_U8(w++)) * *at : half ? -*at : *at;
      }
    }
    sums[r] = sum;
  }
}

/* What a convolution sees at a place, row by row: zeros beyond the image. */
TERNEVO_FN void ternevo_patch(const int8_t *image, int height, int width, int channels, int top,
                              int left, int rows, int columns, int8_t *patch) {
  int y, x, i;
  for (y = top; y < top + rows; y++) {
    for (x = left; x < left + columns; x++) {
      if (y >= 0 && y < height && x >= 0 && x < width) {
        const int8_t *from = image + (y * width + x) * channels;
        for (i = 0; i < channels; i++) *patch++ = from[i];
      } else {
        for (i = 0; i < channels; i++) *patch++ = 0;
      }
    }
  }
}

/* The largest of each channel at a place; what is beyond the image does not count. */
TERNEVO_FN void ternevo_pooled(const int8_t *image, int height, int width, int channels, int top,
                               int left, int rows, int columns, int8_t *largest) {
  int y, x, i;
  for (i = 0; i < channels; i++) largest[i] = -128;
  for (y = top; y < top + rows; y++) {
    for (x = left; x < left + columns; x++) {
      if (y >= 0 && y < height && x >= 0 && x < width) {
        const int8_t *from = image + (y * width + x) * channels;
        for (i = 0; i < channels; i++) {
          if (from[i] > largest[i]) largest[i] = from[i];
        }
      }
    }
  }
}

/* Sums -> int8 or int4, plus what a skip adds. Tables of shifts and thresholds are for outputs with
   exponents of their own, else 0. Sums beyond twice the limit are clipped whatever is added. */
TERNEVO_FN void ternevo_to_grid(const int32_t *sums, int n, const int8_t *shifts, int shift,
                                int32_t limit, const int8_t *added, int8_t *y) {
  int i;
  for (i = 0; i < n; i++) {
    const int by = shifts ? (int8_t)TERNEVO_U8(shifts + i) : shift;
    int32_t v = ternevo_round(sums[i], by, 2 * limit) + (added ? added[i] : 0);
    y[i] = (int8_t)(v > limit ? limit : v < -limit ? -limit : v);
  }
}

TERNEVO_FN void ternevo_to_signs(const int32_t *sums, int n, int8_t *y) {
  int i;
  for (i = 0; i < n; i++) y[i] = (int8_t)(sums[i] < 0 ? -1 : 1);
}

TERNEVO_FN void ternevo_to_trits(const int32_t *sums, int n, const int32_t *thresholds,
                                 int32_t threshold, int8_t *y) {
  int i;
  for (i = 0; i < n; i++) {
    const int32_t t = thresholds ? (int32_t)TERNEVO_U32(thresholds + i) : threshold;
    y[i] = (int8_t)((sums[i] > t) - (sums[i] < -t));
  }
}

/* What the function of each output makes of its number on the grid: they are the same numbers, their
   positive parts, sizes, signs of full scale, and what is left of full scale. */
TERNEVO_FN void ternevo_to_functions(const uint8_t *functions, int n, int limit, int8_t *y) {
  int i;
  for (i = 0; i < n; i++) {
    const int function = TERNEVO_U8(functions + i), v = y[i], size = v < 0 ? -v : v;
    if (function == 1) y[i] = (int8_t)(v > 0 ? v : 0);
    if (function == 2) y[i] = (int8_t)size;
    if (function == 3) y[i] = (int8_t)(v > 0 ? limit : v < 0 ? -limit : 0);
    if (function == 4) y[i] = (int8_t)(limit - size);
  }
}

/* A memory goes a part of the way to the candidates; a unit of the grid is 2**bits. */
TERNEVO_FN void ternevo_gate(const int32_t *sums, int n, const int8_t *shifts, int shift, int bits,
                             const int8_t *candidates, int8_t *memory) {
  const int32_t unit = (int32_t)1 << bits;
  int i;
  for (i = 0; i < n; i++) {
    int32_t gate = sums[i] > 0;
    if (bits) {
      const int by = shifts ? (int8_t)TERNEVO_U8(shifts + i) : shift;
      gate = ternevo_round(sums[i], by, unit) + unit / 2;
      gate = gate > unit ? unit : gate < 0 ? 0 : gate;
    }
    gate *= candidates[i] - memory[i];
    memory[i] = (int8_t)(memory[i] + ternevo_round(gate, bits, 2 * unit));
  }
}

#ifndef TERNEVO_NO_FLOAT
/* Pixels that come as floats: less 128, rounded half to even. */
TERNEVO_INLINE void ternevo_pixels(const float *obs, int n, int8_t *q) {
  int i;
  for (i = 0; i < n; i++) q[i] = ternevo_rounded(obs[i], 128.0f);
}
#endif

TERNEVO_FN void ternevo_pixels_u8(const uint8_t *pixels, int n, int8_t *q) {
  int i;
  for (i = 0; i < n; i++) q[i] = (int8_t)(pixels[i] ? pixels[i] - 128 : -127);
}

#endif /* TERNEVO_C_LAYERS */
