"""Generations of MAP-Elites with float weights, beside QDax's.

Both run on one device, with the same task, cells, operators and sizes of networks, from a first
generation of random policies. Ours sees integers, as it would be deployed; QDax's sees numbers.

A whole run of each tells how much of the archive is filled, and how well, by equally many members;
ours runs with ternary weights, too.
"""

import statistics
from typing import Any

import jax
import jax.numpy as jnp

from ternevo import envs
from ternevo.algorithms import archives
from ternevo.arithmetic.ternary import WeightName
from ternevo.bench import loop as generations
from ternevo.bench.cases import BesideQDax
from ternevo.bench.contest import Contest, Contestant, Illuminator, Record
from ternevo.bench.measure import compiled
from ternevo.installation import MissingExtra, require
from ternevo.machine import devices
from ternevo.settings.policies import MLP
from ternevo.settings.strategies.map_elites import MAPElites
from ternevo.training import loop
from ternevo.types import Strategy


def build(setting: BesideQDax) -> Contest:
    """Return ternevo and, where it is installed, QDax."""
    strategy = _strategy(setting, "float")
    ours = generations.advancing("ternevo", strategy, setting.num_generations, num_devices=1)
    notes: Record = {"members": setting.population_size * setting.num_generations}
    try:
        require("a comparison with QDax", "bench", "qdax")
    except MissingExtra as missing:
        return Contest([ours, Contestant("QDax", lambda: None, skipped=str(missing))], notes)
    from ternevo.bench import qdax_runner

    theirs = qdax_runner.illuminator(setting)
    for one in (_ours(setting, "float"), _ours(setting, "ternary"), theirs):
        notes |= _whole_runs(one, setting)
    return Contest([ours, _timed(theirs, setting)], notes)


def _timed(one: Illuminator, setting: BesideQDax) -> Contestant:
    """Return the contestant that runs some generations, as many as ours."""
    count = jnp.asarray(setting.num_generations, jnp.int32)
    with devices.on_all_devices(1):
        state = one.init(jax.random.key(0))

    def run() -> Any:
        with devices.on_all_devices(1):
            return one.advance(state, count)

    with devices.on_all_devices(1):
        contestant = compiled(one.name, one.advance, state, count, run=run)
    return contestant._replace(generations=setting.num_generations)


def _whole_runs(one: Illuminator, setting: BesideQDax) -> Record:
    """Return the coverage and the QD score of whole runs, the medians over their seeds."""
    if not setting.num_seeds:
        return {}
    count = jnp.asarray(setting.all_generations - one.begun, jnp.int32)
    found = []
    with devices.on_all_devices(1):
        for seed in range(setting.num_seeds):
            found.append(one.found(one.advance(one.init(jax.random.key(seed)), count)))
    coverages, scores = zip(*found, strict=True)
    return {
        f"coverage of {one.name}": statistics.median(coverages),
        f"QD score of {one.name}": statistics.median(scores),
    }


# ------------------------------------------------------------------------------------- ours


def _strategy(setting: BesideQDax, weights: WeightName) -> Strategy:
    """Return `--strategy map_elites` as the setting has it."""
    env = envs.make(setting.env, setting.episode_length)
    activation = "tanh" if weights == "float" else "int8"
    settings = MLP(setting.hidden_sizes, weights=weights, activation=activation)
    search = MAPElites(
        population_size=setting.population_size,
        num_episodes=1,
        grid=setting.grid,
        iso_sigma=setting.iso_sigma,
        line_sigma=setting.line_sigma,
        least_return=setting.least_return,
    )
    policy = settings.build(env.obs, env.action)
    return search.build(env, policy, weights, setting.all_generations)


def _ours(setting: BesideQDax, weights: WeightName) -> Illuminator:
    """Return our MAP-Elites."""
    strategy = _strategy(setting, weights)
    kept = strategy.archive
    assert kept is not None

    def found(state: Any) -> tuple[float, float]:
        archive = kept.read(state.strategy)
        score = archives.qd_score(archive, setting.least_return)
        return float(archives.coverage(archive)), float(score)

    return Illuminator(
        "ternevo" if weights == "float" else f"ternevo, {weights}",
        lambda key: loop.start(key, strategy),
        0,
        jax.jit(lambda state, count: loop.advance(strategy, state, count)[0]),
        found,
    )
