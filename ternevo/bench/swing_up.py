"""Generations of PGPE with float weights on the cart-pole swing-up, beside EvoJAX's.

The task has EvoJAX's constants. Both have the same population, learning rate, first deviation,
episodes and sizes of networks, on one device. EvoJAX begins at zeros, and ours at a random policy;
Adam's b2 is 0.999 there and 0.99 here; ours sees normalised observations as integers, as it would
be deployed. EvoJAX runs as its trainer does: ask, rollouts to the time limit, tell, from Python.
Ours stops a member's episode where it is over.

A whole run of each tells what is learned in equally many episodes; ours also with ternary weights,
searched by `ternary_nes`. Final policies play the same fresh episodes of our task.
"""

from functools import partial

import jax
import jax.numpy as jnp

from ternevo import envs
from ternevo.bench import loop as generations
from ternevo.bench.cases import BesideEvoJAX
from ternevo.bench.contest import Act, Contest, Contestant, Record
from ternevo.bench.playing import acting, learned
from ternevo.installation import MissingExtra, require
from ternevo.runs import sinks
from ternevo.settings.policies import MLP
from ternevo.settings.strategies.latent import Latent
from ternevo.settings.strategies.parts import Noise, Optimization, Rate
from ternevo.settings.strategies.ternary_nes import TernaryNES
from ternevo.training import loop
from ternevo.types import Policy, Strategy


def build(setting: BesideEvoJAX) -> Contest:
    """Return ternevo and, where it is installed, EvoJAX."""
    policy, strategy = _pgpe(setting)
    ours = generations.advancing("ternevo", strategy, setting.num_generations, num_devices=1)
    _, metrics = ours.run()
    steps = sum(sinks.steps_of(metrics, i) for i in range(setting.num_generations))
    contestants = [ours._replace(env_steps=steps)]
    notes: Record = {"episodes": setting.population_size * setting.num_episodes}
    try:
        require("a comparison with EvoJAX", "bench", "evojax")
    except MissingExtra as missing:
        contestants.append(Contestant("EvoJAX", lambda: None, skipped=str(missing)))
        return Contest(contestants, notes)
    from ternevo.bench import evojax_runner

    contestants.append(evojax_runner.contestant(setting))
    finals = {
        "ternevo": partial(_final, setting, policy, strategy),
        "ternevo, ternary": partial(_final, setting, *_ternary(setting)),
        "EvoJAX": partial(evojax_runner.final, setting),
    }
    for name, final in finals.items():
        notes |= learned(name, setting.env, final, setting.num_seeds)
    return Contest(contestants, notes)


# ------------------------------------------------------------------------------------- ours


def _pgpe(setting: BesideEvoJAX) -> tuple[Policy, Strategy]:
    """Return our float policy, and evosax's PGPE with what both have: see above."""
    env = envs.make(setting.env, setting.episode_length)
    settings = MLP(setting.hidden_sizes, weights="float", activation="tanh")
    search = Latent(
        algorithm="PGPE",
        population_size=setting.population_size,
        num_episodes=setting.num_episodes,
        noise=Noise(sigma=setting.sigma),
        optimization=Optimization(Rate(lr=setting.lr)),
    )
    policy = settings.build(env.obs, env.action)
    return policy, search.build(env, policy, "float", setting.all_generations)


def _ternary(setting: BesideEvoJAX) -> tuple[Policy, Strategy]:
    """Return a ternary policy of the same sizes, and `ternary_nes` at its defaults."""
    env = envs.make(setting.env, setting.episode_length)
    policy = MLP(setting.hidden_sizes, activation="int8").build(env.obs, env.action)
    search = TernaryNES(population_size=setting.population_size, num_episodes=setting.num_episodes)
    return policy, search.build(env, policy, "ternary", setting.all_generations)


def _final(setting: BesideEvoJAX, policy: Policy, strategy: Strategy, seed: int) -> Act:
    """Return what the policy does that a whole run of ours ends with."""
    env = envs.make(setting.env, setting.episode_length)
    count = jnp.asarray(setting.all_generations, jnp.int32)
    state, _ = loop.advance(strategy, loop.start(jax.random.key(seed), strategy), count)
    return acting(env, policy, strategy.params(state.strategy))
