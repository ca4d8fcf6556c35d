"""Generations of NEAT from its start, beside neat-python's: the same task, as many members.

Rules and rates are those of the paper on both sides, weights are floats, and graphs have no memory.
neat-python runs as its examples do, in one process with the task in Python. Its members are not
ours, so where episodes end early, environment steps per second tell more than the time.
"""

from typing import Any

from ternevo import envs
from ternevo.bench import loop
from ternevo.bench.cases import BesideNeatPython
from ternevo.bench.contest import Contest, Contestant
from ternevo.installation import MissingExtra, require
from ternevo.runs import sinks
from ternevo.settings.policies import Graph
from ternevo.settings.strategies.neat import NEAT


def build(setting: BesideNeatPython) -> Contest:
    """Return ternevo and, where it is wanted and installed, neat-python."""
    contestants = [_ours(setting)]
    if not setting.is_alone:
        try:
            contestants.append(_neat_python(setting))
        except MissingExtra as missing:
            skipped = Contestant("neat-python", lambda: None, skipped=str(missing))
            contestants.append(skipped)
    return Contest(contestants, {"members": _num_evaluations(setting)})


def _num_evaluations(setting: BesideNeatPython) -> int:
    return setting.population_size * setting.num_generations


def _ours(setting: BesideNeatPython) -> Contestant:
    """Return the first generations of `--strategy neat`."""
    env = envs.make(setting.env, setting.episode_length)
    settings = Graph(max_hidden=setting.max_hidden, update="feed_forward", weights="float")
    policy = settings.build(env.obs, env.action)
    neat = NEAT(population_size=setting.population_size, num_episodes=1)
    strategy = neat.build(env, policy, "float", setting.num_generations)
    contestant = loop.advancing("ternevo", strategy, setting.num_generations)
    _, metrics = contestant.run()
    steps = sum(sinks.steps_of(metrics, i) for i in range(setting.num_generations))
    return contestant._replace(env_steps=steps, evaluations=_num_evaluations(setting))


def _neat_python(setting: BesideNeatPython) -> Any:
    """Return neat-python's generations.

    Raises:
      MissingExtra: it is not installed.
    """
    require("a comparison with neat-python", "bench", "neat")
    from ternevo.bench import neat_python

    return neat_python.contestant(setting)
