"""Generations of PGPE with float weights on the cart-pole swing-up, beside EvoJAX's.

The task has EvoJAX's constants, and both search with its PGPE's settings, in as many episodes, on
one device. EvoJAX runs as its trainer does: ask, rollouts to the time limit, tell, from Python.
Ours sees integers, as it would be deployed, and stops a member's episode where it is over.

A whole run of each tells what is learned in equally many episodes; ours also with ternary weights,
searched by `ternary_nes`. Final policies play the same fresh episodes of our task.
"""

import statistics

import jax
import jax.numpy as jnp

from ternevo import envs
from ternevo.bench import loop as generations
from ternevo.bench.cases import BesideEvoJAX
from ternevo.bench.contest import Act, Contest, Contestant, Record, Searcher
from ternevo.bench.off_policy import NUM_EPISODES, acting, returns
from ternevo.installation import MissingExtra, require
from ternevo.machine import devices
from ternevo.runs import sinks
from ternevo.settings.policies import MLP
from ternevo.settings.strategies.latent import Latent
from ternevo.settings.strategies.parts import Noise, Optimization, Rate
from ternevo.settings.strategies.ternary_nes import TernaryNES
from ternevo.training import loop
from ternevo.types import Policy, Strategy


def build(setting: BesideEvoJAX) -> Contest:
    """Return ternevo and, where it is installed, EvoJAX."""
    _, strategy = pgpe(setting)
    ours = generations.advancing("ternevo", strategy, setting.num_generations, num_devices=1)
    _, metrics = ours.run()
    steps = sum(sinks.steps_of(metrics, i) for i in range(setting.num_generations))
    contestants = [ours._replace(env_steps=steps)]
    searchers = [
        _ours("ternevo", setting, *pgpe(setting)),
        _ours("ternevo, ternary", setting, *ternary(setting)),
    ]
    try:
        timed, theirs = _evojax(setting)
    except MissingExtra as missing:
        contestants.append(Contestant("EvoJAX", lambda: None, skipped=str(missing)))
    else:
        contestants.append(timed)
        searchers.append(theirs)
    notes: Record = {"episodes": setting.population_size * setting.num_episodes}
    for searcher in searchers:
        notes |= _learned(searcher, setting)
    return Contest(contestants, notes)


def _evojax(setting: BesideEvoJAX) -> tuple[Contestant, Searcher]:
    """Return EvoJAX's first generations, and its whole runs.

    Raises:
      MissingExtra: it is not installed.
    """
    require("a comparison with EvoJAX", "bench", "evojax")
    from ternevo.bench import evojax_runner

    return evojax_runner.contestant(setting), evojax_runner.searcher(setting)


def _learned(searcher: Searcher, setting: BesideEvoJAX) -> Record:
    """Return the mean returns of final policies: their median over the seeds, and the worst."""
    if not setting.num_seeds:
        return {}
    env, means = envs.make(setting.env), []
    with devices.on_all_devices(1):
        for seed in range(setting.num_seeds):
            found = returns(env, searcher.final(seed), jax.random.key(1000), NUM_EPISODES)
            means.append(float(jnp.mean(found)))
    return {
        f"return of {searcher.name}": statistics.median(means),
        f"worst return of {searcher.name}": min(means),
    }


# ------------------------------------------------------------------------------------- ours


def pgpe(setting: BesideEvoJAX) -> tuple[Policy, Strategy]:
    """Return our float policy, and evosax's PGPE with EvoJAX's settings."""
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


def ternary(setting: BesideEvoJAX) -> tuple[Policy, Strategy]:
    """Return a ternary policy of the same sizes, and `ternary_nes` at its defaults."""
    env = envs.make(setting.env, setting.episode_length)
    policy = MLP(setting.hidden_sizes, activation="int8").build(env.obs, env.action)
    search = TernaryNES(population_size=setting.population_size, num_episodes=setting.num_episodes)
    return policy, search.build(env, policy, "ternary", setting.all_generations)


def _ours(name: str, setting: BesideEvoJAX, policy: Policy, strategy: Strategy) -> Searcher:
    """Return our whole runs."""
    env = envs.make(setting.env, setting.episode_length)

    def final(seed: int) -> Act:
        state, left = loop.start(jax.random.key(seed), strategy), setting.all_generations
        while left:
            count = min(left, loop.MAX_CHUNK)
            state, _ = loop.advance(strategy, state, jnp.asarray(count, jnp.int32))
            left -= count
        return acting(env, policy, strategy.params(state.strategy))

    return Searcher(name, final)
