"""How many evaluations NEAT takes to solve a task, over seeds.

    python experiments/neat.py control/xor update=feed_forward --solved 0.9

prints a line for each seed and one for all, and with --arm adds a JSON line to results/neat.jsonl.
A run ends with the generation in which a member gets --solved, or after --generations. With
--generalise, for two poles, a champion must also balance 100,000 steps, and 1,000 steps from 200 of
625 starts, as Gruau, Whitley and Pyeatt (1996) ask. As in the authors' code, one champion is tested
in a generation: that of the best species whose champion was not tested yet. With --save FOLDER the
champion that solved a seed is kept there as seed<number>.tvp. With --test FILE nothing is searched:
the policy of that file takes the test of champions.

    python experiments/neat.py control/double_pole_no_velocity --test examples/two_poles.tvp

Options of `--strategy neat` and `--policy graph` are given by name, such as `species_threshold=4`.
"""

import argparse
import ast
import itertools
import json
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ternevo import envs
from ternevo.algorithms import genomes, neat
from ternevo.arithmetic import observation
from ternevo.envs import control
from ternevo.policies import policy_file
from ternevo.policies.acting import Actor, seen_after, seen_first
from ternevo.settings.policies import Graph
from ternevo.settings.strategies.neat import NEAT
from ternevo.strategies.numbered import unwrapped
from ternevo.types import Env, Policy, PolicyParams, Strategy

NUM_STARTS, LONG = 200, 100_000
OF_POLICY = ("max_hidden", "update", "max_depth", "copies", "activation", "node_functions")
RESULTS = Path(__file__).with_name("results") / "neat.jsonl"


class Solved(NamedTuple):
    """How a seed ended: generation and evaluations, None if it is not solved."""

    generation: int | None
    evaluations: int
    hidden: int
    links: int
    starts: int
    seconds: float


def main() -> None:
    """Run all seeds, one after another, with one compiled program."""
    given = parsed()
    if given.test:
        return tell_of(given.test, envs.make(given.env))
    options = dict(option.split("=", 1) for option in given.options)
    options = {name: _value(text) for name, text in options.items()}
    of_policy = {name: options.pop(name) for name in OF_POLICY if name in options}
    env = envs.make(given.env, given.episode_length)
    graphs = Graph(weights=given.weights, **of_policy)
    policy = graphs.build(env.obs, env.action)
    settings = NEAT.of(**options)
    strategy = settings.build(env, policy, given.weights, given.generations)
    is_solved = generalisation(env, policy) if given.generalise else lambda params: (True, 0)
    assert policy.topology is not None
    graph = genomes.Graph(policy.topology, given.weights == "float")
    run = solver(strategy, Test(graph, is_solved), settings.population_size, given)
    rows = {}
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        rows[seed], champion = run(seed)
        print(seed, *rows[seed], flush=True)
        if given.save and champion is not None:
            told = {"seed": seed, "command": command(), "commit": commit()}
            given.save.mkdir(parents=True, exist_ok=True)
            policy_file.save(given.save / f"seed{seed}.tvp", env, "graph", graphs, champion, told)
    told = summary(list(rows.values()))
    print(told)
    if given.arm:
        record(given, settings.population_size, rows, told)


def record(given: argparse.Namespace, population: int, rows: dict, told: str) -> None:
    """Add a line of all seeds to the results."""
    line = {
        "system": "NEAT",
        "task": given.env,
        "arm": given.arm,
        "weights": given.weights,
        "population": population,
        "seeds": {seed: row._asdict() for seed, row in rows.items()},
        "summary": told,
        "command": command(),
        "commit": commit(),
    }
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


def command() -> str:
    """Return the command line of this program."""
    return shlex.join(["python", "experiments/neat.py", *sys.argv[1:]])


def commit() -> str:
    """Return the commit that runs."""
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip()


def parsed() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("env")
    parser.add_argument("options", nargs="*", help="name=value of the strategy or the policy")
    parser.add_argument("--solved", type=float, help="the return that is enough")
    parser.add_argument("--test", type=Path, help="a policy file to test, instead of a search")
    parser.add_argument("--generalise", action="store_true", help="test champions, see above")
    parser.add_argument("--arm", help="name of the line in results/neat.jsonl; none by default")
    parser.add_argument("--save", type=Path, help="folder for the champions that solved a seed")
    parser.add_argument("--generations", type=int, default=100)
    parser.add_argument("--episode_length", type=int)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--weights", default="ternary")
    parser.add_argument("--optimization", type=int, default=3, help="of XLA; 0 compiles fast")
    given = parser.parse_intermixed_args()
    if given.solved is None and given.test is None:
        parser.error("give --solved RETURN, or --test FILE")
    return given


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except ValueError:
        return text


class Test(NamedTuple):
    """What a champion must pass: maps its params to whether it does, and the starts it balances."""

    graph: genomes.Graph
    is_solved: Callable[[PolicyParams], tuple[bool, int]]


