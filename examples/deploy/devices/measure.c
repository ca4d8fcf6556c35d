/* What one evaluation of a policy takes of a device: its answer, time and stack.

   measure_devices.py compiles it once with nothing to evaluate and once for each kind of input, runs
   both in a simulator, and prints the differences. It needs policy.h and inputs.h, which has an
   observation in three forms: measure_obs (float), measure_raw (counts of a converter, int16) and
   measure_q (the integers that the policy takes, int8). */
#include <stdint.h>

#include "policy.h"

#include "inputs.h"

#define NOTHING 0
#define FLOATS 1
#define COUNTS 2
#define INTEGERS 3

/* ------------------------------------------------------------------------------- the device */

static void put(char c);      /* write a character */
static void start(void);      /* start the clock */
static uint32_t ticks(void);  /* read it */
static void leave(void);      /* end the simulation */
static uint8_t *floor_of_stack(void); /* the lowest byte that the stack may reach */

#if defined(__AVR__)
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>

#define EVALUATIONS 64
#define STACK ((uint8_t *)SP + 1)

/* simavr prints what is written to this register; it is told so in a section of its own, by the tag
   AVR_MMCU_TAG_SIMAVR_CONSOLE of its avr_mcu_section.h. */
const struct __attribute__((__packed__)) {
  uint8_t tag, length;
  volatile void *console;
} _mmcu __attribute__((section(".mmcu"))) = {11, sizeof(void *), &GPIOR0};

static volatile uint16_t overflows;

/* Timer 0 counts every 64 cycles. */
ISR(TIMER0_OVF_vect) { overflows++; }

static void put(char c) { GPIOR0 = (uint8_t)c; }

static void start(void) {
#ifdef TIMSK0
  TIMSK0 = 1 << TOIE0;
#else
  TIMSK = 1 << TOIE0;
#endif
  TCCR0B = (1 << CS01) | (1 << CS00);
  sei();
}

static uint32_t ticks(void) {
  uint32_t found;
  cli();
  found = (uint32_t)overflows * 256 + TCNT0;
  sei();
  return found * 64;
}

static void leave(void) {
  cli();
  sleep_enable();
  sleep_cpu();
}

extern uint8_t __heap_start; /* of avr-libc: behind all variables */
static uint8_t *floor_of_stack(void) { return &__heap_start; }

#else /* a Cortex-M on the boards MPS2 of QEMU; see bare_metal/main.c */

#define EVALUATIONS 1000
#define DEPTH 65536
#define TIMER ((volatile uint32_t *)0x40000000)

static void semihost(uint32_t operation, uint32_t argument) {
  register uint32_t r0 __asm__("r0") = operation;
  register uint32_t r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void put(char c) { semihost(0x03, (uint32_t)&c); }

static void start(void) {
  TIMER[2] = 0xffffffff; /* it counts down */
  TIMER[1] = 0xffffffff;
  TIMER[0] = 1;
}

/* The timer has 25 MHz, and with -icount shift=0 an instruction takes 1 ns. */
static uint32_t ticks(void) { return (0xffffffffu - TIMER[1]) * 40; }

static void leave(void) {
  semihost(0x18, 0x20026);
  for (;;) {
  }
}

static inline uint8_t *stack_pointer(void) {
  uint8_t *found;
  __asm__ volatile("mov %0, sp" : "=r"(found));
  return found;
}
#define STACK stack_pointer()

extern uint8_t stack_top; /* of the linker script */
static uint8_t *floor_of_stack(void) { return &stack_top - DEPTH; }

int main(void);
void reset(void);
void reset(void) {
#if defined(__ARM_FP) /* switch on the unit for floats */
  *(volatile uint32_t *)0xe000ed88 |= 0xfu << 20;
  __asm__ volatile("dsb\n isb");
#endif
  main();
}

typedef void (*entry)(void);
__attribute__((section(".vectors"), used)) static const struct {
  uint8_t *stack;
  entry handlers[15];
} vectors = {&stack_top,
             {reset, leave, leave, leave, leave, leave, leave, leave, leave, leave, leave, leave,
              leave, leave, leave}};

void *memset(void *to, int value, unsigned size);
void *memset(void *to, int value, unsigned size) {
  volatile uint8_t *p = (volatile uint8_t *)to;
  while (size--) *p++ = (uint8_t)value;
  return to;
}

void *memcpy(void *to, const void *from, unsigned size);
void *memcpy(void *to, const void *from, unsigned size) {
  volatile uint8_t *p = (volatile uint8_t *)to;
  const uint8_t *q = (const uint8_t *)from;
  while (size--) *p++ = *q++;
  return to;
}
#endif

/* --------------------------------------------------------------------------- the evaluation */

int32_t measure_answer; /* the action; of continuous ones the first as a fixed-point number */

__attribute__((noinline)) static void evaluate(void) {
#if MEASURE == COUNTS || MEASURE == INTEGERS
#if MEASURE == COUNTS
  int8_t q[POLICY_N_IN];
  policy_quantise_i16(measure_raw, q);
#else
  const int8_t *q = measure_q;
#endif
#ifdef POLICY_ACTION_SHIFT
  int32_t action[POLICY_N_OUT];
  policy_act_fixed(q, action);
  measure_answer = action[0];
#else
  measure_answer = policy_act_q(q);
#endif
#elif MEASURE == FLOATS
#ifdef POLICY_ACTION_SHIFT
  union {
    float value;
    int32_t bits;
  } first;
  float action[POLICY_N_OUT];
  policy_act(measure_obs, action);
  first.value = action[0];
  measure_answer = first.bits;
#else
  measure_answer = policy_act(measure_obs);
#endif
#endif
  __asm__ volatile("" : : : "memory");
}

/* ----------------------------------------------------------------------------- the numbers */

#define PAINT 0xa5

__attribute__((noinline)) static uint16_t stack_of_evaluation(void) {
  uint8_t *p, *top = STACK, *low = floor_of_stack(); /* what is below is free */
  for (p = low; p < top; p++) *(volatile uint8_t *)p = PAINT;
  evaluate();
  for (p = low; p < top && *(volatile uint8_t *)p == PAINT;) p++;
  return (uint16_t)(top - p);
}

static void number(const char *name, uint32_t value) {
  char digits[10];
  int8_t i = 0;
  while (*name) put(*name++);
  do {
    digits[i++] = (char)('0' + value % 10);
    value /= 10;
  } while (value);
  while (i) put(digits[--i]);
  put(' ');
}

int main(void) {
  uint16_t i, stack = stack_of_evaluation();
  uint32_t before;
  /* so that the inputs are there with nothing to evaluate, too */
  __asm__ volatile("" : : "r"(measure_obs), "r"(measure_raw), "r"(measure_q));
  start();
  before = ticks();
  for (i = 0; i < EVALUATIONS; i++) evaluate();
  before = ticks() - before;
  number("answer ", (uint32_t)measure_answer);
  number("ticks ", before);
  number("evaluations ", EVALUATIONS);
  number("stack ", stack);
  put('\r'); /* simavr prints the line */
  leave();
  return 0;
}
