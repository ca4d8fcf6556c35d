"""Three advantages that are claimed for evolution strategies: results/advantages.jsonl.

    python experiments/advantages.py --seeds 3

Salimans et al. (2017): evolution does not mind how often it acts, how late it is paid, or how long
an episode is. Pendulum, with ternary policies: each action repeated 1, 2 and 4 times; the reward
paid every 1, 20 and 200 steps; and episodes of 200, 400 and 800 steps that pay only at the end.
`ternary_nes`, PPO and SAC each have the simulator steps that they need for the plain task, so what
is compared is how much of its own plain return each loses. A value is the mean of 100 fresh
episodes, as a return of 200 steps.

Repeats, delays and lengths are data of one compiled program for each method. Nothing is done again.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from claims import RESULTS, TEST_EPISODES

from ternevo import envs, problems
from ternevo.arithmetic import observation
from ternevo.envs import wrappers
from ternevo.envs.wrappers import Wrapped
from ternevo.runs import provenance
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.types import Env, Key, Policy, Strategy, Task

FILE = RESULTS / "advantages.jsonl"
PLAIN, LONGEST = 200, 800


class Change(NamedTuple):
    """How Pendulum is changed: repeats of an action, steps of a payment, steps of an episode."""

    repeat: int = 1
    every: int = 1
    length: int = PLAIN


CHANGES = {
    "plain": Change(),
    "action_repeat 2": Change(repeat=2),
    "action_repeat 4": Change(repeat=4),
    "delayed_reward 20": Change(every=20),
    "delayed_reward 200": Change(every=PLAIN),
    "400 steps, paid at the end": Change(every=LONGEST, length=400),
    "800 steps, paid at the end": Change(every=LONGEST, length=LONGEST),
}


class Method(NamedTuple):
    """A strategy, its options, the hidden layers of its policy, and its simulator steps."""

    strategy: str
    options: dict[str, Any]
    hidden: tuple[int, ...]
    budget: int


METHODS = {
    "ternary_nes": Method(
        "ternary_nes", {"population_size": 128, "num_episodes": 2}, (32,), 4_000_000
    ),
    "ppo": Method(
        "ppo",
        {
            **{"num_envs": 32, "num_steps": 64, "num_minibatches": 16, "lr": 3e-4, "gamma": 0.95},
            "entropy_coefficient": 0.0,
        },
        (64, 64),
        1_000_000,
    ),
    "sac": Method("sac", {"critic_hidden_sizes": (64, 64), "lr": 1e-3}, (64, 64), 20_000),
}


def world(change: Change) -> Env:
    """Return Pendulum with a change, whose numbers may be traced."""
    env = cut(envs.make("gymnax/Pendulum-v1", LONGEST), change.length)
    env = wrappers.delayed_reward(wrappers.action_repeat(env, change.repeat), change.every)
    return env._replace(episode_length=LONGEST)


def cut(env: Env, length: Any) -> Env:
    """Return the environment with a time limit that may be traced."""

    def reset(key: Key, task: Task) -> Any:
        state, obs = env.reset(key, task)
        return Wrapped(state, jnp.zeros((), jnp.int32)), obs

    def step(key: Key, state: Any, action: jax.Array) -> Any:
        inner, timestep = env.step(key, state.inner, action)
        count = state.own + 1
        truncated = timestep.truncated | ((count >= length) & ~timestep.terminated)
        return Wrapped(inner, count), timestep._replace(truncated=truncated)

    return env._replace(reset=reset, step=step)


def main() -> None:
    """Run what is not in the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    given = parser.parse_args()
    origin = provenance.describe()
    for name in given.methods:
        train = trainer(METHODS[name])
        for seed in range(given.seeds):
            for words, change in CHANGES.items():
                if any(
                    (row["method"], row["change"], row["seed"]) == (name, words, seed)
                    for row in rows()
                ):
                    continue
                begin = time.perf_counter()
                value, steps = train(change, seed)
                row = {
                    **{"method": name, "change": words, "seed": seed, "value": value},
                    **{"steps": steps, "seconds": round(time.perf_counter() - begin, 1)},
                    **{"command": "python experiments/advantages.py", "commit": origin["commit"]},
                }
                with FILE.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)


def rows() -> list[dict[str, Any]]:
    """Return the rows so far."""
    return [json.loads(line) for line in FILE.read_text().splitlines()] if FILE.exists() else []


def trainer(method: Method) -> Callable[[Change, int], tuple[float, int]]:
    """Return what trains with a change and a seed: the value, and the simulator steps."""
    plain = world(Change())
    policy = MLP(method.hidden).build(plain.obs, plain.action)
    settings = STRATEGIES[method.strategy].of(**method.options)

    def made(change: Change) -> Strategy:
        return settings.build(world(change), policy, "ternary", 1000)

    begin = jax.jit(lambda change, key: made(change).init(key))
    step = jax.jit(lambda change, key, state: made(change).step(key, state))
    test = jax.jit(lambda change, key, state: tested(made(change), policy, change, key, state))

    def run(change: Change, seed: int) -> tuple[float, int]:
        numbers = jax.tree.map(jnp.int32, change)
        key, steps, generation = jax.random.key(seed), 0, 0
        state = begin(numbers, key)
        while steps < method.budget:
            state, metrics = step(numbers, jax.random.fold_in(key, generation), state)
            steps += int(metrics["episode/steps"]) * change.repeat
            generation += 1
        total = float(test(numbers, jax.random.key(10_000 + seed), state))
        return total * PLAIN / change.length, steps

    return run


def tested(strategy: Strategy, policy: Policy, change: Change, key: Key, state: Any) -> jax.Array:
    """Return the mean return of what would ship."""
    env, params = world(change), strategy.params(state)
    quantiser = observation.freeze(params.moments, env.obs.kind)
    scores = problems.of(policy, env).test(key, params.weights, quantiser, TEST_EPISODES)
    return jnp.mean(scores.returns)


if __name__ == "__main__":
    main()
