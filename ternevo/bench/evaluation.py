"""Our evaluation of a population: random or trained members, ternary or the float baseline."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ternevo import envs
from ternevo.algorithms import spread
from ternevo.arithmetic import observation, ternary
from ternevo.arithmetic.observation import Quantiser
from ternevo.bench import cases, rivals
from ternevo.bench.contest import CaseError, Contest, Contestant
from ternevo.bench.measure import compiled
from ternevo.bench.rivals import Job
from ternevo.machine import devices
from ternevo.rollouts.population import (
    Rollout,
    episode_keys,
    evaluate,
    evaluate_policy,
    packed_bytes,
)
from ternevo.settings.policies import MLP
from ternevo.settings.strategies.ternary_nes import TernaryNES
from ternevo.training import loop
from ternevo.types import Env, Key, ObservationMoments, Params, Policy, PolicyParams, Scores

TRAINING_CHUNK = 10
MAX_GENERATIONS = 300
FULL = 0.95
"""Share of the time limit that the episodes of trained policies must reach on average."""


def build(setting: "cases.Evaluation") -> Contest:
    """Return ternevo, evosax and, with limits, physics and forward at the same sizes.

    Physics and forward run for as many steps as our longest episode; only their rates count.
    """
    job = _job(setting, MLP(hidden_sizes=setting.hidden_sizes), setting.is_trained)
    ours, lengths = evaluation("ternevo", job)
    if setting.is_trained and lengths["mean_length"] < FULL * setting.episode_length:
        raise CaseError(f"training did not find a policy with full episodes: {lengths}")
    contestants = [ours, rivals.evosax(setting, job.env.action)]
    if setting.with_limits:
        steps = lengths["longest_episode"]
        contestants += [rivals.physics(job, steps), rivals.forward(job, steps)]
    return Contest(contestants, {"weights": _num_weights(job), **lengths})


def build_policy_bound(setting: "cases.PolicyBound") -> Contest:
    """Return ternevo, its float baseline, the forward pass, and a memory read."""
    settings = MLP(hidden_sizes=setting.hidden_sizes, activation=setting.activation)
    job = _job(setting, settings)
    twin = MLP(hidden_sizes=setting.hidden_sizes, weights="float", activation="tanh")
    twin_job = _job(setting, twin)
    ours, lengths = evaluation("ternevo", job)
    other, _ = evaluation("float twin", twin_job)
    steps = lengths["longest_episode"]
    contestants = [
        ours._replace(bytes_read=steps * _packed_bytes(job)),
        other._replace(bytes_read=steps * _packed_bytes(twin_job)),
        rivals.forward(job, steps),
        rivals.memory_read(setting.bandwidth_bytes),
    ]
    notes = {"weights": _num_weights(job), "packed_bytes": _packed_bytes(job), **lengths}
    return Contest(contestants, notes)


def evaluation(name: str, job: Job) -> tuple[Contestant, dict[str, Any]]:
    """Return our evaluation and the episode lengths of one run."""
    policy, env, *arguments = job
    rollout = Rollout(policy, env)
    with devices.on_all_devices():
        is_spread = spread.is_spread(
            job.population_size, antithetic=False
        )  # as placed by `rivals.placed`

    @jax.jit
    def function(weights: Params, quantiser: Quantiser, keys: Key) -> Scores:
        return evaluate(rollout, weights, keys, quantiser, is_spread=is_spread)

    def run() -> Scores:
        with devices.on_all_devices():
            return function(*arguments)

    with devices.on_all_devices():
        contestant = compiled(name, function, *arguments, run=run)
    result = run()
    lengths = {
        "mean_length": float(jnp.mean(result.lengths)),
        "longest_episode": int(jnp.max(result.lengths)),
    }
    print(f"    episodes of {lengths['mean_length']:.1f} steps on average", flush=True)
    steps = int(np.asarray(result.lengths).sum(dtype=np.int64))  # may overflow 32 bits
    return contestant._replace(env_steps=steps), lengths


def _job(
    setting: "cases.Evaluation | cases.PolicyBound", settings: MLP, is_trained: bool = False
) -> Job:
    env = envs.make(setting.env, setting.episode_length)
    policy = settings.build(env.obs, env.action)
    size = setting.population_size
    if is_trained:
        return copies(setting, env, policy, trained(env, policy))
    weights = jax.jit(jax.vmap(policy.init))(jax.random.split(jax.random.key(0), size))
    return _placed(setting, env, policy, weights, observation.empty(env.obs.size))


def copies(
    setting: "cases.Evaluation | cases.PolicyBound | cases.Yardstick",
    env: Env,
    policy: Policy,
    params: PolicyParams,
) -> Job:
    """Return the job of a population of copies of one policy."""
    size = setting.population_size
    weights = jax.tree.map(lambda x: jnp.repeat(x[None], size, axis=0), params.weights)
    return _placed(setting, env, policy, weights, params.moments)


def _placed(
    setting: "cases.Evaluation | cases.PolicyBound | cases.Yardstick",
    env: Env,
    policy: Policy,
    weights: Params,
    moments: ObservationMoments,
) -> Job:
    size = setting.population_size
    keys = episode_keys(jax.random.key(1), setting.num_episodes, size)
    job = Job(policy, env, weights, observation.freeze(moments), keys)
    return job._replace(weights=rivals.placed(weights, size))


def trained(env: Env, policy: Policy) -> PolicyParams:
    """Return a policy that reaches the time limit, evolved by ternary_nes with a fixed seed.

    Raises:
      CaseError: `MAX_GENERATIONS` did not produce one.
    """
    with devices.on_all_devices():
        return _trained(env, policy)


def _trained(env: Env, policy: Policy) -> PolicyParams:
    nes = TernaryNES(population_size=256, num_episodes=2)
    strategy = nes.build(env, policy, "ternary", MAX_GENERATIONS)
    state = loop.start(jax.random.key(0), strategy)
    test = jax.jit(partial(_mean_length, policy, env))
    for _ in range(0, MAX_GENERATIONS, TRAINING_CHUNK):
        state, _ = loop.advance(strategy, state, jnp.asarray(TRAINING_CHUNK, jnp.int32))
        params = strategy.params(state.strategy)
        length = float(test(params))
        print(f"    trained {int(state.generation)} generations: {length:.0f} steps", flush=True)
        if length >= env.episode_length:
            return params
    raise CaseError(f"no policy with full episodes in {MAX_GENERATIONS} generations")


def _mean_length(policy: Policy, env: Env, params: PolicyParams) -> jax.Array:
    quantiser = observation.freeze(params.moments)
    keys = jax.random.split(jax.random.key(2), 64)
    result = evaluate_policy(Rollout(policy, env), params.weights, keys, quantiser)
    return jnp.mean(result.lengths)


def _num_weights(job: Job) -> int:
    """Return the number of weights and biases of one member."""
    return ternary.num_weights(jax.eval_shape(job.policy.init, jax.random.key(0)))


def _packed_bytes(job: Job) -> int:
    """Return the bytes of all members in the packed form that a step reads."""
    packing = job.policy.packing(job.keys.shape[1])
    return job.population_size * packed_bytes(job.policy, packing)
