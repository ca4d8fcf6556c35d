"""Environment steps per second of a population, by the number of lanes of a CPU core.

python experiments/lanes.py

For each environment and population: one episode of random policies, and the same episodes without
an early end, as those of trained policies are. It prints a table, whose last column is what
`ternevo.rollouts.population.choose_lanes` takes. Nothing else should run meanwhile.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import NamedTuple
from unittest import mock

import jax
import tyro
from tqdm import tqdm

from ternevo import envs
from ternevo.arithmetic import observation
from ternevo.machine import devices
from ternevo.rollouts import population
from ternevo.settings.policies import MLP
from ternevo.types import Env, EnvState, Key, Policy, Timestep

LANES = (32, 64, 128, 256, 512)
ROUNDS = 5


class Case(NamedTuple):
    """An environment, and the sizes of the policies."""

    env: str
    hidden_sizes: tuple[int, ...]


CASES = (
    Case("gymnax/CartPole-v1", (16,)),
    Case("control/cartpole_swing_up_easy", (32,)),
    Case("control/maze", (8,)),
    Case("gymnax/Pendulum-v1", (64, 64)),
)


@dataclasses.dataclass(frozen=True)
class LanesConfig:
    """Settings of this script."""

    populations: tuple[int, ...] = (256, 1024)
    """Numbers of members, of one episode each, on all cores together."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    config = tyro.cli(
        LanesConfig, args=argv, prog="python experiments/lanes.py", use_underscores=True
    )
    devices.use_cores()
    print("million steps per second with so many lanes:")
    print(row("environment", "hidden", "members", "episodes", *map(str, LANES), "chosen"))
    print(row(*["---"] * (5 + len(LANES))), flush=True)
    with tqdm(total=2 * len(CASES) * len(config.populations), unit="row") as bar:
        for case in CASES:
            env = envs.make(case.env)
            for size in config.populations:
                for kind, own in {"random": env, "whole": endless(env)}.items():
                    policy = MLP(case.hidden_sizes).build(env.obs, env.action)
                    found = [f"{rate(own, policy, size, lanes) / 1e6:.2f}" for lanes in LANES]
                    chosen = str(population.choose_lanes(policy, env, 1))
                    hidden = "-".join(map(str, case.hidden_sizes))
                    cells = row(case.env, hidden, f"{size:,}", kind, *found, chosen)
                    tqdm.write(cells)
                    bar.update()


def row(*cells: str) -> str:
    """Return a row of the table."""
    return f"| {' | '.join(cells)} |"


def endless(env: Env) -> Env:
    """Return the environment whose episodes end at the time limit, and never before."""

    def step(key: Key, state: EnvState, action: jax.Array) -> tuple[EnvState, Timestep]:
        state, timestep = env.step(key, state, action)
        return state, timestep._replace(terminated=timestep.terminated & False)

    return env._replace(step=step)


def rate(env: Env, policy: Policy, size: int, lanes: int) -> float:
    """Return the steps per second of a population of random policies, the best of a few rounds."""
    with mock.patch.object(population, "CPU_LANES", (lanes, lanes)), devices.on_all_devices():
        params = jax.vmap(policy.init)(jax.random.split(jax.random.key(0), size))
        quantiser = observation.freeze(observation.empty(env.obs.size), env.obs.kind)
        keys = population.episode_keys(jax.random.key(1), 1, size)
        rollout = population.Rollout(policy, env)

        @jax.jit
        def run(params):
            return population.evaluate(rollout, params, keys, quantiser).lengths

        steps, times = int(run(params).sum()), []
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            run(params).block_until_ready()
            times.append(time.perf_counter() - begin)
    return steps / min(times)


if __name__ == "__main__":
    main()
