"""Policies that learn while they live, beside those that do not: the acceptance experiments.

    python experiments/lifetimes.py --systems hebbian hill_climber

runs what results/lifetimes.jsonl lacks, one line for each seed, and writes the table of
docs/lifetimes.md. The options of an arm are those of `python -m ternevo.run`; what would ship in
the end lives through fresh episodes of the family that it was evolved on, and of those it was not.
"""

import dataclasses
import functools
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro
from arms import PAGES, ROOT, check_all
from study_words import number, put, spread, table
from tune import append, read

from ternevo import envs, keys, problems
from ternevo.arithmetic import observation
from ternevo.deploy import tvp
from ternevo.policies import contract, policy_file
from ternevo.runs import provenance
from ternevo.runs.intervals import mean_interval
from ternevo.settings import command_line
from ternevo.types import Env, Policy, PolicyParams, Scores

RESULTS = PAGES / "results" / "lifetimes.jsonl"
PAGE = ROOT / "docs" / "lifetimes.md"
NUM_EPISODES = 256


class System(NamedTuple):
    """A system: options of all arms, environments to test on by column, and its arms.

    `tested` are settings of the policy that only tests have, such as a longer tape.
    """

    options: str
    tests: dict[str, str]
    arms: dict[str, str]
    tested: tuple[tuple[str, Any], ...] = ()


REACH = "meta/babble_and_reach"
CORNERS = "meta/four_corners"
HEBBIAN = "--policy hebbian --babble_steps 24"
CLIMBER = "--policy hill_climber --lifetime 22"


def copying(bits: int, generations: int, arms: dict[str, str]) -> System:
    """Return the system that copies vectors of some bits, and is tested at length 100."""
    env = f"memory/copy@{bits}"
    return System(
        f"--env {env} --policy entm --cell_size {bits + 1} --num_cells 24 --num_episodes 8 "
        f"--strategy ternary_ga --population_size 256 --num_generations {generations}",
        {"lengths 1 to 10": env, "length 100": f"{env}x100"},
        arms,
        (("num_cells", 128),),
    )


SHAPED_COPY = "--reward_shaping copy"
SHAPED_SEASON = "--reward_shaping season"
SEASON = "--policy entm --hidden_size 4 --cell_size 5 --num_cells 6 --expand"
SYSTEMS = {
    "hebbian": System(
        f"--env {REACH} --strategy ternary_ga --population_size 128 --num_generations 40 "
        "--num_episodes 8",
        {"seen": REACH, "unseen": f"{REACH}@unseen"},
        {
            "a rule per input, integers": f"{HEBBIAN} --rules_per input",
            "static, ternary": "--policy mlp --hidden_sizes ()",
            "a rule per synapse, integers": f"{HEBBIAN} --rules_per synapse",
            "a rule per input, all float": (
                f"{HEBBIAN} --rules_per input --fast float --gain 2 --weights float"
            ),
            "static, float": "--policy mlp --hidden_sizes () --weights float",
            "a rule per layer, integers": f"{HEBBIAN} --rules_per layer",
            "a rule per input, trits act": f"{HEBBIAN} --rules_per input --fast ternary",
            "a rule per synapse, all float": (
                f"{HEBBIAN} --rules_per synapse --fast float --gain 2 --weights float"
            ),
            "gated memory of 8, ternary": "--policy recurrent --memory_size 8 --hidden_sizes 8",
        },
    ),
    "hill_climber": System(
        f"--env {CORNERS} --strategy ternary_ga --population_size 96 --num_generations 40 "
        "--num_episodes 8",
        {"last episode": CORNERS},
        {
            "evolved start and mask": CLIMBER,
            "evolved start, all may change": f"{CLIMBER} --evolve_mask False --flip_rate 3",
            "random start, evolved mask": f"{CLIMBER} --start random",
            "no trials": "--policy hill_climber --num_trials 0 --lifetime 2 --evolve_mask False",
            "evolved start and mask, float": f"{CLIMBER} --weights float",
        },
    ),
    "noise": System(
        "--env meta/noisy_corners --strategy ternary_ga --population_size 96 "
        "--num_generations 40 --num_episodes 8 --lifetime 22 --policy hill_climber",
        {"last episode": "meta/noisy_corners"},
        {
            "20 trials of an episode": "--num_trials 20",
            "6 trials of 3 episodes": "--num_trials 6 --trial_episodes 3",
        },
    ),
    "copy, 1 bit": copying(
        1, 60, {"ternary": "", "float": "--weights float", "ternary, shaped": SHAPED_COPY}
    ),
    "copy, 2 bits": copying(
        2,
        150,
        {
            "ternary": "",
            "float": "--weights float",
            "ternary, by ternary_nes": "--strategy ternary_nes",
            "ternary, shaped": SHAPED_COPY,
            "float, shaped": f"--weights float {SHAPED_COPY}",
        },
    ),
    "copy, 4 bits": copying(
        4, 300, {"ternary": "", "ternary, shaped": SHAPED_COPY, "float": "--weights float"}
    ),
    "season": System(
        "--env memory/season@2 --strategy ternary_ga --population_size 256 "
        "--num_generations 200 --num_episodes 8",
        {"two foods": "memory/season@2"},
        {
            "ternary": SEASON,
            "no memory": "--policy mlp --hidden_sizes 4",
            "float": f"{SEASON} --weights float",
            "a tape of one cell": SEASON.replace("--num_cells 6", "--num_cells 1"),
            "ternary, shaped": f"{SEASON} {SHAPED_SEASON}",
            "ternary, shaped, 512 members": f"{SEASON} {SHAPED_SEASON} --population_size 512",
        },
    ),
}


