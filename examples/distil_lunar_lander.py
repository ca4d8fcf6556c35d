"""Distil a lander into a file of a few hundred bytes.

    python examples/distil_lunar_lander.py            # the controller that Gymnasium ships
    python examples/distil_lunar_lander.py ppo.zip    # a PPO of Stable-Baselines3

It needs `pip install "gymnasium[box2d]"`, and stable-baselines3 for a zip. Options of
`ternevo.distil` that are worth trying: hidden_sizes, rounds, and weights="float" to see what trits
cost.
"""

import sys

import gymnasium
import numpy as np
from gymnasium.envs.box2d.lunar_lander import heuristic

import ternevo

ENV = "LunarLander-v3"


def teacher_of(arguments: list[str]):
    """Return a model of Stable-Baselines3, or the heuristic of the environment's authors."""
    if arguments:
        from stable_baselines3 import PPO

        return PPO.load(arguments[0], device="cpu")
    env = gymnasium.make(ENV)  # which says whether actions are continuous
    return lambda obs: heuristic(env, obs)


if __name__ == "__main__":
    policy = ternevo.distil(teacher_of(sys.argv[1:]), ENV, hidden_sizes=(64,), seed=0)
    env = gymnasium.make(ENV)
    obs, _ = env.reset(seed=0)
    print("first actions", [policy.act(np.asarray(obs) * scale) for scale in (1, 2, 4)])