def solver(
    strategy: Strategy, test: Test, population: int, given: argparse.Namespace
) -> Callable[[int], tuple[Solved, PolicyParams | None]]:
    """Return the function that runs a seed until it is solved, by the champion that it returns.

    All is compiled by then.
    """
    compiled = {"xla_backend_optimization_level": given.optimization}
    init, step = (jax.jit(f, compiler_options=compiled) for f in (strategy.init, strategy.step))
    params = jax.jit(lambda genome: genomes.to_params(test.graph, genome))
    first = step(jax.random.key(0), init(jax.random.key(0), *strategy.numbers()))[0]
    moments = unwrapped(first).moments
    test.is_solved(PolicyParams(params(unwrapped(first).search.champion), moments))

    def run(seed: int) -> tuple[Solved, PolicyParams | None]:
        key, start = jax.random.key(seed), time.perf_counter()
        state, champion, starts, tried = init(key, *strategy.numbers()), None, 0, set()
        for generation in range(given.generations):
            state, metrics = step(jax.random.fold_in(key, generation), state)
            if float(metrics["return/max"]) < given.solved:
                continue
            genome = untried(unwrapped(state).search, tried)
            if genome is None:
                continue
            shipped = PolicyParams(params(genome), unwrapped(state).moments)
            is_done, balanced = test.is_solved(shipped)
            starts = max(starts, balanced)
            if is_done:
                champion = shipped
                break
        return Solved(
            None if champion is None else generation + 1,
            (generation + 1) * population,
            int(metrics["search/champion_hidden"]),
            int(metrics["search/champion_links"]),
            starts,
            round(time.perf_counter() - start, 2),
        ), champion

    return run


def untried(state: neat.State, tried: set[bytes]) -> genomes.Genome | None:
    """Return the champion of the best species whose champion is not in `tried`, and add it."""
    score, species_of = np.asarray(state.score), np.asarray(state.species_of)
    found = [
        np.flatnonzero(species_of == species)[np.argmax(score[species_of == species])]
        for species in np.unique(species_of)
    ]
    for member in sorted(found, key=lambda member: -score[member]):
        genome = jax.tree.map(lambda x, member=member: x[member], state.population)
        own = b"".join(np.asarray(x).tobytes() for x in genome)
        if own not in tried:
            tried.add(own)
            return genome
    return None


def generalisation(env: Env, policy: Policy) -> Callable[[PolicyParams], tuple[bool, int]]:
    """Return the test of a policy: whether it is a solution, and the starts that it balances."""
    actor = Actor(policy, env.obs, env.action)
    starts = np.stack([control.start_of(x) for x in itertools.product(control.LEVELS, repeat=4)])

    def lasting(params: PolicyParams, tasks: Any, limit: jax.Array) -> jax.Array:
        """Return how many steps are balanced from each start."""
        quantiser = observation.freeze(params.moments, env.obs.kind)

        def begin(task: jax.Array) -> tuple:
            state, obs = env.reset(jax.random.key(0), task)
            memory = policy.reset(params.weights, jax.random.key(0))
            return state, memory, seen_first(obs), jnp.asarray(True)

        def go_on(carry: tuple) -> tuple:
            state, memory, seen, is_up = carry
            memory, action = actor.act(params.weights, quantiser, memory, seen)
            state, timestep = env.step(jax.random.key(0), state, action)
            return state, memory, seen_after(timestep), is_up & ~timestep.terminated

        def body(carry: tuple) -> tuple:
            count, lasted, runs = carry
            runs = jax.vmap(go_on)(runs)
            return count + 1, lasted + runs[3], runs

        runs = jax.vmap(begin)(tasks)
        start = jnp.zeros((), jnp.int32), jnp.zeros(len(tasks), jnp.int32), runs
        still = lambda carry: (carry[0] < limit) & jnp.any(carry[2][3])  # noqa: E731
        return jax.lax.while_loop(still, body, start)[1]

    measure = jax.jit(lasting)
    upright = jnp.asarray(env.draw_task(jax.random.key(0)))[None]

    def is_solved(params: PolicyParams) -> tuple[bool, int]:
        balanced = int(jnp.sum(measure(params, jnp.asarray(starts), jnp.int32(1000)) >= 1000))
        if balanced < NUM_STARTS:
            return False, balanced
        return int(measure(params, upright, jnp.int32(LONG))[0]) >= LONG, balanced

    return is_solved


def tell_of(path: Path, env: Env) -> None:
    """Print what the policy of a file balances."""
    saved = policy_file.load(path)
    params = PolicyParams(saved.weights, saved.moments)
    is_solved, balanced = generalisation(env, saved.policy)(params)
    solves = (
        f"balances {LONG:,} steps"
        if is_solved
        else f"no solution ({NUM_STARTS} starts, {LONG:,} steps)"
    )
    print(f"{path}: {balanced} of 625 starts, {solves}")


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
