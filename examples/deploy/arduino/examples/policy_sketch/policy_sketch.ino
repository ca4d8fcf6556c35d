/* A policy on an Arduino: read sensors, act, fifty times a second.

   1. In the folder of this library, export a policy with discrete actions, such as one for CartPole,
      and say what a count of analogRead stands for, once for all sensors or once for each:
        python -m ternevo.export POLICY --to c --out src/policy.h --adc "0.0049,-2.5"
   2. Install the library: Sketch > Include Library > Add .ZIP Library, or copy the folder to the
      folder "libraries" of your sketches. Then open this sketch from its examples.
   3. Replace `apply` by your own motors. The comment at the head of src/policy.h says what each
      input is, in which unit, and what the actions mean.

   With --adc no float is computed, which saves half of the memory and most of the time of an AVR.
   Without it the sketch computes floats, in software. */
#ifdef __AVR__
#define TERNEVO_NO_SELFTEST /* remove this line to check the board once */
#endif
#include <TernevoPolicy.h>

static const int pins[] = {A0, A1, A2, A3};

static int decide() {
#ifdef POLICY_HAS_I16
  int16_t raw[POLICY_N_IN];
  int8_t q[POLICY_N_IN];
  for (int i = 0; i < POLICY_N_IN; i++) raw[i] = (int16_t)analogRead(pins[i % 4]);
  policy_quantise_i16(raw, q);
  return policy_act_q(q);
#else
  float obs[POLICY_N_IN];
  for (int i = 0; i < POLICY_N_IN; i++) {
    obs[i] = (float)(analogRead(pins[i % 4]) - 512) / 512.0f; /* in the units of training */
  }
  return policy_act(obs);
#endif
}

static void apply(int action) { digitalWrite(LED_BUILTIN, action); }

void setup() {
  Serial.begin(115200);
  pinMode(LED_BUILTIN, OUTPUT);
#ifndef TERNEVO_NO_SELFTEST
  const int failed = policy_selftest();
  Serial.print("self test ");
  Serial.println(failed); /* 0: this board computes exactly what Python does */
  while (failed) delay(1000);
#endif
}

void loop() {
  apply(decide());
  delay(20);
}
