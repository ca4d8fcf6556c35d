"""Every page in experiments/ parses and builds, for every strategy it has a block for."""

from pathlib import Path

import jax
import pytest
import yaml

from ternevo import envs, problems
from ternevo.policies import contract
from ternevo.settings.command_line import parse
from ternevo.settings.flat import flat

PAGES = sorted(Path(__file__).parents[1].joinpath("experiments").glob("*.yaml"))


def marks_of(page):
    """The ant stands for all of brax, whose programs take seconds each to trace."""
    is_slow = page.stem.startswith("brax_") and page.stem != "brax_ant"
    return [pytest.mark.slow] if is_slow else []


BLOCKS = [
    pytest.param(page, name, id=f"{page.stem}-{name}", marks=marks_of(page))
    for page in PAGES
    for name in yaml.safe_load(page.read_text())["strategies"]
]


@pytest.mark.parametrize(("page", "name"), BLOCKS)
def test_a_page_parses_and_builds(page, name):
    """Abstract evaluation goes through a whole generation without running one."""
    config = parse(["--config", str(page), "--strategy", name])
    block = yaml.safe_load(page.read_text())["strategies"][name]
    assert config.num_generations == block["num_generations"]
    parsed = flat(config.strategy)
    asked = {option: value for option, value in block.items() if option in parsed}
    for option, value in asked.items():
        assert parsed[option] == (tuple(value) if isinstance(value, list) else value)
    env = envs.make(config.env, config.episode_length)
    policy = contract.build(config.policy, env.obs, env.action)
    weights = config.policy.weights
    strategy = config.strategy.build(env, policy, weights, config.num_generations)
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
