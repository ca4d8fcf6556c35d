/* A policy on a board of PlatformIO: counts of the converter in, an action out, no floats.

     python -m ternevo.export POLICY --to c --out include/policy.h --adc "SCALE,OFFSET"
     pio run -e uno

   Any policy with discrete or continuous actions will do; `apply` is yours to replace. */
#include <Arduino.h>

#include "policy.h"

#ifndef POLICY_HAS_I16
#error "export the policy with --adc: this example reads counts of the converter"
#endif

#ifndef OUTPUT_PIN
#define OUTPUT_PIN LED_BUILTIN /* of continuous actions one with PWM: -DOUTPUT_PIN=3 on an Uno */
#endif

static const uint8_t pins[] = {A0, A1, A2, A3};
static const int num_pins = sizeof pins / sizeof pins[0];

#ifdef POLICY_ACTION_SHIFT /* continuous: the duty of a pin from 0 to 255 */
static void apply(const int32_t action[POLICY_N_OUT]) {
  const int32_t up = action[0] + ((int32_t)1 << POLICY_ACTION_SHIFT);
  analogWrite(OUTPUT_PIN, (int)(((int64_t)up * 127) >> POLICY_ACTION_SHIFT));
}
#else
static void apply(int action) { digitalWrite(OUTPUT_PIN, action != 0); }
#endif

void setup() { pinMode(OUTPUT_PIN, OUTPUT); }

void loop() {
  int16_t raw[POLICY_N_IN];
  int8_t q[POLICY_N_IN];
  for (int i = 0; i < POLICY_N_IN; i++) raw[i] = (int16_t)analogRead(pins[i % num_pins]);
  policy_quantise_i16(raw, q);
#ifdef POLICY_ACTION_SHIFT
  int32_t action[POLICY_N_OUT];
  policy_act_fixed(q, action);
  apply(action);
#else
  apply(policy_act_q(q));
#endif
  delay(20);
}
