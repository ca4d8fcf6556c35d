"""HyperNEAT on the two boxes, at the resolution of training and at others without evolution.

    python experiments/hyperneat.py --seeds 5
    python experiments/hyperneat.py --seeds 5 --direct   # the same evaluations, trit by trit

prints a line for each seed: the share of pictures in which the answer is at most one pixel off, and
at most one of the pixels of 11 x 11, at each resolution. With --record it adds a JSON line to
results/neat.jsonl. --direct evolves a ternary MLP without hidden layers by `ternary_ga` instead, of
the same 121 x 121 weights, which has no other resolution.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ternevo import envs
from ternevo.arithmetic import observation
from ternevo.policies import contract
from ternevo.policies.acting import Actor, seen_first
from ternevo.settings.policies import MLP, HyperNEAT, PolicySettings
from ternevo.settings.strategies import STRATEGIES
from ternevo.types import Params

RESULTS = Path(__file__).with_name("results") / "neat.jsonl"
PICTURES = {11: 500, 33: 300, 55: 100}
"""Fresh pictures at each resolution."""


def main() -> None:
    """Run all seeds, one after another, with one compiled program."""
    given = parsed()
    settings: PolicySettings = HyperNEAT(weights=given.weights)
    name, shapes = "neat", tuple(PICTURES)
    if given.direct:
        settings, name, shapes = MLP((), use_bias=False), "ternary_ga", (11,)
    env = envs.make("vision/boxes")
    policy = contract.build(settings, env.obs, env.action)
    chosen = STRATEGIES[name].of(population_size=given.population, num_episodes=1)
    strategy = chosen.build(env, policy, settings.weights, given.generations)
    init, step = jax.jit(strategy.init), jax.jit(strategy.step)
    rows = []
    for seed in range(given.seeds):
        key, start = jax.random.key(seed), time.perf_counter()
        state, solved = init(key, *strategy.numbers()), None
        for generation in range(given.generations):
            state, metrics = step(jax.random.fold_in(key, generation), state)
            if solved is None and float(metrics["return/max"]) > 0.98:
                solved = (generation + 1) * given.population
        seconds = round(time.perf_counter() - start, 1)
        params = strategy.params(state).weights
        found = {size: hits(settings, params, size) for size in shapes}
        rows.append({"seed": seed, "solved": solved, "hits": found, "seconds": seconds})
        print(rows[-1], flush=True)
    if given.record:
        record(given, rows)


def parsed() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--generations", type=int, default=60)
    parser.add_argument("--population", type=int, default=128)
    parser.add_argument("--weights", default="float", help="of the graph: float or ternary")
    parser.add_argument("--direct", action="store_true", help="evolve the trits themselves")
    parser.add_argument("--record", action="store_true", help="add a line to results/neat.jsonl")
    return parser.parse_args()


def hits(settings: PolicySettings, params: Params, resolution: int) -> tuple[float, float]:
    """Return the shares of pictures with answers one pixel off at most, of its own and of 11."""
    env = envs.make(f"vision/boxes@{resolution}")
    policy = contract.build(settings, env.obs, env.action)
    actor = Actor(policy, env.obs, env.action)
    quantiser = observation.freeze(observation.empty(env.obs.size), env.obs.kind)
    weights = jax.jit(policy.packing(1).pack)(params)

    def one(key: jax.Array) -> jax.Array:
        state, obs = env.reset(key, ())
        action = actor.act(weights, quantiser, (), seen_first(obs))[1]
        across, down = action % resolution, action // resolution
        x, y = state.centre % resolution, state.centre // resolution
        return jnp.maximum(jnp.abs(across - x), jnp.abs(down - y))

    keys = jax.random.split(jax.random.key(9), PICTURES[resolution])
    off = np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(keys))
    return float((off <= 1).mean()), float((off <= resolution / 11).mean())


def record(given: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Add a line of all seeds to the results."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    line = {
        "system": "HyperNEAT",
        "task": "vision/boxes",
        "arm": "direct" if given.direct else f"{given.weights} graph",
        "population": given.population,
        "generations": given.generations,
        "seeds": rows,
        "mean hits at 11": statistics.fmean(row["hits"][11][0] for row in rows),
        "command": " ".join(["python experiments/hyperneat.py", *sys.argv[1:]]),
        "commit": commit.stdout.strip(),
    }
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
