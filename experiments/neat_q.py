"""NEAT+Q (Whiteson and Stone 2006): evolution of networks that learn, three kinds of inheritance.

    python experiments/neat_q.py control/mountain_car_bins --arm baldwin
    python experiments/neat_q.py control/mountain_car_bins --arm fixed4 fixed8

Arms: none (NEAT alone), baldwin (what is learned dies), lamarck (children inherit it), and fixed0,
fixed4, fixed8: Q-learning with a hand-made network of as many hidden nodes, of as many episodes as
all members of a population together; these run side by side, all seeds at once. `--weights ternary`
is for none and baldwin: a genome of trits has no place for the gains and biases that a life learns,
and weights by hand are floats. The result of a seed is the mean return of the last tenth of
episodes of a fixed network, or of the last champion in a fresh lifetime. With --record it adds a
JSON line for each arm to results/neat.jsonl.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ternevo import envs
from ternevo.algorithms import genomes, neat
from ternevo.arithmetic import observation
from ternevo.envs import wrappers
from ternevo.policies import contract
from ternevo.policies.acting import inputs, seen_after, seen_first
from ternevo.policies.q_learner import Life
from ternevo.settings.policies import QLearner
from ternevo.settings.strategies.neat import NEAT
from ternevo.types import Env, Params, Policy

RESULTS = Path(__file__).with_name("results") / "neat.jsonl"
RATES = {"add_node_rate": 0.1, "add_link_rate": 0.2, "weight_power": 0.5}
ARMS = ("none", "baldwin", "lamarck", "fixed0", "fixed4", "fixed8")
OF_TRITS = ("none", "baldwin")
SCALES = {"control/mountain_car_bins": 100.0, "control/job_scheduling": 100.0}


def main() -> None:
    """Run all seeds of the arms, each kind of arm with one compiled program."""
    given = parsed()
    env = envs.make(given.env)
    designed = [arm for arm in given.arm if arm.startswith("fixed")]
    for arm in given.arm:
        if arm not in designed:
            tell(given, arm, evolved(env, policy_of(env, arm, given), arm, given))
    if designed:
        found = fixed(env, policy_of(env, designed[0], given), designed, given)
        for arm, rows in found.items():
            tell(given, arm, rows)


def policy_of(env: Env, arm: str, given: argparse.Namespace) -> Policy:
    """Return the policy of an arm."""
    rates = {"q_rate": given.q_rate, "q_scale": SCALES[given.env], "q_trace": given.q_trace}
    learns = "weights" if given.weights == "float" else "gains"
    learns = "nothing" if arm == "none" else learns
    settings = QLearner(max_hidden=8, max_depth=2, weights=given.weights, learns=learns, **rates)
    return contract.build(settings, env.obs, env.action)


def tell(given: argparse.Namespace, arm: str, rows: list[dict[str, Any]]) -> None:
    """Print what the seeds of an arm reached, and keep it with --record."""
    print(arm, statistics.fmean(row["return"] for row in rows), flush=True)
    if given.record:
        record(given, arm, rows)


def parsed() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("env", choices=SCALES)
    parser.add_argument("--arm", required=True, nargs="+", choices=ARMS)
    parser.add_argument("--weights", default="float", choices=("float", "ternary"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--population", type=int, default=48)
    parser.add_argument("--generations", type=int, default=30)
    parser.add_argument("--episodes", type=int, default=25, help="of each member")
    parser.add_argument("--q_rate", type=float, default=0.1)
    parser.add_argument("--q_trace", type=float, default=0.0)
    parser.add_argument("--record", action="store_true", help="add a line to results/neat.jsonl")
    given = parser.parse_args()
    of_floats = [arm for arm in given.arm if arm not in OF_TRITS]
    if given.weights != "float" and of_floats:
        parser.error(f"--arm {' '.join(of_floats)} needs --weights float, not {given.weights}")
    return given


Lived = Callable[[Params, Life, jax.Array], tuple[Life, jax.Array]]


def liver(env: Env, policy: Policy, num_episodes: int) -> Lived:
    """Return the function that lives so many episodes: the life after, and the mean return."""
    env = wrappers.lifetime(env, num_episodes, "all")
    quantiser = observation.freeze(observation.empty(env.obs.size), env.obs.kind)

    def lived(params: Params, life: Life, key: jax.Array) -> tuple[Life, jax.Array]:
        key_task, key_reset, key_step = jax.random.split(key, 3)
        state, obs = env.reset(key_reset, env.draw_task(key_task))

        def body(carry: tuple) -> tuple:
            state, life, seen, total, _, count = carry
            life, output = policy.apply(params, life, inputs(env.obs, quantiser, seen))
            action, own = jnp.argmax(output), jax.random.fold_in(key_step, count)
            state, timestep = env.step(own, state, action)
            is_over = timestep.terminated | timestep.truncated
            return state, life, seen_after(timestep), total + timestep.reward, is_over, count + 1

        nothing = jnp.zeros(()), jnp.asarray(False), jnp.zeros((), jnp.int32)
        carry = state, life, seen_first(obs), *nothing
        _, life, _, total, *_ = jax.lax.while_loop(lambda carry: ~carry[4], body, carry)
        return life, total / num_episodes

    return lived


def evolved(env: Env, policy: Policy, arm: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the mean return of the last champion in a fresh life, for each seed."""
    settings = NEAT.of(population_size=given.population, num_episodes=1, **RATES)
    search, decode = neat.search(settings, policy, given.weights)
    lived = liver(env, policy, given.episodes)

    def of_member(genome: genomes.Genome, key: jax.Array) -> tuple[Life, jax.Array]:
        params = decode(genome)
        return lived(params, policy.reset(params, key), key)

    @jax.jit
    def generation(key: jax.Array, state: neat.State) -> tuple[neat.State, jax.Array]:
        key_ask, key_life, key_tell = jax.random.split(key, 3)
        population, state = search.ask(key_ask, state)
        lives, returns = jax.vmap(of_member, (0, None))(population, key_life)
        if arm == "lamarck":
            population = inherited(population, lives)
        return search.tell(key_tell, population, -returns, state), jnp.max(returns)

    shown = jax.jit(lambda genome, key: of_member(genome, key)[1])

    def run(seed: int) -> float:
        key = jax.random.key(seed)
        state = jax.jit(search.init)(key)
        for number in range(given.generations):
            state, best = generation(jax.random.fold_in(key, number), state)
            if number % 10 == 9:
                print("  generation", number + 1, round(float(best), 1), flush=True)
        return float(shown(state.champion, jax.random.fold_in(key, given.generations)))

    rows = []
    for seed in range(given.seeds):
        start = time.perf_counter()
        found = run(seed)
        rows.append({"seed": seed, "return": found, "seconds": time.perf_counter() - start})
        print(arm, rows[-1], flush=True)
    return rows


