"""A robot that walks with a short leg by choosing another gait: MAP-Elites, then a few trials.

    python experiments/adaptation.py

runs what results/adaptation.jsonl lacks, one line for each seed, and writes the table of
docs/lifetimes.md. MAP-Elites collects gaits of a whole ant (`meta/ant_gaits`): the farthest walker
for each pattern of feet on the ground that it meets. An ant with a short front leg, which no gait
has met, then tries a gait, learns from the way it walked what to expect of similar ones, and tries
the next, until it finds one that is nearly as good as any other can be expected to be. Nothing is
learned in the gaits themselves. What it chose walks 100 fresh episodes, beside the gait with the
highest return in the archive. As in experiments/quadruped.py, only the way along x pays.

Returns in an archive are lucky ones: the best of many means of three episodes, seen through the
moments of their generation. All trials of an ant are the same episode, with the last moments.

References:
  Cully et al., "Robots that can adapt like animals", Nature 2015: the map of behaviours, and the
  search in it (their equations for the Gaussian process, with their constants).
"""

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from arms import PAGES, ROOT
from study_words import put, table
from tune import append, read

from ternevo import envs, keys, problems
from ternevo.arithmetic import observation
from ternevo.deploy import tvp
from ternevo.envs import bodies
from ternevo.policies import contract, policy_file
from ternevo.problems import Plan
from ternevo.runs import provenance
from ternevo.settings import command_line
from ternevo.types import (
    Archive,
    Env,
    EnvState,
    Key,
    ObservationMoments,
    Policy,
    PolicyParams,
    Population,
    Task,
    Timestep,
)

RESULTS = PAGES / "results" / "adaptation.jsonl"
PAGE = ROOT / "docs" / "lifetimes.md"
FAMILY = "meta/ant_gaits"
EPISODE_LENGTH, NUM_EPISODES = 200, 100
OPTIONS = (
    f"--env {FAMILY} --episode_length {EPISODE_LENGTH} --strategy map_elites --grid 5 5 5 5 "
    "--population_size 128 --num_episodes 3 --hidden_sizes 16 --num_generations 120"
)
DAMAGES = {"none": "normal", "right front leg": "right_front", "left front leg": "left_front"}
TRIALS = 20
"""The most gaits that are tried, each for one episode."""
SECONDS = 10.0
"""How long an episode is."""
ENOUGH, CURIOSITY, REACH, NOISE = 0.9, 0.05, 0.4, 0.001
"""Of Cully et al.: the share of the best expectation that ends the trials (alpha), the weight of
uncertainty (kappa), the distance over which gaits are alike (rho), and the variance of a trial."""
JIT = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 2})


@dataclasses.dataclass(frozen=True)
class AdaptationConfig:
    """Run what is not there yet, and write the table."""

    num_seeds: int = 1
    """Seeds, from 0."""
    table_only: bool = False
    """Run nothing."""


class Trials(NamedTuple):
    """Which gaits were tried, in order, and how fast each went, in m/s."""

    tried: list[int]
    speeds: list[float]

    @property
    def chosen(self) -> int:
        """The gait that went fastest."""
        return self.tried[int(np.argmax(self.speeds))]


def main(config: AdaptationConfig) -> None:
    """Run what is missing, and write the table."""
    found = read_rows()
    missing = sorted(set(range(config.num_seeds)) - {row["seed"] for row in found})
    if missing and not config.table_only:
        run(missing)
    put(PAGE, "table adaptation", table_of(read_rows()))


def read_rows() -> list[dict[str, Any]]:
    """Return the lines at the options of today."""
    return [row for row in read(RESULTS) if row["options"] == OPTIONS]


def run(seeds: list[int]) -> None:
    """Collect gaits from each seed, and let ants with each damage choose among them."""
    settings = command_line.parse(OPTIONS.split())
    env = progress(envs.make(FAMILY, EPISODE_LENGTH))
    policy = contract.build(settings.policy, env.obs, env.action)
    strategy = settings.strategy.build(env, policy, "ternary", settings.num_generations)
    step, all_walk, one_walks = JIT(strategy.step), walkers(policy, env), walker(policy, env)
    for seed in seeds:
        begun, key, steps = time.perf_counter(), jax.random.key(seed), 0
        state = JIT(strategy.init)(key, *strategy.numbers())
        for generation in range(settings.num_generations):
            state, metrics = step(jax.random.fold_in(key, generation), state)
            steps += int(metrics["episode/steps"])
            if generation % 20 == 19:
                shown = {name: float(metrics[f"search/{name}"]) for name in ("coverage", "best")}
                print(seed, generation + 1, shown, flush=True)
        assert strategy.archive is not None
        archive: Archive = jax.device_get(strategy.archive.read(state))
        params = JIT(strategy.params)(state)
        record = policy_file.record_of(settings.policy, env.obs, env.action, params)
        line = {
            **{"seed": seed, "env_steps": steps, "gaits": int(archive.is_occupied.sum())},
            **{"cells": int(archive.is_occupied.size), "bytes": len(tvp.encode(record.bare()))},
            "damages": {
                damage: adapted(archive, params.moments, family, all_walk, one_walks, seed)
                for damage, family in DAMAGES.items()
            },
            **{"options": OPTIONS, "wall_seconds": round(time.perf_counter() - begun, 1)},
            **{"command": "python experiments/adaptation.py"},
            **{"commit": provenance.describe()["commit"]},
        }
        append(RESULTS, line)
        print(json.dumps(line), flush=True)


