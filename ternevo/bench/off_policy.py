"""Steps and updates of our DQN and SAC as compiled by `loop.advance`, beside rejax's.

Both run on one device, from a state whose buffer has been filled up to the first updates, and take
the same number of steps in the same number of environments, with as many updates. Networks are
float, with equal layers. Ours sees integers, as it would be deployed.

A whole run of each tells what is learned in equal steps. rejax stops values at a time limit as if
the task had ended there. The final policies act without exploration, in the same episodes.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ternevo import envs
from ternevo.bench.cases import BesideRejax
from ternevo.bench.contest import Act, Contest, Contestant, Record, Runner
from ternevo.bench.measure import compiled
from ternevo.bench.playing import acting, learned
from ternevo.installation import MissingExtra, require
from ternevo.machine import devices
from ternevo.settings.policies import MLP
from ternevo.settings.strategies.dqn import DQN
from ternevo.settings.strategies.off_policy import OffPolicy, Pace, Replayed
from ternevo.settings.strategies.parts import Rate
from ternevo.settings.strategies.sac import SAC
from ternevo.training import loop
from ternevo.types import Strategy


def build(setting: BesideRejax) -> Contest:
    """Return ternevo and, where it is installed, rejax."""
    contestants, notes = [], {"updates": setting.num_generations * setting.updates_of_generation}
    for name, make in {"ternevo": ours, "rejax": _rejax}.items():
        try:
            runner = make(setting)
        except MissingExtra as missing:
            contestants.append(Contestant(name, lambda: None, skipped=str(missing)))
            continue
        contestants.append(_timed(runner, setting))
        notes |= _learned(runner, setting)
    return Contest(contestants, notes)


def _rejax(setting: BesideRejax) -> Runner:
    """Return rejax's learner.

    Raises:
      MissingExtra: rejax is not installed.
    """
    require("a comparison with rejax", "bench", "rejax")
    from ternevo.bench import rejax_runner

    return rejax_runner.runner(setting)


def _timed(runner: Runner, setting: BesideRejax) -> Contestant:
    """Return the contestant that runs some generations, once learning has started."""
    count = jnp.asarray(setting.num_generations, jnp.int32)
    waiting = jnp.asarray(setting.generations_before_learning + 1, jnp.int32)
    with devices.on_all_devices(1):
        first = runner.init(jax.random.key(0))
        contestant = compiled(runner.name, runner.advance, first, count, run=lambda: None)
        state = runner.advance(first, waiting)

    def run() -> Any:
        # A copy, because `advance` consumes the state.
        with devices.on_all_devices(1):
            return runner.advance(jax.tree.map(jnp.copy, state), count)

    steps = setting.num_generations * setting.steps_of_generation
    return contestant._replace(run=run, generations=setting.num_generations, env_steps=steps)


def _learned(runner: Runner, setting: BesideRejax) -> Record:
    """Return what final policies return."""
    count = jnp.asarray(setting.num_steps // setting.steps_of_generation, jnp.int32)

    def final(seed: int) -> Act:
        return runner.actor(runner.advance(runner.init(jax.random.key(seed)), count))

    return learned(runner.name, setting.env, final, setting.num_seeds)


# ------------------------------------------------------------------------------------- ours


def ours(setting: BesideRejax) -> Runner:
    """Return our learner."""
    env = envs.make(setting.env, setting.episode_length)
    settings = MLP(hidden_sizes=setting.hidden_sizes, activation="relu", weights="float")
    policy = settings.build(env.obs, env.action)
    num_generations = setting.num_steps // setting.steps_of_generation
    strategy = settings_of(setting).build(env, policy, "float", num_generations)
    return Runner(
        "ternevo",
        lambda key: loop.start(key, strategy),
        _advance(strategy),
        lambda state: acting(env, policy, strategy.params(state.strategy)),
    )


def _advance(strategy: Strategy) -> Any:
    """Return `loop.advance` of a strategy, without the metrics."""
    return jax.jit(lambda state, count: loop.advance(strategy, state, count)[0], donate_argnums=0)


def settings_of(setting: BesideRejax) -> OffPolicy:
    """Return our settings for what rejax does."""
    pace = Pace(
        num_envs=setting.num_envs,
        train_every=1,
        updates_per_step=setting.num_updates / setting.num_envs,
        steps_per_generation=setting.steps_of_generation,
    )
    replayed = Replayed(
        buffer_size=setting.buffer_size,
        batch_size=setting.batch_size,
        learning_starts=setting.learning_starts,
        n_step=1,
    )
    rate = Rate(lr=setting.lr)
    if setting.algorithm == "dqn":
        return DQN(
            pace,
            replayed,
            rate,
            max_grad_norm=0.0,
            double=True,
            dueling=False,
            # rejax moves its target once after all updates in a row.
            target_period=setting.num_updates,
            tau=setting.tau,
            exploration_fraction=setting.exploration_fraction,
        )
    return SAC(
        pace,
        replayed,
        rate,
        critic_hidden_sizes=setting.hidden_sizes,
        critic_lr=setting.lr,
        tau=setting.tau,
    )
