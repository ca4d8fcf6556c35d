"""Options that are not used are named: every row of the table, and nothing of a default run."""

import itertools

import pytest

from ternevo.settings.policies import MLP, POLICIES, Conv, GradientLearner
from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.unused import ENDS, TABLE, Use, unused

NES, PPO, DQN = STRATEGIES["ternary_nes"], STRATEGIES["ppo"], STRATEGIES["dqn"]
CASES = {
    "eta": Use(NES.of(eta=0.3, spreads="none"), MLP(), "floats", "discrete"),
    "scale_lr": Use(NES.of(scale_lr=0.3, search_scales=False), MLP(), "floats", "discrete"),
    "scale_sigma": Use(NES.of(scale_sigma=0.3, distribution="logits"), MLP(), "floats", "discrete"),
    "adam_b2": Use(NES.of(adam_b2=0.999), MLP(), "floats", "discrete"),
    "init_log_std": Use(PPO.of(init_log_std=-1.0), MLP(), "floats", "discrete"),
    "value_rate": Use(NES(), GradientLearner(value_rate=4), "floats", "discrete"),
    "observation_bits": Use(NES(), Conv(observation_bits=4), "planes", "discrete"),
    "noise_correlation": Use(DQN.of(noise_correlation=0.9), MLP(), "floats", "discrete"),
    "critic_hidden_sizes": Use(
        DQN.of(critic_hidden_sizes=(8,), dueling=False), MLP(), "floats", "discrete"
    ),
    "critic_activation": Use(
        DQN.of(critic_activation="tanh", dueling=False), MLP(), "floats", "discrete"
    ),
    "quantize_start": Use(PPO.of(quantize_start=0.1), MLP(), "floats", "discrete"),
    "lr_end": Use(PPO.of(lr_end=1e-4), MLP(), "floats", "discrete"),
    "sigma_end": Use(NES.of(sigma_end=0.1), MLP(), "floats", "discrete"),
}


def test_every_row_is_tested():
    assert set(CASES) == {name for row in TABLE for name in row.names} | {end for end, _ in ENDS}


@pytest.mark.parametrize("name", CASES)
def test_what_has_no_effect_is_named(name):
    (line,) = unused(CASES[name])
    assert line.startswith(f"--{name} ") and " has no effect: " in line


def test_what_is_used_is_not_named():
    for use in (
        Use(NES.of(eta=0.3, scale_lr=0.3), MLP(observation_bits=4), "floats", "discrete"),
        Use(PPO.of(init_log_std=-1.0), MLP(), "floats", "continuous"),
        Use(DQN.of(critic_hidden_sizes=(8,)), MLP(), "floats", "discrete"),
        Use(DQN.of(quantize_start=0.1), MLP(weights="int8"), "floats", "discrete"),
        Use(NES(), GradientLearner(value_rate=4, inner="a2c"), "floats", "discrete"),
        Use(NES(), Conv(observation_bits=4), "pixels", "discrete"),
        Use(NES.of(adam_b2=0.999, optimizer="adam"), MLP(), "floats", "discrete"),
        Use(NES.of(sigma_end=0.1, sigma_schedule="cosine"), MLP(), "floats", "discrete"),
    ):
        assert unused(use) == []


def test_defaults_are_never_named():
    kinds = itertools.product(STRATEGIES.values(), POLICIES.values(), ("floats", "planes"))
    for strategy, policy, obs in kinds:
        for action in ("discrete", "continuous"):
            assert unused(Use(strategy(), policy(), obs, action)) == []
