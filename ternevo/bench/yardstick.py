"""What a core can do: CartPole and an exported policy in one loop of C, beside our evaluation.

Both play as many full episodes with copies of one trained policy, on as many cores; the loop has no
population, no lanes and no compiler of its own. Its random starts come from a linear congruence.
"""

import concurrent.futures
import ctypes

import numpy as np

from ternevo import envs
from ternevo.bench import evaluation
from ternevo.bench.cases import Yardstick
from ternevo.bench.contest import CaseError, Contest, Contestant
from ternevo.bench.deploy import Missing, compiled_library
from ternevo.deploy import c_header
from ternevo.machine import devices
from ternevo.policies import policy_file
from ternevo.settings.policies import MLP

SOURCE = """
#include <math.h>
#include <stdint.h>
#include "policy.h"

static float draw(uint32_t *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return (float)(*seed >> 8) / 16777216.0f * 0.1f - 0.05f;
}

/* Gymnasium's CartPole-v1; returns the steps of all episodes. */
long play(uint32_t seed, int episodes, int limit) {
  long steps = 0;
  int episode, step;
  for (episode = 0; episode < episodes; episode++) {
    float s[4];
    for (step = 0; step < 4; step++) s[step] = draw(&seed);
    for (step = 0; step < limit; step++) {
      float force = policy_act(s) ? 10.0f : -10.0f;
      float c = cosf(s[2]), n = sinf(s[2]);
      float push = (force + 0.05f * s[3] * s[3] * n) / 1.1f;
      float turn = (9.8f * n - c * push) / (0.5f * (4.0f / 3.0f - 0.1f * c * c / 1.1f));
      float slide = push - 0.05f * turn * c / 1.1f;
      s[0] += 0.02f * s[1]; s[1] += 0.02f * slide;
      s[2] += 0.02f * s[3]; s[3] += 0.02f * turn;
      steps++;
      if (fabsf(s[0]) > 2.4f || fabsf(s[2]) > 0.20943951f) break;
    }
  }
  return steps;
}
"""


def build(setting: Yardstick) -> Contest:
    """Return ternevo and, where there is a compiler, the loop in C."""
    env = envs.make("gymnax/CartPole-v1", setting.episode_length)
    settings = MLP(hidden_sizes=setting.hidden_sizes, activation=setting.activation)
    policy = settings.build(env.obs, env.action)
    params = evaluation.trained(env, policy)
    ours, notes = evaluation.evaluation("ternevo", evaluation.copies(setting, env, policy, params))
    record = policy_file.record_of(settings, env.obs, env.action, params, {})
    try:
        theirs = _in_c(c_header.to_c(record), setting)
    except Missing as missing:
        theirs = Contestant("C", lambda: None, skipped=str(missing))
    return Contest([ours, theirs], notes)


def _in_c(header: str, setting: Yardstick) -> Contestant:
    """Return the loop in C, a thread for each core.

    Raises:
      Missing: there is no compiler.
      CaseError: the episodes are not full.
    """
    flags = ("-march=native", "-O3", "-lm")
    library = compiled_library({"policy.h": header, "policy.c": SOURCE}, *flags)
    library.play.argtypes = (ctypes.c_uint32, ctypes.c_int, ctypes.c_int)
    library.play.restype = ctypes.c_long
    with devices.on_all_devices():
        num_cores = devices.count()
    shares = np.diff(np.linspace(0, setting.population_size * setting.num_episodes, num_cores + 1))
    pool = concurrent.futures.ThreadPoolExecutor(num_cores)

    def run() -> int:
        seeds, length = range(num_cores), setting.episode_length
        return sum(pool.map(lambda i: library.play(i, int(shares[i]), length), seeds))

    steps, full = run(), int(sum(map(int, shares))) * setting.episode_length
    if steps < evaluation.FULL * full:
        raise CaseError(f"the policy falls in C: {steps} of {full} steps")
    return Contestant("C", run, env_steps=steps)