def progress(env: Env) -> Env:
    """Return the environment of gaits that pays the metres along x, and nothing else."""

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        after, timestep = env.step(key, state, action)
        way = after.walk.physics.x.pos[0, 0] - state.walk.physics.x.pos[0, 0]
        return after, timestep._replace(reward=way)

    return env._replace(step=step)


# --------------------------------------------------------------------------------- the choice


def adapted(
    archive: Archive,
    moments: ObservationMoments,
    family: str,
    all_walk: Callable[..., np.ndarray],
    one_walks: Callable[..., np.ndarray],
    seed: int,
) -> dict[str, Any]:
    """Return how far the best gait of a whole ant walks with a damage, and the chosen one."""
    key = jax.random.fold_in(jax.random.key(seed), keys.FINAL_EVALUATION)
    key_try, key_judge = jax.random.split(key)
    body = bodies.with_legs([family]).draw(key)
    ways = all_walk(key_try, archive.members, moments, body)
    trials = searched(archive, lambda gait: float(ways[gait]))
    leader = int(np.argmax(archive.fitness))
    best, chosen = (
        one_walks(key_judge, jax.tree.map(lambda x, g=gait: x[g], archive.members), moments, body)
        for gait in (leader, trials.chosen)
    )
    return {
        **{"best": rounded(best), "chosen": rounded(chosen)},
        **{"trials": len(trials.tried), "same": trials.chosen == leader},
        "shares": rounded(archive.descriptors[trials.chosen]),
    }


def rounded(numbers: np.ndarray) -> list[float]:
    """Return numbers with three places after the point."""
    return numbers.astype(float).round(3).tolist()


def searched(archive: Archive, walk: Callable[[int], float]) -> Trials:
    """Try gaits as Cully et al. do, each for an episode, until one is nearly the best to expect.

    What is expected of a gait is its speed with a whole ant, plus a Gaussian process over the
    differences found, on descriptors, with a Matern kernel (their equations 1 to 4). Speeds are in
    m/s, as theirs are, to which their weight of uncertainty belongs.

    Args:
      archive: the gaits.
      walk: (number of a gait) to the way it walks, in m; it is called once for each trial.
    """
    gaits = np.flatnonzero(archive.is_occupied)
    promised = archive.fitness[gaits].astype(float) / SECONDS
    places = archive.descriptors[gaits].astype(float)
    expected, doubt = promised, np.ones(len(gaits))
    rows: list[int] = []
    speeds: list[float] = []
    while len(rows) < min(TRIALS, len(gaits)):
        if speeds and max(speeds) >= ENOUGH * max(expected.max(), 0):
            break
        hopes = expected + CURIOSITY * np.sqrt(doubt)
        hopes[rows] = -np.inf  # once each: all trials are the same episode
        rows.append(int(np.argmax(hopes)))
        speeds.append(walk(int(gaits[rows[-1]])) / SECONDS)
        among = similar(places[rows], places[rows]) + NOISE * np.eye(len(rows))
        across = similar(places, places[rows])
        weights = np.linalg.solve(among, across.T).T
        expected = promised + weights @ (np.array(speeds) - promised[rows])
        doubt = np.maximum(1 - np.sum(weights * across, axis=1), 0)
    return Trials([int(gaits[row]) for row in rows], speeds)


def similar(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the Matern kernel (5/2) of descriptors [n, size] and [m, size]: [n, m]."""
    scaled = np.sqrt(5) * np.linalg.norm(first[:, None] - second, axis=-1) / REACH
    return (1 + scaled + scaled**2 / 3) * np.exp(-scaled)


def walkers(policy: Policy, env: Env) -> Callable[..., np.ndarray]:
    """Return the function to the way of each gait in one episode, all the same one [cells]."""

    @JIT
    def walk(key: Key, members: Any, moments: ObservationMoments, body: Task) -> jax.Array:
        family = env._replace(draw_task=lambda key: body)
        problem = problems.of(policy, family, Plan(1))
        generation = jnp.zeros((), jnp.int32)
        return problem.evaluate(key, Population(members), moments, generation).returns[:, 0]

    return lambda *arguments: np.asarray(walk(*arguments))


def walker(policy: Policy, env: Env) -> Callable[..., np.ndarray]:
    """Return the function to the ways of one gait in fresh episodes [episodes]."""

    @JIT
    def walk(key: Key, params: Any, moments: ObservationMoments, body: Task) -> jax.Array:
        problem = problems.of(policy, env._replace(draw_task=lambda key: body))
        shown = PolicyParams(params, moments)
        quantiser = observation.freeze(shown.moments, env.obs.kind)
        return problem.test(key, shown.weights, quantiser, NUM_EPISODES).returns[0]

    return lambda *arguments: np.asarray(walk(*arguments))


# ---------------------------------------------------------------------------------- the table


def table_of(rows: list[dict[str, Any]]) -> str:
    """Return a row for each damage: mean and deviation of all episodes, and the trials needed."""
    if not rows:
        return "Not run yet."
    head = "damage | gait that is best when whole | gait chosen by trials | trials of ten seconds"
    head += " | gaits in the archive"
    cells = [
        (
            damage,
            way_of([row["damages"][damage]["best"] for row in rows]),
            way_of([row["damages"][damage]["chosen"] for row in rows]),
            ", ".join(str(row["damages"][damage]["trials"]) for row in rows),
            ", ".join(f"{row['gaits']} of {row['cells']}" for row in rows),
        )
        for damage in DAMAGES
    ]
    return table(head, cells)


def way_of(ways: list[list[float]]) -> str:
    """Return mean and deviation of the ways of all seeds."""
    found = np.concatenate(ways)
    return f"{found.mean():.2f} ± {found.std():.2f} m"


if __name__ == "__main__":
    main(tyro.cli(AdaptationConfig))