@dataclasses.dataclass(frozen=True)
class LifetimesConfig:
    """Run what is not there yet, and write the tables."""

    systems: tuple[str, ...] = tuple(SYSTEMS)
    """Which systems."""
    num_seeds: int = 5
    """Seeds of an arm, from 0."""
    optimization: int = 0
    """Level of XLA's optimisation; 0 compiles fastest."""
    table_only: bool = False
    """Run nothing."""


def main(config: LifetimesConfig) -> None:
    """Run what is missing, and write the tables."""
    check_all("system", config.systems, SYSTEMS)
    for system in config.systems:
        for arm in SYSTEMS[system].arms:
            missing = set(range(config.num_seeds)) - {row["seed"] for row in rows_of(system, arm)}
            if missing and not config.table_only:
                run(config, system, arm, sorted(missing))
            write()


def rows_of(system: str, arm: str) -> list[dict[str, Any]]:
    """Return the lines of an arm."""
    return [row for row in read(RESULTS) if (row["system"], row["arm"]) == (system, arm)]


def run(config: LifetimesConfig, system: str, arm: str, seeds: list[int]) -> None:
    """Evolve an arm from each seed with one compiled program, and test what ships of each."""
    options = f"{SYSTEMS[system].options} {SYSTEMS[system].arms[arm]}"
    settings = command_line.parse(options.split())
    env = contract.shown_to(settings.policy, made(settings, settings.env))
    policy = contract.build(settings.policy, env.obs, env.action)
    weights, generations = settings.policy.weights, settings.num_generations
    strategy = settings.strategy.build(env, policy, weights, generations)
    jit = functools.partial(
        jax.jit, compiler_options={"xla_backend_optimization_level": config.optimization}
    )
    step = jit(strategy.step)
    grown = dataclasses.replace(settings.policy, **dict(SYSTEMS[system].tested))
    shipping = contract.build(grown, env.obs, env.action)
    tests = {
        column: jit(tester(shipping, made(settings, env_id)))
        for column, env_id in SYSTEMS[system].tests.items()
    }
    for seed in seeds:
        begun, key, steps = time.perf_counter(), jax.random.key(seed), 0
        state = jit(strategy.init)(key, *strategy.numbers())
        for generation in range(generations):
            state, metrics = step(jax.random.fold_in(key, generation), state)
            steps += int(metrics["episode/steps"])
        params = jit(strategy.params)(state)
        scores = {column: test(params) for column, test in tests.items()}
        returns = {column: float(found.returns.mean()) for column, found in scores.items()}
        record = policy_file.record_of(settings.policy, env.obs, env.action, params)
        line = {
            **{"system": system, "arm": arm, "seed": seed, "returns": returns},
            **{"episodes": NUM_EPISODES, "env_steps": steps, "options": options},
            **described(env, scores),
            **{"wall_seconds": round(time.perf_counter() - begun, 1)},
            **{"bytes": len(tvp.encode(record.bare())), "commit": provenance.describe()["commit"]},
            **masks_of(params),
        }
        append(RESULTS, line)
        print(json.dumps({key: line[key] for key in ("arm", "seed", "returns")}), flush=True)


