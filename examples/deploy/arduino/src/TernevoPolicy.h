/* The policy of this library. policy.h is made by ternevo and put beside this file:

     python -m ternevo.export POLICY --to c --out src/policy.h --adc "SCALE,OFFSET"

   Its first comment says what goes in and what comes out. */
#ifndef TERNEVO_POLICY_LIBRARY
#define TERNEVO_POLICY_LIBRARY

#include "policy.h"

#endif
