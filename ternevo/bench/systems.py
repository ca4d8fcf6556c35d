"""One generation of a system as `python -m ternevo.run` starts it, beside one of a plainer run."""

from typing import Any

from ternevo.bench import loop
from ternevo.bench.cases import System
from ternevo.bench.contest import Contest, Contestant
from ternevo.runs import sinks
from ternevo.settings.command_line import parse
from ternevo.training import setup


def build(setting: System) -> Contest:
    """Return the system, and the run with the options of `beside`."""
    ours, weights = _generations("ternevo", setting, setting.options)
    plainer, other = _generations(setting.plainer, setting, setting.beside)
    return Contest([ours, plainer], {"weights": weights, f"weights, {setting.plainer}": other})


def _generations(name: str, setting: System, options: tuple[str, ...]) -> tuple[Contestant, int]:
    """Return the first generations of a run, and the number of weights of its policy."""
    limit = f"--episode_length={setting.episode_length}"
    common = ("--env", setting.env, limit, "--compilation_cache", "False", *setting.common)
    parts = setup.build(parse([*common, *options]))
    contestant = loop.advancing(name, parts.strategy, setting.num_generations)
    _, metrics = contestant.run()
    steps = sum(sinks.steps_of(metrics, i) for i in range(setting.num_generations))
    return contestant._replace(env_steps=steps), _num_weights(parts)


def _num_weights(parts: setup.Setup) -> Any:
    import jax

    from ternevo.arithmetic import ternary

    return ternary.num_weights(jax.eval_shape(parts.policy.init, jax.random.key(0)))
