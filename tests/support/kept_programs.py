"""Runs of one process that are built alike share what is built, and so its compiled programs.

For tests of files, signals and messages, which run the same small thing again and again: most of
their time would go into tracing and compiling it. What a run compiles is not their claim; it is
that of `tests/machine/test_compilation.py`.
"""

import contextlib

import pytest

from ternevo.training import setup


@contextlib.contextmanager
def keeping_programs():
    """Give runs that differ in nothing that is compiled the same programs, while this is open.

    An environment is known by its name, so that a module of one must stay what it is.
    """
    build, evaluation_of, kept = setup.build_strategy, setup.evaluation_of, {}

    def built(config, env, policy, begin):
        if begin:  # which is in no setting
            return build(config, env, policy, begin)
        settings, total = config.strategy, config.num_generations
        key = (
            *(config.env, config.episode_length, config.wrappers, config.policy, settings),
            *(config.num_seeds, config.num_devices, total if settings.is_stretched else 0),
        )
        if key not in kept:
            kept[key] = build(config, env, policy, begin)
        return kept[key]

    def evaluating(config, env, policy, num_seeds):
        best_from = config.strategy.best_from(config.num_generations)
        key = (
            *(config.env, config.episode_length, config.wrappers, config.policy, num_seeds),
            *(config.eval_every, config.num_eval_episodes, config.num_final_episodes, best_from),
            config.num_devices,
        )
        if key not in kept:
            kept[key] = evaluation_of(config, env, policy, num_seeds)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "build_strategy", built)
        patch.setattr(setup, "evaluation_of", evaluating)
        yield
