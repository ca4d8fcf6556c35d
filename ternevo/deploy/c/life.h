/* ------------------------------------------------------------------------------------- life */
#ifndef TERNEVO_C_LIFE
#define TERNEVO_C_LIFE 1

/* Policies that learn while they act. Weights change, so they are plain numbers in RAM. */

TERNEVO_FN uint32_t ternevo_mixed(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

/* 32 random bits: of the life, of one of its uses of them, and of a counter. */
TERNEVO_FN uint32_t ternevo_hash(uint32_t seed, uint32_t stream, uint32_t counter) {
  return ternevo_mixed(ternevo_mixed(seed + stream * 0x9e3779b9u) + counter);
}

#define TERNEVO_START 1u
#define TERNEVO_BABBLE 2u
#define TERNEVO_FLIP 4u
#define TERNEVO_VALUE 5u

/* What the next layer takes of sums in units of 2**-shift. */
#define TERNEVO_SIGN 0
#define TERNEVO_TERNARY 1
#define TERNEVO_GRID 2
TERNEVO_FN int8_t ternevo_activated(int32_t sum, int kind, int shift, int32_t limit) {
  if (kind == TERNEVO_SIGN) return (int8_t)(sum >= 0 ? 1 : -1);
  if (kind == TERNEVO_TERNARY) {
    const int32_t half = shift >= 1 ? (int32_t)1 << (shift - 1) : 0;
    return (int8_t)((sum > half) - (sum < -half));
  }
  return (int8_t)ternevo_round(sum, shift, limit);
}

/* ---- Hebbian rules: fast weights in units of 2**-14, activities in units of 2**-7 */

#define TERNEVO_ONE 16384

/* Random weights of at most 2**(width - 1). */
TERNEVO_FN void ternevo_hebb_start(int16_t *fast, int n, uint32_t first, uint32_t seed,
                                   int width) {
  int i;
  for (i = 0; i < n; i++) {
    const uint32_t drawn = ternevo_hash(seed, TERNEVO_START, first + (uint32_t)i);
    fast[i] = (int16_t)((int32_t)(drawn >> (32 - width)) - ((int32_t)1 << (width - 1)));
  }
}

/* Sums of inputs, with weights [in][out] that act as trits. */
TERNEVO_FN void ternevo_hebb_sums(const int16_t *fast, int num_in, int num_out, int dead_zone,
                                  const int8_t *x, int32_t *sums) {
  int zone = 0, i, j;
  for (i = 0; i < num_in * num_out; i++) {
    const int size = fast[i] < 0 ? -fast[i] : fast[i];
    if (size > zone) zone = size;
  }
  zone >>= dead_zone;
  for (j = 0; j < num_out; j++) sums[j] = 0;
  for (i = 0; i < num_in; i++) {
    for (j = 0; j < num_out; j++, fast++) {
      sums[j] += *fast > zone ? x[i] : *fast < -zone ? -x[i] : 0;
    }
  }
}

/* Offsets of outputs: Walsh functions of time, in units of the outputs. */
TERNEVO_FN void ternevo_babble(int32_t *sums, int num_out, uint32_t seed, int32_t change,
                               int32_t size) {
  int j;
  for (j = 0; j < num_out; j++) {
    uint32_t odd = (uint32_t)change & (uint32_t)(j + 1);
    odd ^= odd >> 16;
    odd ^= odd >> 8;
    odd ^= odd >> 4;
    odd ^= odd >> 2;
    odd ^= odd >> 1;
    odd ^= ternevo_hash(seed, TERNEVO_BABBLE, (uint32_t)j);
    sums[j] += odd & 1u ? -size : size;
  }
}

/* A weight after the rule, and before the bound; rules are [4][rules]. */
TERNEVO_FN int32_t ternevo_hebb_moved(int16_t w, const int8_t *rules, int num_rules,
                                      const uint8_t *rates, int rule, int32_t x, int32_t y) {
  const int32_t a = (int8_t)TERNEVO_U8(rules + rule);
  const int32_t b = (int8_t)TERNEVO_U8(rules + num_rules + rule);
  const int32_t c = (int8_t)TERNEVO_U8(rules + 2 * num_rules + rule);
  const int32_t d = (int8_t)TERNEVO_U8(rules + 3 * num_rules + rule);
  const int32_t drive = a * x * y + (b * x + c * y) * 128 + d * TERNEVO_ONE;
  return w + ternevo_round(drive, (int)TERNEVO_U8(rates + rule), 2147483647);
}

/* Which rule a weight has: a table, or by its input, its output, itself, or one for all. */
#define TERNEVO_RULE(of, i, j, num_out, by_in, by_out) \
  ((of) ? (int)TERNEVO_U16((of) + (i) * (num_out) + (j)) : (i) * (by_in) + (j) * (by_out))

/* Weights [in][out] after a step, of activities of inputs and outputs. */
TERNEVO_FN void ternevo_hebb_learn(int16_t *fast, int num_in, int num_out, const int8_t *rules,
                                   int num_rules, const uint8_t *rates, const uint16_t *of,
                                   int by_in, int by_out, int rescales, const int16_t *x,
                                   const int16_t *y) {
  int32_t largest = TERNEVO_ONE;
  int i, j;
  if (rescales) {
    for (i = 0; i < num_in; i++) {
      for (j = 0; j < num_out; j++) {
        const int rule = TERNEVO_RULE(of, i, j, num_out, by_in, by_out);
        const int32_t moved = ternevo_hebb_moved(fast[i * num_out + j], rules, num_rules, rates,
                                                 rule, x[i], y[j]);
        const int32_t size = moved < 0 ? -moved : moved;
        if (size > largest) largest = size;
      }
    }
  }
  for (i = 0; i < num_in; i++) {
    for (j = 0; j < num_out; j++) {
      const int rule = TERNEVO_RULE(of, i, j, num_out, by_in, by_out);
      int32_t moved = ternevo_hebb_moved(fast[i * num_out + j], rules, num_rules, rates, rule,
                                         x[i], y[j]);
      if (rescales) {
        moved = moved < 0 ? -(-moved * TERNEVO_ONE / largest) : moved * TERNEVO_ONE / largest;
      }
      moved = moved > TERNEVO_ONE ? TERNEVO_ONE : moved < -TERNEVO_ONE ? -TERNEVO_ONE : moved;
      fast[i * num_out + j] = (int16_t)moved;
    }
  }
}

/* ---- hill climbing */

TERNEVO_FN int8_t ternevo_trit(uint32_t drawn) { return (int8_t)((int)(drawn % 3u) - 1); }

/* The weights of the next trial: each is drawn again with probability 2**-rate. */
TERNEVO_FN void ternevo_flip(const int8_t *best, int8_t *trial, int n, const uint8_t *rates,
                             uint32_t first, uint32_t seed) {
  int i;
  for (i = 0; i < n; i++) {
    const unsigned rate = TERNEVO_U8(rates + i);
    const uint32_t counter = first + (uint32_t)i;
    const uint32_t drawn = ternevo_hash(seed, TERNEVO_FLIP, counter);
    trial[i] = best[i];
    if (rate < 32u && (drawn >> 1) >> (31u - rate) == 0u) {
      trial[i] = ternevo_trit(ternevo_hash(seed, TERNEVO_VALUE, counter));
    }
  }
}

/* Sums of weights [out][in], which biases follow if one of them counts for anything. */
TERNEVO_FN void ternevo_trit_sums(const int8_t *weights, int num_in, int num_out, int32_t bias,
                                  const int8_t *x, int32_t *sums) {
  const int8_t *biases = weights + num_in * num_out;
  int i, j;
  for (j = 0; j < num_out; j++) {
    sums[j] = bias ? bias * biases[j] : 0;
    for (i = 0; i < num_in; i++, weights++) {
      sums[j] += *weights > 0 ? x[i] : *weights < 0 ? -x[i] : 0;
    }
  }
}

/* ---- Turing machines: bits are 0 or 1 */

/* Switch on what has a sum above 0, of links [in][out]. */
TERNEVO_FN void ternevo_switch(const int8_t *links, int num_in, int num_out, const uint8_t *x,
                               uint8_t *on) {
  int i, j;
  for (j = 0; j < num_out; j++) {
    int32_t sum = 0;
    for (i = 0; i < num_in; i++) {
      if (x[i]) sum += (int8_t)TERNEVO_U8(links + i * num_out + j);
    }
    on[j] = (uint8_t)(sum > 0);
  }
}

/* Write, jump and shift; orders are the key, write, jump, left, stay and right. Returns the head. */
TERNEVO_FN uint16_t ternevo_tape(uint8_t *cells, uint8_t *exists, int count, int size, int expand,
                                 int head, const uint8_t *orders) {
  const uint8_t *own = orders + size;
  int i, k, last = count - 1, changed = 0, least = size + 1;
  if (own[0]) {
    for (k = 0; k < size; k++) {
      changed |= cells[head * size + k] != orders[k];
      cells[head * size + k] = orders[k];
    }
  }
  while (!exists[last]) last--;
  if (expand && head == last && changed) exists[(last + 1) % count] = 1;
  if (own[1]) {
    for (i = 0; i < count; i++) {
      int unlike = 0;
      for (k = 0; k < size; k++) unlike += cells[i * size + k] != orders[k];
      if (exists[i] && unlike < least) {
        least = unlike;
        head = i;
      }
    }
  }
  /* The first of the largest: left unless it is off and another one on. */
  head += own[2] ? -1 : own[3] ? 0 : own[4] ? 1 : -1;
  head = (head + count) % count;
  exists[head] = 1;
  return (uint16_t)head;
}
#endif
