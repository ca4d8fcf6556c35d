"""Members are scored in simulators outside JAX, by the deployed policy, on all cores.

A compiled generation calls out once: weights and seeds go out, returns and the moments of the
observations come back. See `ternevo/host`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ternevo.arithmetic import observation
from ternevo.arithmetic.observation import Quantiser
from ternevo.host import workers
from ternevo.host.scoring import Job, Scored, Terms
from ternevo.host.suites import suite
from ternevo.host.workers import Place, Workers
from ternevo.machine import callbacks, devices, interruption
from ternevo.problems.episodes import Plan, keys_of, look_and_run
from ternevo.rollouts import step_count
from ternevo.rollouts.population import size_of
from ternevo.types import (
    Env,
    Host,
    Key,
    ObservationMoments,
    Params,
    Policy,
    Population,
    Problem,
    Scores,
)

WORLDS_PER_WORKER = 32
"""Number of episodes that a process runs side by side."""


def host(policy: Policy, env: Env, plan: Plan) -> Problem:
    """Return the problem whose returns are episode returns in a simulator outside JAX.

    Raises:
      ValueError: the policy has no file format that runs without JAX.
    """
    if env.host is None:
        raise ValueError(f"{env.id} runs in JAX")
    if policy.encoder is None:
        raise ValueError(
            f"{env.id} runs outside JAX, where policies run from their .tvp file: one of your own "
            "has none, one that learns while it lives is not told its rewards there, and one that "
            "draws its layers needs JAX; use --policy mlp or another whose layers stay as they are"
        )
    score_outside = _Outside(policy, env, workers_of(env.host))

    def score(
        key: Key, population: Population, moments: ObservationMoments, generation: jax.Array
    ) -> Scores:
        seeds = seeds_of(keys_of(key, population, plan))
        limit = plan.horizon(generation) if plan.horizon else env.episode_length

        def run(quantiser: Quantiser, yardstick: Quantiser, horizon: jax.Array) -> Scores:
            return score_outside(population.params, seeds, quantiser, yardstick, horizon)

        shape = size_of(population.params), plan.num_episodes
        return look_and_run(env, run, moments, shape, jnp.asarray(limit, jnp.int32))

    def test(
        key: Key,
        params: Params,
        quantiser: Quantiser,
        num_episodes: int,
        count: jax.Array | None = None,
    ) -> Scores:
        one = jax.tree.map(lambda x: x[None], params)
        seeds = seeds_of(jax.random.split(key, (1, num_episodes)))
        limit = jnp.int32(env.episode_length)
        return score_outside(one, seeds, quantiser, quantiser, limit, count)

    return Problem(env.obs, score, test, is_steady=plan.horizon is None)


def workers_of(host: Host) -> Workers:
    """Return the processes that simulate an environment; a second Ctrl-C kills them."""
    found = workers.shared(Place(host.suite, host.name, WORLDS_PER_WORKER), host.num_workers)
    interruption.when_abandoned(found.kill)
    return found


def seeds_of(keys: Key) -> jax.Array:
    """Return a seed from 0 to 2**31 - 1 for each key, int32."""
    bits = jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32))(keys.reshape(-1))
    return (bits >> 1).astype(jnp.int32).reshape(keys.shape)


class _Outside:
    """Scores params by a call out of the program."""

    def __init__(self, policy: Policy, env: Env, workers: Workers):
        assert policy.encoder
        self.encode, self.env, self.workers = policy.encoder(), env, workers
        assert env.host
        self.spec = suite(env.host.suite).spec(env.host.name)
        self.summed = observation.summed_size(env.obs)

    def __call__(
        self,
        params: Params,
        seeds: jax.Array,
        quantiser: Quantiser,
        yardstick: Quantiser,
        horizon: jax.Array,
        count: jax.Array | None = None,
    ) -> Scores:
        """Return the scores of params [population, ...] from seeds [1 or population, episodes].

        Of the episodes only the first `count` are run, if it is given; the others return 0.

        Raises:
          ValueError: there are several devices, each of which would call out.
        """
        if devices.count() != 1:
            raise ValueError(
                f"{self.env.id} runs outside JAX, which needs one JAX device, not "
                f"{devices.count()}: use --num_devices 1"
            )
        size, num_episodes = size_of(params), seeds.shape[1]
        floats = jax.ShapeDtypeStruct((size, num_episodes), jnp.float32)
        shapes = floats, jax.ShapeDtypeStruct((size, num_episodes), jnp.int32), self._moments()
        count = jnp.int32(num_episodes) if count is None else count
        returns, lengths, moments = callbacks.call(
            self._score, shapes, params, seeds, quantiser, yardstick.mean, horizon, count
        )
        return Scores(
            returns, lengths, ObservationMoments(*moments), step_count.of_lengths(lengths)
        )

    def _moments(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((3, self.env.obs.size), jnp.float32)

    def _score(
        self,
        params: Params,
        seeds: np.ndarray,
        quantiser: Quantiser,
        mean: np.ndarray,
        horizon: np.ndarray,
        count: np.ndarray,
    ) -> tuple[Any, ...]:
        """Score NumPy arrays; nothing here may call JAX."""
        size, num_run = size_of(params), int(count)
        shape = size, seeds.shape[1]
        returns, lengths = np.zeros(shape, np.float32), np.zeros(shape, np.int32)
        if not num_run:
            return returns, lengths, np.zeros(self._moments().shape, np.float32)
        files = [
            self.encode(jax.tree.map(lambda x, i=i: x[i], params), quantiser) for i in range(size)
        ]
        rows = np.broadcast_to(seeds[:, :num_run], (size, num_run))
        jobs = [Job(i, int(seed)) for i in range(size) for seed in rows[i]]
        pivot = mean[: self.summed].astype(np.float64)
        terms = Terms(self.spec, int(horizon), pivot)
        found = self.workers.score(files, jobs, terms)
        returns[:, :num_run] = found.returns.reshape(size, num_run)
        lengths[:, :num_run] = found.lengths.reshape(size, num_run)
        return returns, lengths, self._moments_of(found, pivot)

    def _moments_of(self, found: Scored, pivot: np.ndarray) -> np.ndarray:
        """Return count, mean and deviation [3, obs], zeros where there are no moments."""
        moments = np.zeros((3, self.env.obs.size), np.float32)
        if self.summed:
            count, first, second = found.sums.sum(0)
            shares = np.maximum(count, 1.0)
            offset = first / shares
            spread = np.sqrt(np.maximum(second / shares - offset * offset, 0.0))
            moments[:] = count, np.where(count > 0, pivot + offset, 0.0), spread
        return moments
