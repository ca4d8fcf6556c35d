/* Evaluations per second of a policy, from float observations to actions, on one core.

     python -m ternevo.export POLICY --to c --out policy.h
     cc -O2 -std=c99 host_benchmark.c -o host_benchmark && ./host_benchmark
     cc -O2 -march=native ...               the widest instructions that this processor has
     cc -O2 -DTERNEVO_KERNEL=TERNEVO_AVX2 -mavx2 ...           a kernel of choice
     cc -O2 -DPOLICY_HEADER='"ant.h"' ...   another header, exported with the name "policy"

   A kernel is chosen when the file is compiled, so compare them by compiling it several times. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>

#ifndef POLICY_HEADER
#define POLICY_HEADER "policy.h"
#endif
#include POLICY_HEADER

#define OBSERVATIONS 256 /* different ones, so that a processor cannot learn the branches */
#define REPETITIONS 200  /* the best one counts: the others were disturbed */

static float observations[OBSERVATIONS][POLICY_N_IN];

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Returns something that depends on every action, so that none can be left out. */
static unsigned evaluate(int count) {
  unsigned sum = 0;
  int i;
  for (i = 0; i < count; i++) {
#ifdef POLICY_ACTION_SHIFT /* continuous */
    float action[POLICY_N_OUT];
    int j;
    policy_act(observations[i % OBSERVATIONS], action);
    for (j = 0; j < POLICY_N_OUT; j++) sum += (unsigned)(int)(action[j] * 1024.0f);
#else
    sum += (unsigned)policy_act(observations[i % OBSERVATIONS]) * (unsigned)(i | 1);
#endif
  }
  return sum;
}

static const char *kernel(void) {
#if TERNEVO_KERNEL == TERNEVO_AVX512
  return "avx512";
#elif TERNEVO_KERNEL == TERNEVO_AVX2
  return "avx2";
#elif TERNEVO_KERNEL == TERNEVO_NEON
  return "neon";
#elif TERNEVO_KERNEL == TERNEVO_VERTICAL
  return "vertical";
#else
  return "portable";
#endif
}

int main(void) {
  volatile unsigned sink = 0;
  unsigned state = 1;
  double best = 1e9;
  int i, j, count = 64; /* evaluations in a repetition, so many that it takes 2 ms */
  const int failed = policy_selftest();
  if (failed) {
    printf("the self test fails: %d\n", failed);
    return 1;
  }
  for (i = 0; i < OBSERVATIONS; i++) {
    for (j = 0; j < POLICY_N_IN; j++) {
      state = state * 1664525u + 1013904223u;
      observations[i][j] = (float)(state >> 8) / 4194304.0f - 2.0f; /* -2 to 2 */
    }
  }
  for (i = 0; i < REPETITIONS;) {
    const double start = seconds();
    double time;
    sink += evaluate(count);
    time = seconds() - start;
    if (time < 2e-3) {
      count *= 2;
      best = 1e9;
      i = 0;
      continue;
    }
    best = time / count < best ? time / count : best;
    i++;
  }
  printf("%-8s  %8.2f ns  %8.2f M evaluations/s\n", kernel(), best * 1e9, 1e-6 / best);
  return 0;
}
