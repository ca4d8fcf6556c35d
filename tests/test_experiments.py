"""Every page in experiments/ parses and builds, for every strategy it has a block for."""

import functools
from pathlib import Path

import jax
import pytest
import yaml
from marks import wide

from ternevo import envs, problems
from ternevo.policies import contract
from ternevo.settings.command_line import parse
from ternevo.settings.flat import flat

PAGES = sorted(Path(__file__).parents[1].joinpath("experiments").glob("*.yaml"))


BLOCKS = [(page, name) for page in PAGES for name in yaml.safe_load(page.read_text())["strategies"]]

QUICK = [block for block in BLOCKS if "brax_" not in block[0].stem or "brax_ant" in block[0].stem]
"""The ant stands for all of brax, whose models take a second each to load."""


def traced():
    """Return the blocks whose generation is traced, which takes seconds for each, in no slow test.

    The first of each strategy and the first in each suite: a generation is a strategy's, and the
    environments of a suite differ in what `tests/envs/` tests, as brax does, whose physics take
    longest.
    """
    seen, found = set(), []
    for page, name in QUICK:
        if page.stem.startswith("brax_"):
            continue
        new = {name, page.stem.partition("_")[0]} - seen
        if new:
            found.append((page, name))
        seen |= new
    return found


DEFAULT = {"gymnax_acrobot-ternary_nes", "gymnax_acrobot-ppo", "gymnax_mountaincar_continuous-sac"}
"""Blocks that are tested by default: of a search, and of learners on policy and off."""


def each(blocks, fast, default):
    """Parametrise over pages and names of their strategies; those that are not fast are slow.

    Of the fast ones those are wide that are not tested by default.
    """
    rows = [
        pytest.param(*block, id=f"{block[0].stem}-{block[1]}", marks=marks)
        for block in blocks
        for marks in [[] if block in fast else [pytest.mark.slow]]
    ]
    return pytest.mark.parametrize(("page", "name"), wide(rows, keep=default))


@functools.cache
def made(env_id, episode_length, settings):
    """Return the environment and the policy of a page, which its blocks mostly share."""
    env = envs.make(env_id, episode_length)
    return env, contract.build(settings, env.obs, env.action)


def built(page, name):
    """Return the configuration of a block, its environment and its strategy."""
    config = parse(["--config", str(page), "--strategy", name])
    env, policy = made(config.env, config.episode_length, config.policy)
    total, weights = config.num_generations, config.policy.weights
    return config, env, config.strategy.build(env, policy, weights, total)


@each(BLOCKS, QUICK, DEFAULT)
def test_a_page_parses_and_builds(page, name):
    config, *_ = built(page, name)
    block = yaml.safe_load(page.read_text())["strategies"][name]
    assert config.num_generations == block["num_generations"]
    parsed = flat(config.strategy)
    asked = {option: value for option, value in block.items() if option in parsed}
    for option, value in asked.items():
        assert parsed[option] == (tuple(value) if isinstance(value, list) else value)


@each(BLOCKS, traced(), DEFAULT)
def test_a_generation_of_a_page_keeps_the_types_of_its_state(page, name):
    """Abstract evaluation goes through a whole generation without running one."""
    _, env, strategy = built(page, name)
    key = jax.eval_shape(jax.random.key, 0)
    state = jax.eval_shape(strategy.init, key)
    with problems.own_devices(env):
        after, metrics = jax.eval_shape(strategy.step, key, state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert all(metric.shape == () for metric in metrics.values())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_was_measured(page):
    """The header has the command, and a figure only with seeds, machine and time."""
    header = [line for line in page.read_text().splitlines() if line.startswith("#")]
    text = " ".join(header)
    assert f"--config experiments/{page.name}" in text
    for word in ("return", "seed", "CPU", " s"):
        assert word in text