def masks_of(params: PolicyParams) -> dict[str, Any]:
    """Return which weights of each layer may change: -1 never, 0 rarely, 1 freely."""
    layers = params.weights if isinstance(params.weights, tuple) else ()
    masks = [
        {name: x.values.tolist() for name, x in layer.items() if name.endswith("mask")}
        for layer in layers
    ]
    return {"masks": masks} if any(masks) else {}


def made(settings: Any, env_id: str) -> Env:
    """Return an environment with the wrappers of a run."""
    return envs.make(env_id, settings.episode_length, settings.wrappers)


def described(env: Env, scores: dict[str, Scores]) -> dict[str, Any]:
    """Return how the lives went, in the words of the environment, if it has any."""
    if env.descriptor is None:
        return {}
    names = env.descriptor.names
    lives = {
        column: dict(
            zip(names, np.asarray(found.descriptors).mean(0).round(4).tolist(), strict=True)
        )
        for column, found in scores.items()
    }
    return {"lives": lives}


def tester(policy: Policy, env: Env) -> Callable[[PolicyParams], Scores]:
    """Return the function from what ships to its scores on fresh lives."""
    problem = problems.of(policy, env)
    key = jax.random.fold_in(jax.random.key(1), keys.FINAL_EVALUATION)

    def test(params: PolicyParams) -> Scores:
        quantiser = observation.freeze(params.moments, env.obs.kind)
        return problem.test(key, params.weights, quantiser, NUM_EPISODES)

    return test


def write() -> None:
    """Write the tables of all systems into the page."""
    for name, system in SYSTEMS.items():
        put(PAGE, f"table {name}", table_of(name, system))


def table_of(name: str, system: System) -> str:
    """Return a row for each arm that has been run: means with 95% intervals, and all seeds."""
    columns = list(system.tests)
    rows = []
    for arm in system.arms:
        found = rows_of(name, arm)
        if not found:
            continue
        cells: list[str] = [arm]
        for column in columns:
            values = np.array([row["returns"][column] for row in found])
            cells += [spread(mean_interval(values)), ", ".join(map(number, values))]
        cells += [str(found[0]["bytes"]), f"{found[0]['env_steps'] / 1e6:.1f} M"]
        rows.append(cells)
    if not rows:
        return "Not run yet."
    titles = [title for column in columns for title in (column, "seeds")]
    shown = table(" | ".join(["arm", *titles, "bytes", "steps a seed"]), rows)
    return "\n\n".join([shown, *(caption(system, *setting) for setting in system.tested)])


def caption(system: System, name: str, value: Any) -> str:
    """Return in words that tests have another setting than training and the file that ships."""
    policy = command_line.parse(system.options.split()).policy
    return (
        f"All tests are with `--{name} {value}`, and the same weights. Training had "
        f"{getattr(policy, name)}, which the file of those bytes has, too."
    )


if __name__ == "__main__":
    main(tyro.cli(LifetimesConfig))