def inherited(population: genomes.Genome, lives: Life) -> genomes.Genome:
    """Return members with the weights that they learned; links that are off keep theirs."""
    weight = jnp.where(population.is_on, lives.learned.weight, population.weight)
    return population._replace(weight=weight)


def fixed(
    env: Env, policy: Policy, arms: Sequence[str], given: argparse.Namespace
) -> dict[str, list[dict[str, Any]]]:
    """Return the mean return of hand-made networks at their end, for each arm and seed.

    They run side by side, as a step of one network takes as long as that of many.
    """
    total = given.population * given.generations * given.episodes
    tenth = max(1, total // 10)
    before, after = liver(env, policy, total - tenth), liver(env, policy, tenth)
    seeds = range(given.seeds)

    def run(params: Params, key: jax.Array) -> jax.Array:
        life, _ = before(params, policy.reset(params, key), key)
        return after(params, life, jax.random.fold_in(key, 1))[1]

    keys = [jax.random.key(seed) for _ in arms for seed in seeds]
    made = [
        by_hand(policy, env.obs.size, env.action.size, int(arm.removeprefix("fixed")), key)
        for arm, key in zip([arm for arm in arms for _ in seeds], keys, strict=True)
    ]
    start, params = time.perf_counter(), jax.tree.map(lambda *x: jnp.stack(x), *made)
    found = jax.jit(jax.vmap(run))(params, jnp.stack(keys)).reshape(len(arms), -1).tolist()
    seconds = (time.perf_counter() - start) / len(keys)
    return {
        arm: [{"seed": seed, "return": own[seed], "seconds": seconds} for seed in seeds]
        for arm, own in zip(arms, found, strict=True)
    }


def by_hand(policy: Policy, num_obs: int, num_actions: int, hidden: int, key: jax.Array) -> Params:
    """Return a network whose layers are fully linked: one, or two with hidden nodes between."""
    assert policy.topology is not None
    size, first = policy.topology.num_nodes, num_obs + 1
    source, target = jnp.arange(first + size)[:, None], jnp.arange(size)
    is_hidden = (target >= num_actions) & (target < num_actions + hidden)
    is_output = target < num_actions
    from_hidden = (source >= first + num_actions) & (source < first + num_actions + hidden)
    has_link = (source < first) & (is_hidden if hidden else is_output)
    has_link = has_link | (from_hidden & is_output)
    drawn = 0.1 * jax.random.normal(key, has_link.shape)
    zeros = jnp.zeros(size, jnp.int8)
    return policy.topology.params(jnp.where(has_link, drawn, 0.0), zeros, zeros)


def record(given: argparse.Namespace, arm: str, rows: list[dict[str, Any]]) -> None:
    """Add a line of all seeds of an arm to the results."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    line = {
        "system": "NEAT+Q",
        "task": given.env,
        "arm": arm,
        "weights": given.weights,
        "population": given.population,
        "generations": given.generations,
        "episodes": given.episodes,
        "seeds": rows,
        "mean return": statistics.fmean(row["return"] for row in rows),
        "command": " ".join(["python experiments/neat_q.py", *sys.argv[1:]]),
        "commit": commit.stdout.strip(),
    }
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
