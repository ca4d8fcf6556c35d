"""How many evaluations NEAT takes to solve a task, over seeds.

    python experiments/neat.py control/xor --policy.update feed_forward --solved 0.9

prints a line for each seed and one for all. A run ends with the generation in which a member is
solved, or after --generations. Options of `--strategy neat` and `--policy graph` are given by
name, such as `species_threshold=4`.
"""

import argparse
import ast
import statistics
import time
from typing import NamedTuple

import jax
import numpy as np

from ternevo import envs
from ternevo.settings.policies import Graph
from ternevo.settings.strategies.neat import NEAT


class Solved(NamedTuple):
    """How a seed ended: generation and evaluations, None if it is not solved."""

    generation: int | None
    evaluations: int
    hidden: int
    links: int
    seconds: float


def main() -> None:
    """Run all seeds, one after another, with one compiled program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("env")
    parser.add_argument("options", nargs="*", help="name=value of the strategy or the policy")
    parser.add_argument("--solved", type=float, required=True, help="the return that is enough")
    parser.add_argument("--generations", type=int, default=100)
    parser.add_argument("--episode_length", type=int)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--weights", default="ternary")
    parser.add_argument("--optimization", type=int, default=3, help="of XLA; 0 compiles fast")
    given = parser.parse_intermixed_args()
    options = dict(option.split("=", 1) for option in given.options)
    options = {name: _value(text) for name, text in options.items()}
    of_policy = {
        name: options.pop(name) for name in ("max_hidden", "update", "max_depth") if name in options
    }
    env = envs.make(given.env, given.episode_length)
    policy = Graph(weights=given.weights, **of_policy).build(env.obs, env.action)
    settings = NEAT.of(**options)
    strategy = settings.build(env, policy, given.weights, given.generations)
    options = {"xla_backend_optimization_level": given.optimization}
    init, step = (jax.jit(f, compiler_options=options) for f in (strategy.init, strategy.step))
    jax.block_until_ready(step(jax.random.key(0), init(jax.random.key(0), *strategy.numbers())))
    rows = []
    for seed in range(given.seeds):
        rows.append(solve(strategy, init, step, settings.population_size, seed, given))
        print(seed, *rows[-1], flush=True)
    print(summary(rows))


def _value(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except ValueError:
        return text


def solve(strategy, init, step, population: int, seed: int, given) -> Solved:
    """Run a seed until it is solved."""
    key, start = jax.random.key(seed), time.perf_counter()
    state = init(key, *strategy.numbers())
    for generation in range(given.generations):
        state, metrics = step(jax.random.fold_in(key, generation), state)
        if float(metrics["return/max"]) >= given.solved:
            break
    is_solved = float(metrics["return/max"]) >= given.solved
    return Solved(
        generation + 1 if is_solved else None,
        (generation + 1) * population,
        int(metrics["search/champion_hidden"]),
        int(metrics["search/champion_links"]),
        round(time.perf_counter() - start, 2),
    )


def summary(rows: list[Solved]) -> str:
    """Return how many seeds are solved, and the median evaluations, unsolved ones the most."""
    solved = [row for row in rows if row.generation is not None]
    evaluations = [row.evaluations if row.generation is not None else float("inf") for row in rows]
    hidden = statistics.fmean(row.hidden for row in solved) if solved else float("nan")
    seconds, done = sum(row.seconds for row in rows), sum(row.evaluations for row in rows)
    return (
        f"{len(solved)} of {len(rows)} solved; median {np.median(evaluations):g} evaluations, "
        f"mean of solved {np.mean([row.evaluations for row in solved] or [np.nan]):.0f}; "
        f"{hidden:.1f} hidden; {done / seconds:.0f} evaluations a second"
    )


if __name__ == "__main__":
    main()
