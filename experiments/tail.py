"""What the lanes that wait at the end of a generation cost, over whole runs.

python experiments/tail.py

When the queue is empty, lanes whose episodes are over go on being computed until the last one is
over. This trains a page, keeps the lengths of all episodes, and counts the steps of lanes as
`ternevo.rollouts.lanes` takes them. Then it times a step of few lanes beside one of a whole tile,
and says what a second program for the last few lanes would have saved.
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from tqdm import trange

from ternevo import envs, problems
from ternevo.rollouts.lanes import begin_episode
from ternevo.rollouts.population import choose_lanes
from ternevo.settings.command_line import parse
from ternevo.strategies.evolve import evolve
from ternevo.strategies.from_settings import plan
from ternevo.strategies.latents import template_of
from ternevo.strategies.search import search_of
from ternevo.training import loop
from ternevo.types import Env, Key, Scores

PAGES = Path(__file__).parent
TIMED_STEPS, ROUNDS = 2000, 5


@dataclasses.dataclass(frozen=True)
class TailConfig:
    """Settings of this script."""

    page: str = "brax_hopper"
    """Which page of experiments/, with a block of ternary_nes."""
    num_devices: int = 2
    """Devices that share the population in the count; the training here has one."""
    few: int = 8
    """Lanes of the second program."""
    seed: int = 0
    """Seed of the training."""


def main(argv: Sequence[str] | None = None) -> None:
    """Train, count, time, and print."""
    config = tyro.cli(
        TailConfig, args=argv, prog="python experiments/tail.py", use_underscores=True
    )
    env, lengths, lanes, together = lengths_of(config)
    shares = np.array_split(np.arange(lengths[0].shape[0]), config.num_devices)
    counts = [
        lanes_at_work(rows[share].reshape(-1, together), lanes // together)
        for rows in lengths
        for share in shares
    ]
    alive, held, is_tail = (np.concatenate(parts) for parts in zip(*counts, strict=True))
    ratio = seconds_of(env, config.few) / seconds_of(env, lanes)
    is_few = is_tail & (held <= config.few)
    print(f"{config.page}: {len(lengths)} generations, {lanes} lanes, {config.num_devices} devices")
    print(f"lane-steps of episodes that go on   {alive.sum() / (alive.size * lanes):.0%}")
    print(f"steps with at most {config.few} lanes at work   {np.mean(is_few):.0%}")
    print(f"a step of {config.few} lanes, of one of {lanes}   {ratio:.0%} of the time")
    print(f"saved by a program for these   {np.mean(is_few) * (1 - ratio):.0%} of the physics")


def lengths_of(config: TailConfig) -> tuple[Env, list[np.ndarray], int, int]:
    """Train a page; return the lengths [members, episodes] of each generation.

    Also the lanes of a device, and the episodes of a member that run side by side.
    """
    page = str(PAGES / f"{config.page}.yaml")
    given = parse(["--config", page, "--strategy", "ternary_nes"])
    settings, count = given.strategy, given.num_generations
    env = envs.make(given.env, given.episode_length)
    policy = given.policy.build(env.obs, env.action)
    planned = plan(settings, env, count)
    problem, found = problems.of(policy, env, planned), []

    def watched(*arguments) -> Scores:
        scores = problem.evaluate(*arguments)
        jax.debug.callback(lambda lengths: found.append(np.asarray(lengths)), scores.lengths)
        return scores

    def draw(key: Key):
        return policy.init(jax.random.split(key)[0])

    algorithm, params = settings.search_algorithm(template_of(policy), "ternary", count)
    strategy = evolve(search_of(algorithm, params, draw), problem._replace(evaluate=watched))
    state = loop.start(jax.random.key(config.seed), strategy)
    chunks = loop.train(strategy, state, count, chunk_size=1)
    for _, _ in zip(trange(count, desc=config.page, unit="generation"), chunks, strict=True):
        pass
    jax.effects_barrier()
    lanes = choose_lanes(policy, env, planned.num_episodes)
    return env, found, lanes, policy.packing(planned.num_episodes).together


def lanes_at_work(blocks: np.ndarray, num_slots: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Follow the loop of `lanes.run_blocks` over blocks of lengths [blocks, together].

    Returns:
      For each step of the loop: the lanes whose episodes go on, the lanes of slots that hold an
      unfinished block, and whether the queue is empty.
    """
    left = np.zeros((num_slots, blocks.shape[1]), int)
    begun, alive, held, is_tail = 0, [], [], []
    while begun < len(blocks) or left.any():
        free = np.flatnonzero(~left.any(1))[: len(blocks) - begun]
        left[free] = blocks[begun : begun + free.size]
        begun, wasted = begun + free.size, 0
        while left.any() and (begun == len(blocks) or wasted < num_slots):
            alive.append(np.count_nonzero(left))
            held.append(np.count_nonzero(left.any(1)) * blocks.shape[1])
            is_tail.append(begun == len(blocks))
            left = np.maximum(left - 1, 0)
            wasted += np.count_nonzero(~left.any(1))
    return np.array(alive), np.array(held), np.array(is_tail)


def seconds_of(env: Env, lanes: int) -> float:
    """Return the seconds of one core for a step of so many lanes at once, the least of a few."""
    keys = jax.random.split(jax.random.key(0), lanes)
    size = (lanes, env.action.size) if env.action.kind == "continuous" else (lanes,)
    action = jnp.zeros(size, jnp.float32 if env.action.kind == "continuous" else jnp.int32)
    step_all = jax.vmap(env.step)

    @jax.jit
    def run(keys: Key, action: jax.Array) -> jax.Array:
        states, _ = jax.vmap(lambda key: begin_episode(env, key))(keys)
        body = lambda _, carry: step_all(keys, carry[0], action)  # noqa: E731
        first = step_all(keys, states, action)
        return jax.lax.fori_loop(1, TIMED_STEPS, body, first)[1].obs

    run(keys, action).block_until_ready()
    times = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        run(keys, action).block_until_ready()
        times.append(time.process_time() - begin)
    return min(times) / TIMED_STEPS


if __name__ == "__main__":
    main()
