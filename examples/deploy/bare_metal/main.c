/* A policy on a bare Cortex-M: no operating system, no C library, 30 lines of start-up code.

     python -m ternevo.export POLICY --to c --out policy.h
     arm-none-eabi-gcc -mcpu=cortex-m3 -mthumb -std=c99 -O2 main.c -nostartfiles \
         -T mps2_an385.ld -lgcc -o policy.elf
     qemu-system-arm -M mps2-an385 -nographic -monitor none -icount shift=0 \
         -semihosting-config enable=on,target=native -kernel policy.elf

   It runs the self test and counts instructions; the exit status of QEMU is 0 if all is right. On a
   board, replace `print` and `leave`, which talk to a debugger, and the addresses in the linker
   script. */
#include <stdint.h>

#include "policy.h"

#define EVALUATIONS 1000

/* Ask the debugger, which QEMU plays: operation in r0, argument in r1. */
static void semihost(uint32_t operation, uint32_t argument) {
  register uint32_t r0 __asm__("r0") = operation;
  register uint32_t r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void print(const char *text) { semihost(0x04, (uint32_t)text); }

static void print_number(int32_t value) {
  char text[12];
  int i = 11;
  uint32_t rest = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
  text[i] = 0;
  do {
    text[--i] = (char)('0' + rest % 10);
    rest /= 10;
  } while (rest);
  if (value < 0) text[--i] = '-';
  print(text + i);
}

static void leave(int failed) {
  semihost(0x18, failed ? 0x20024 : 0x20026); /* a run-time error, or the end */
  for (;;) {
  }
}

/* Timer 0 of the board counts down at 25 MHz. With -icount shift=0 QEMU takes 1 ns for each
   instruction, so a tick is 40 of them. */
#define TIMER ((volatile uint32_t *)0x40000000)

static void measure(void) {
  int8_t q[POLICY_N_IN];
  uint32_t start, ticks;
  int i;
  TIMER[2] = 0xffffffff; /* reload */
  TIMER[1] = 0xffffffff;
  TIMER[0] = 1;
  start = TIMER[1];
  for (i = 0; i < EVALUATIONS; i++) {
#ifdef POLICY_ACTION_SHIFT /* continuous */
    int32_t action[POLICY_N_OUT];
#endif
    int j;
    for (j = 0; j < POLICY_N_IN; j++) q[j] = (int8_t)(37 * j + i);
    __asm__ volatile("" : : "r"(q) : "memory");
#ifdef POLICY_ACTION_SHIFT
    policy_act_fixed(q, action);
    __asm__ volatile("" : : "r"(action) : "memory");
#else
    {
      const int action = policy_act_q(q);
      __asm__ volatile("" : : "r"(action));
    }
#endif
  }
  ticks = start - TIMER[1];
  print("instructions per evaluation ");
  print_number((int32_t)(ticks * 40 / EVALUATIONS));
  print("\n");
}

int main(void) {
  const int failed = policy_selftest();
  print("self test ");
  print_number(failed);
  print("\n");
  measure();
  leave(failed);
  return 0;
}

/* ---------------------------------------------------------------------------------- start-up */

extern uint32_t stack_top; /* of the linker script */

void reset(void);
void reset(void) { main(); }

static void fault(void) { leave(1); }

typedef void (*entry)(void);

__attribute__((section(".vectors"), used)) static const struct {
  uint32_t *stack;
  entry handlers[15];
} vectors = {&stack_top,
             {reset, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault,
              fault, fault, fault}};

/* What compilers call for large copies, library or not. */
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
