"""The acceptance suite of neuroevolution beside reinforcement learning: runs it and prints a table.

    python experiments/acceptance.py              # all experiments of this file
    python experiments/acceptance.py A-RS A-GA    # some of them
    python experiments/acceptance.py --table      # only the table of what has been run

It can be stopped and repeated: each seed of each arm is a line of results/acceptance.jsonl, and
what is there is not done again. The table also has what programs of their own have run, which are
not started from here. `python experiments/systems.py` makes docs/systems.md of it all.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from baldwin import OTHER_SEEDS, arms_of_bald, judge_bald
from claims import (
    Arm,
    Experiment,
    Judged,
    Result,
    Values,
    complete,
    interval,
    is_above,
    rows,
    shown,
    trained,
    verdicts,
)
from evojax_tasks import arms_of_evojax, judge_evojax
from other_verdicts import all_of_them

from ternevo import envs, problems
from ternevo.algorithms import archives
from ternevo.algorithms.archives import Cells
from ternevo.arithmetic import observation
from ternevo.problems import Plan
from ternevo.rollouts.lanes import begin_episode
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.types import Archive, Env, Policy, Population, Strategy

# ---------------------------------------------------------------------------- random search


def returns_of_linear(
    env: Env, act: Callable[[jax.Array, jax.Array], jax.Array], size: int
) -> np.ndarray:
    """Return the mean return over 50 episodes of each ternary linear policy of some size."""
    table = jnp.asarray(list(itertools.product((-1, 0, 1), repeat=size)), jnp.float32)

    def episode(weights: jax.Array, key: jax.Array) -> jax.Array:
        state, obs = begin_episode(env, key)

        def step(t: jax.Array, carry: tuple) -> tuple:
            state, obs, total, is_on = carry
            state, timestep = env.step(jax.random.fold_in(key, t + 1), state, act(weights, obs))
            total += jnp.where(is_on, timestep.reward, 0.0)
            return state, timestep.obs, total, is_on & ~timestep.terminated & ~timestep.truncated

        start = state, obs, jnp.zeros(()), jnp.asarray(True)
        return jax.lax.fori_loop(0, env.episode_length, step, start)[2]

    keys = jax.random.split(jax.random.key(0), 50)
    run = jax.jit(jax.vmap(jax.vmap(episode, (None, 0)), (0, None)))
    return np.asarray(run(table, keys).mean(1))


def linear_cartpole() -> np.ndarray:
    """Return the returns of all 81 policies "push right if w . s > 0"."""
    right = lambda w, s: (w @ s > 0).astype(jnp.int32)  # noqa: E731
    return returns_of_linear(envs.make("gymnax/CartPole-v1"), right, 4)


def linear_mountain_car() -> np.ndarray:
    """Return the returns of all 27 policies "1 + sign(w . (position, velocity, 1))"."""
    push = lambda w, s: 1 + jnp.sign(w @ jnp.append(s, 1.0)).astype(jnp.int32)  # noqa: E731
    return returns_of_linear(envs.make("gymnax/MountainCar-v0"), push, 3)


ENUMERATED = (
    "81 cartpole policies >= 475",
    "81 cartpole policies >= 230",
    "27 mountain car policies at the goal",
)
"""Arms without chance, of one seed."""


def arms_of_rs() -> list[Arm]:
    """Count solutions by enumeration, and draw 200 policies at random."""
    returns = linear_cartpole()

    def count(values: np.ndarray, bar: float) -> Callable[[int], Result]:
        return lambda seed: Result(int((values >= bar).sum()), 0)

    def search(seed: int) -> Result:
        drawn = np.random.default_rng(seed).integers(0, 81, 200)
        return Result(float(returns[drawn].max()), 200 * 50 * 500)

    cartpole, cartpole_half, mountain_car = ENUMERATED
    return [
        Arm(cartpole, count(returns, 475)),
        Arm(cartpole_half, count(returns, 230)),
        Arm(mountain_car, count(linear_mountain_car(), -199.5)),
        Arm("best of 200 random policies", search),
    ]


def judge_rs(values: Values) -> list[Judged]:
    """Compare the counts with those of the enumeration on record: 2, 5 and 1."""
    counts = [values[name][0] for name in ENUMERATED]
    found = sum(x >= 475 for x in values["best of 200 random policies"])
    return [
        (
            "of 81 linear ternary CartPole policies 2 reach 475 and 5 reach 230; of 27 for "
            "MountainCar 1 reaches the goal",
            ", ".join(f"{count:g}" for count in counts),
            counts == [2, 5, 1],
        ),
        ("random search with 200 policies reaches 475 in 19 of 20 seeds", f"{found}", found >= 19),
    ]


# ------------------------------------------------------------------------ the genetic algorithm

MINATAR = {"Breakout": 1000, "Freeway": 250}
"""Games and their time limits here."""
GA_BUDGET = 500_000
GA_ARMS = {
    "GA": {},
    "GA, best not evaluated again": {"elite_candidates": 2, "validation_episodes": 1},
    "random search": {"truncation": 0},
}


def arms_of_ga() -> list[Arm]:
    """Train on two games of MinAtar: the GA, the GA without its second evaluation, and nothing."""
    arms = []
    for game, length in MINATAR.items():
        env = envs.make(f"gymnax/{game}-MinAtar", length)
        policy = MLP((32,)).build(env.obs, env.action)
        for name, options in GA_ARMS.items():
            settings = STRATEGIES["deep_ga"].of(
                population_size=256, common_random_numbers="none", **options
            )
            strategy = settings.build(env, policy, "ternary", 100)
            arms.append(Arm(f"{game}, {name}", trained(env, policy, strategy, GA_BUDGET)))
    return arms


def judge_ga(values: Values) -> list[Judged]:
    """Ask whether the GA beats random search, and its own variant, at equal steps."""
    judged = []
    for game in MINATAR:
        ga, once, nothing = (values[f"{game}, {name}"] for name in GA_ARMS)
        judged += [
            (
                f"{game}: the GA beats random search at equal steps",
                f"{shown(ga)} against {shown(nothing)}",
                is_above(ga, nothing),
            ),
            (
                f"{game}: evaluating the best again helps",
                f"{shown(ga)} against {shown(once)} without",
                is_above(ga, once),
            ),
        ]
    return judged


# ------------------------------------------------------------ evolution and a learner together

ERL_BUDGET = 60_000
ERL_TASKS: dict[str, tuple[str, Callable[[float], float]]] = {
    "MountainCarContinuous": ("gymnax/MountainCarContinuous-v0", lambda x: min(max(x / 90, 0), 1)),
    "Pendulum": ("gymnax/Pendulum-v1", lambda x: (x + 1500) / 1350),
}
"""Environments, and what a return is worth: about 0 for doing nothing and 1 for a good policy."""
ERL_ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "ERL": ("erl", {}),
    "evolution alone": ("erl", {"sync_every": 10**6, "updates_per_step": 1e-9}),
    "TD3 alone": ("td3", {"noise_correlation": 0.85}),
}
"""Evolution alone also spends the steps of the learner, an eleventh of all, for nothing."""
ERL_COMMON = {"critic_hidden_sizes": (64, 64), "batch_size": 64}


def arms_of_erl() -> list[Arm]:
    """Train ternary actors on both tasks with the same environment steps, all of them counted."""
    arms = []
    for task, (env_id, worth) in ERL_TASKS.items():
        env = envs.make(env_id)
        policy = MLP((32, 32)).build(env.obs, env.action)
        for name, (strategy_name, options) in ERL_ARMS.items():
            settings = STRATEGIES[strategy_name].of(**{**ERL_COMMON, **options})
            strategy = settings.build(env, policy, "ternary", 60)
            run = trained(env, policy, strategy, ERL_BUDGET)
            arms.append(Arm(f"{task}, {name}", valued(run, worth)))
    return arms


def valued(
    run: Callable[[int], Result], worth: Callable[[float], float]
) -> Callable[[int], Result]:
    """Return the runner whose value is what a return is worth; it keeps the return."""

    def go(seed: int) -> Result:
        found = run(seed)
        return Result(worth(found.value), found.steps, {**found.more, "return": found.value})

    return go


def judge_erl(values: Values) -> list[Judged]:
    """Ask whether the worse task of ERL is good, and better than that of both parts."""
    worst = {
        name: np.min([values[f"{task}, {name}"] for task in ERL_TASKS], axis=0).tolist()
        for name in ERL_ARMS
    }
    both = worst["ERL"]
    judged = [("the worse of two tasks is worth 0.7", shown(both), interval(both)[0] >= 0.7)]
    for part in ("evolution alone", "TD3 alone"):
        found = f"{shown(both)} against {shown(worst[part])}"
        judged.append((f"in the worse task ERL beats {part}", found, is_above(both, worst[part])))
    ranks = [row["metrics"]["erl/copies_elite"] for row in rows() if row["arm"] == "Pendulum, ERL"]
    words = "copies of the learner become elite in Pendulum"
    return [*judged, (words, f"{shown(ranks)} of all copies", min(ranks) > 0)]


# ------------------------------------------------------------------------- open-endedness

OE_MEMBERS, OE_GENERATIONS, REACHED = 200, 100, -0.06
LEAST = -1.3


def arms_of_oe() -> list[Arm]:
    """Run 20,000 members through the maze: by MAP-Elites, by the GA on distance, and at random.

    The value is the coverage of an archive of 32 by 32 final places; "best" is the best return.
    """
    env = envs.make("control/maze")
    policy = MLP((8,)).build(env.obs, env.action)
    common: dict[str, Any] = {"population_size": OE_MEMBERS}
    deep = {**common, "elite_candidates": 2, "validation_episodes": 1}
    build = lambda name, options: (  # noqa: E731
        STRATEGIES[name].of(**options).build(env, policy, "ternary", OE_GENERATIONS)
    )
    budget = OE_MEMBERS * OE_GENERATIONS * env.episode_length
    cells = archives.grid(env.descriptor, (32, 32)) if env.descriptor else None
    assert cells is not None
    arms = [
        Arm("MAP-Elites", lit(build("map_elites", {**common, "least_return": LEAST}))),
        Arm("random search", lit_at_random(env, policy, cells)),
        Arm("GA on distance, best return", trained(env, policy, build("deep_ga", deep), budget)),
    ]
    return arms


def lit(strategy: Strategy) -> Callable[[int], Result]:
    """Return what runs MAP-Elites for a seed; the value is the coverage, "best" the best return."""
    step = jax.jit(strategy.step)

    def run(seed: int) -> Result:
        key, steps = jax.random.key(seed), 0
        state = strategy.init(key, *strategy.numbers())
        metrics: dict[str, Any] = {}
        for generation in range(OE_GENERATIONS):
            state, metrics = step(jax.random.fold_in(key, generation), state)
            steps += int(metrics["episode/steps"])
        found = {"best": float(metrics["search/best"]), "qd": float(metrics["search/qd_score"])}
        return Result(float(metrics["search/coverage"]), steps, found)

    return run


def lit_at_random(env: Env, policy: Policy, cells: Cells) -> Callable[[int], Result]:
    """Return what puts random policies into the same archive, with moments as MAP-Elites has."""
    problem = problems.of(policy, env, Plan(1))

    @jax.jit
    def step(key: jax.Array, archive: Archive, moments: Any) -> tuple:
        key_make, key_score = jax.random.split(key)
        members = jax.vmap(policy.init)(jax.random.split(key_make, OE_MEMBERS))
        scores = problem.evaluate(key_score, Population(members), moments, jnp.int32(0))
        returns = scores.returns[:, 0]
        assert scores.descriptors is not None
        valid = jnp.isfinite(returns)
        found = archives.entered(archive, cells, members, returns, scores.descriptors, valid)
        moments = observation.merge(moments, scores.moments)
        return found.archive, moments, jnp.sum(scores.lengths)

    def run(seed: int) -> Result:
        key, steps = jax.random.key(seed), 0
        archive, moments = archives.empty(cells, policy.init(key)), observation.empty(env.obs.size)
        for generation in range(OE_GENERATIONS):
            archive, moments, taken = step(jax.random.fold_in(key, generation), archive, moments)
            steps += int(taken)
        found = {
            "best": float(jnp.max(archive.fitness)),
            "qd": float(archives.qd_score(archive, LEAST)),
        }
        return Result(float(archives.coverage(archive)), steps, found)

    return run


def judge_oe(values: Values) -> list[Judged]:
    """Compare coverage, and who reaches the goal."""
    elites, nothing = values["MAP-Elites"], values["random search"]
    best = {
        arm: [row["best"] for row in rows() if (row["experiment"], row["arm"]) == ("A-OE", arm)]
        for arm in ("MAP-Elites", "random search")
    }
    reached = {arm: sum(x > REACHED for x in own) for arm, own in best.items()}
    by_ga = sum(x > REACHED for x in values["GA on distance, best return"])
    words = f"MAP-Elites {reached['MAP-Elites']}, GA {by_ga}, random {reached['random search']}"
    return [
        (
            "deceptive maze: MAP-Elites covers more than random search",
            f"{shown(elites)} against {shown(nothing)}",
            is_above(elites, nothing),
        ),
        (
            "deceptive maze: at least twice as much",
            f"{shown(elites)} against {shown(nothing)}",
            interval(elites)[0] >= 2 * interval(nothing)[0],
        ),
        (
            "deceptive maze: MAP-Elites reaches the goal in 4 of 5 seeds, a GA on distance in 2",
            words + " of 5 seeds",
            reached["MAP-Elites"] >= 4 and by_ga <= 2,
        ),
    ]


EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment("A-RS", "C11", 20, arms_of_rs, judge_rs, dict.fromkeys(ENUMERATED, 1)),
        Experiment("A-GA", "C10", 5, arms_of_ga, judge_ga),
        Experiment("A-ERL", "C1", 5, arms_of_erl, judge_erl),
        Experiment("A-EVOJAX", "C9 C12 C15", 3, arms_of_evojax, judge_evojax),
        Experiment("A-BALD", "C4", 5, arms_of_bald, judge_bald, OTHER_SEEDS),
        Experiment("A-OE", "C14", 5, arms_of_oe, judge_oe),
    )
}


def main() -> None:
    """Run experiments and print one table of verdicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(EXPERIMENTS)}; all by default")
    parser.add_argument("--table", action="store_true", help="run nothing")
    given = parser.parse_args()
    for name in given.names:
        if name not in EXPERIMENTS:
            parser.error(f"{name!r} must be one of {', '.join(EXPERIMENTS)}")
    chosen = [EXPERIMENTS[name] for name in given.names or EXPERIMENTS]
    if not given.table:
        for experiment in chosen:
            complete(experiment)
    print(table(chosen))


def table(experiments: Sequence[Experiment]) -> str:
    """Return a line for each verdict."""
    found = [verdict for experiment in experiments for verdict in verdicts(experiment)]
    return "\n".join(
        f"{v.experiment:10} {v.claims:8} {v.verdict:8} {v.statement}: {v.found}"
        for v in [*found, *all_of_them()]
    )


if __name__ == "__main__":
    main()
