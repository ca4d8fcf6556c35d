"""Distil the lander that Gymnasium ships, a page of rules, into a file of about a kilobyte.

    pip install "gymnasium[box2d]"
    python examples/distil_lunar_lander.py

Options of `ternevo.distil` that are worth trying: hidden_sizes, rounds, and weights="float" to see
what trits cost.
"""

import gymnasium
from gymnasium.envs.box2d.lunar_lander import heuristic

import ternevo

ENV = "LunarLander-v3"

if __name__ == "__main__":
    rules = gymnasium.make(ENV)  # the rules ask it whether actions are continuous
    policy = ternevo.distil(lambda obs: heuristic(rules, obs), ENV, seed=0)
    policy.save("lander.tvp")
    obs, _ = rules.reset(seed=0)
    print(f"first action {policy.act(obs)}, the teacher's {heuristic(rules, obs)}")
