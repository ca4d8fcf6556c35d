/* A policy on an Arduino: read sensors, act, fifty times a second.

   1. Export it with 4 inputs and 2 actions, such as one for CartPole:
        python -m ternevo.export POLICY --to c --out policy.h
   2. Put policy.h into this folder, beside the sketch, and open the sketch.
   3. Replace `observe` and `apply` by your own sensors and motors.

   An AVR (Uno, Nano) computes floats in software. Where sensors give integers anyway, scale them to
   int8_t as the policy was trained and call policy_act_q; TERNEVO_NO_FLOAT then leaves out the
   rest. */
#include "policy.h"

static void observe(float obs[POLICY_N_IN]) {
  static const int pins[] = {A0, A1, A2, A3};
  for (int i = 0; i < POLICY_N_IN; i++) {
    const int pin = pins[i % 4];
    obs[i] = (float)(analogRead(pin) - 512) / 512.0f; /* in the units of training */
  }
}

static void apply(int action) { digitalWrite(LED_BUILTIN, action); }

void setup() {
  Serial.begin(115200);
  pinMode(LED_BUILTIN, OUTPUT);
  const int failed = policy_selftest();
  Serial.print("self test ");
  Serial.println(failed); /* 0: this board computes exactly what Python does */
  while (failed) delay(1000);
}

void loop() {
  float obs[POLICY_N_IN];
  observe(obs);
  apply(policy_act(obs));
  delay(20);
}
