"""A neural Turing machine that learns to copy by gradients through time, beside evolved machines.

    python experiments/ntm.py

runs the seeds that results/ntm.jsonl lacks at these settings, one line for each. Trained on
sequences of 2 bits and lengths 1 to 10, it is tested on longer ones; experiments/lifetimes.py has
the evolved machines.
"""

import dataclasses
import functools
import json
import shlex
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import optax
import tyro
from arms import PAGES
from tune import append, read

from ternevo.envs import memory
from ternevo.learners import sequence_imitation as imitation
from ternevo.learners.sequence_imitation import Sequences
from ternevo.policies import contract
from ternevo.runs import provenance
from ternevo.settings.policies import NTM
from ternevo.types import Env, Key

RESULTS = PAGES / "results" / "ntm.jsonl"
LENGTHS = (10, 20, 40, 100)
NUM_SEQUENCES = 256


@dataclasses.dataclass(frozen=True)
class NTMConfig:
    """Run the seeds that are not there yet."""

    num_seeds: int = 5
    """Seeds, from 0."""
    bits: int = 2
    """Components of a vector."""
    steps: int = 5000
    """Gradient steps."""
    batch_size: int = 32
    """Sequences of a step."""
    lr: float = 3e-3
    """Learning rate of Adam at first; it falls to 0 along a cosine."""
    max_grad_norm: float = 10.0
    """Longer gradients are scaled down to it."""


def main(config: NTMConfig) -> None:
    """Run what is missing."""
    own = settings_of(dataclasses.asdict(config))
    command = shlex.join(["python", "experiments/ntm.py", *sys.argv[1:]])
    done = {row["seed"] for row in read(RESULTS) if settings_of(row["settings"]) == own}
    missing = [seed for seed in range(config.num_seeds) if seed not in done]
    learn = learner(config)
    for seed in missing:
        begun = time.perf_counter()
        line = {
            **{"system": "copy", "arm": "NTM", "seed": seed, **learn(seed)},
            **{"settings": dataclasses.asdict(config), "bits": config.bits},
            **{"wall_seconds": round(time.perf_counter() - begun, 1)},
            **{"command": command, "commit": provenance.describe()["commit"]},
        }
        append(RESULTS, line)
        print(json.dumps({key: line[key] for key in ("seed", "errors")}), flush=True)


def settings_of(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what a seed depends on: all settings but how many seeds there are."""
    return {name: value for name, value in settings.items() if name != "num_seeds"}


def learner(config: NTMConfig) -> Callable[[int], dict]:
    """Return what trains a seed and tests it, compiled once."""
    env = memory.copy(bits=config.bits)
    policy = contract.build(NTM(), env.obs, env.action)
    optimizer = optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm),
        optax.adam(optax.cosine_decay_schedule(config.lr, config.steps)),
    )

    @jax.jit
    def train(key: Key) -> tuple:
        def one(learned: tuple, key: Key) -> tuple:
            batch = sequences(env, jax.random.split(key, config.batch_size))
            learned, metrics = imitation.step(policy, optimizer, learned, batch)
            return learned, metrics["loss/imitation"]

        key_first, key_steps = jax.random.split(key)
        learned = imitation.begin(policy, optimizer, key_first)
        (params, _), losses = jax.lax.scan(one, learned, jax.random.split(key_steps, config.steps))
        return params, losses

    @functools.partial(jax.jit, static_argnums=1)
    def test(params: dict, length: int) -> jax.Array:
        longer = memory.copy(bits=config.bits, shortest=length, longest=length)
        keys = jax.random.split(jax.random.key(10_000), NUM_SEQUENCES)
        return imitation.errors(policy, params, sequences(longer, keys))

    def run(seed: int) -> dict:
        params, losses = train(jax.random.key(seed))
        return {
            "errors": {str(length): float(test(params, length)) for length in LENGTHS},
            "loss": float(losses[-100:].mean()),
            "weights": sum(tensor.values.size for tensor in params.values()),
        }

    return run


def sequences(env: Env, keys: Key) -> Sequences:
    """Return episodes of memory/copy, and what is to be answered."""
    return Sequences(*jax.vmap(lambda key: memory.copies(env, key))(keys))


if __name__ == "__main__":
    main(tyro.cli(NTMConfig))
