"""The lecture's quadruped: Hebbian and static policies on brax's ant, whole and with short legs.

    python experiments/quadruped.py

runs what results/quadruped.jsonl lacks, one line for each seed, and writes the table of
docs/lifetimes.md. Policies are trained on whole ants and on ants with a short right front leg
(`meta/ant_legs`), and what ships walks 100 fresh episodes with each of three bodies; a short left
front leg was never seen. As in the lecture, only the way along x pays.
"""

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import tyro
from arms import PAGES, ROOT, check_all
from study_words import put, table
from tune import append, read

from ternevo import envs, keys, problems
from ternevo.arithmetic import observation
from ternevo.deploy import tvp
from ternevo.policies import contract, policy_file
from ternevo.runs import provenance
from ternevo.settings import command_line
from ternevo.types import Env, EnvState, Key, Policy, PolicyParams, Task, Timestep

RESULTS = PAGES / "results" / "quadruped.jsonl"
PAGE = ROOT / "docs" / "lifetimes.md"
FAMILY = "meta/ant_legs"
EPISODE_LENGTH, NUM_EPISODES = 200, 100
SOLVED = 2.0
"""Metres in the 10 s of an episode, which an ant must walk in the mean to be said to walk: about
twice its own length."""
BUDGET = (
    f"--env {FAMILY} --episode_length {EPISODE_LENGTH} --strategy ternary_nes "
    "--population_size 64 --num_episodes 1 --common_random_numbers pairs --num_generations 40"
)
STATIC = "--policy mlp --hidden_sizes ()"
HEBBIAN = "--policy hebbian --hidden_sizes () --rules_per synapse"
ARMS = {
    "Hebbian, integers": HEBBIAN,
    "static, ternary": STATIC,
    "Hebbian, float": f"{HEBBIAN} --fast float --weights float",
    "static, float": f"{STATIC} --weights float",
}
BODIES = {"none": "normal", "right front leg": "right_front", "left front leg": "left_front"}
"""The damages of the table, and the families that have them."""
UNSEEN = "left front leg"
JIT = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 2})


@dataclasses.dataclass(frozen=True)
class QuadrupedConfig:
    """Run what is not there yet, and write the table."""

    arms: tuple[str, ...] = tuple(ARMS)
    """Which arms."""
    num_seeds: int = 3
    """Seeds of an arm, from 1: the budget was chosen with seed 0."""
    table_only: bool = False
    """Run nothing."""


def main(config: QuadrupedConfig) -> None:
    """Run what is missing, and write the table."""
    check_all("arm", config.arms, ARMS)
    for arm in config.arms:
        missing = set(range(1, config.num_seeds + 1)) - {row["seed"] for row in read_arm(arm)}
        if missing and not config.table_only:
            run(arm, sorted(missing))
        write()


def options_of(arm: str) -> str:
    """Return the options of an arm, on which its lines depend."""
    return f"{BUDGET} {ARMS[arm]}"


def read_arm(arm: str) -> list[dict[str, Any]]:
    """Return the lines of an arm at its options of today."""
    return [row for row in read(RESULTS) if row["options"] == options_of(arm)]


def run(arm: str, seeds: list[int]) -> None:
    """Evolve an arm from each seed with one compiled program, and let what ships walk."""
    settings = command_line.parse(options_of(arm).split())
    env = progress(envs.make(FAMILY, EPISODE_LENGTH))
    policy = contract.build(settings.policy, env.obs, env.action)
    weights, generations = settings.policy.weights, settings.num_generations
    strategy = settings.strategy.build(env, policy, weights, generations)
    step, walk = JIT(strategy.step), walker(policy)
    for seed in seeds:
        begun, key, curve, steps = time.perf_counter(), jax.random.key(seed), [], 0
        state = JIT(strategy.init)(key, *strategy.numbers())
        for generation in range(generations):
            state, metrics = step(jax.random.fold_in(key, generation), state)
            steps += int(metrics["episode/steps"])
            curve.append(round(float(metrics["return/mean"]), 3))
        params = JIT(strategy.params)(state)
        record = policy_file.record_of(settings.policy, env.obs, env.action, params)
        ways = walk(params).round(3)
        line = {
            **{"arm": arm, "seed": seed, "ways": dict(zip(BODIES, ways.tolist(), strict=True))},
            **{"solved": SOLVED, "env_steps": steps, "curve": curve[:: max(1, generations // 15)]},
            **{"options": options_of(arm), "wall_seconds": round(time.perf_counter() - begun, 1)},
            **{"bytes": len(tvp.encode(record.bare())), "commit": provenance.describe()["commit"]},
        }
        append(RESULTS, line)
        means = {body: round(float(way.mean()), 2) for body, way in zip(BODIES, ways, strict=True)}
        print(json.dumps({"arm": arm, "seed": seed, **means}), flush=True)


def progress(env: Env) -> Env:
    """Return an environment of brax that pays the metres along x, and nothing else."""

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        after, timestep = env.step(key, state, action)
        way = after.physics.x.pos[0, 0] - state.physics.x.pos[0, 0]
        return after, timestep._replace(reward=way)

    return env._replace(step=step)


def walker(policy: Policy) -> Callable[[PolicyParams], np.ndarray]:
    """Return the function from what ships to the ways that it walks, in metres [bodies, episodes].

    The body is data, so that one compiled program walks all of them.
    """
    key = jax.random.fold_in(jax.random.key(1), keys.FINAL_EVALUATION)
    family = progress(envs.make(FAMILY, EPISODE_LENGTH))

    @JIT
    def walk(params: PolicyParams, body: Task) -> jax.Array:
        problem = problems.of(policy, family._replace(draw_task=lambda key: body))
        quantiser = observation.freeze(params.moments, family.obs.kind)
        return problem.test(key, params.weights, quantiser, NUM_EPISODES).returns[0]

    bodies = [envs.make(f"{FAMILY}@{name}").draw_task(key) for name in BODIES.values()]
    return lambda params: np.stack([np.asarray(walk(params, body)) for body in bodies])


def write() -> None:
    """Write the table into the page."""
    found = {arm: rows for arm in ARMS if (rows := read_arm(arm))}
    put(PAGE, "table quadruped", table_of(found))


def table_of(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return the lecture's table: a row for each damage, and a column for each arm that was run.

    A cell has the mean way over the episodes of all seeds, and their standard deviation.
    """
    if not found:
        return "Not run yet."
    rows = [
        [damage, "**no**" if damage == UNSEEN else "yes"]
        + [cell_of([row["ways"][damage] for row in own]) for own in found.values()]
        for damage in BODIES
    ]
    rows += [
        ["seeds", "", *(str(len(own)) for own in found.values())],
        ["bytes", "", *(str(own[0]["bytes"]) for own in found.values())],
        ["steps a seed", "", *(f"{own[0]['env_steps'] / 1e6:.2f} M" for own in found.values())],
    ]
    return table(" | ".join(["damage", "seen in training", *found]), rows)


def cell_of(ways: list[list[float]]) -> str:
    """Return mean and deviation of the ways of all seeds, and whether that is walking."""
    found = np.concatenate(ways)
    word = "solved" if found.mean() >= SOLVED else "failed"
    return f"{found.mean():.2f} ± {found.std():.2f} m, {word}"


if __name__ == "__main__":
    main(tyro.cli(QuadrupedConfig))
