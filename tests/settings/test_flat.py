"""Settings are made of parts and are flat where people write them; what options mean for others."""

import dataclasses

import pytest
from marks import wide

from ternevo.names import UnknownName
from ternevo.runs import arms, claims
from ternevo.settings.command_line import parse, to_dict
from ternevo.settings.flat import Part, changed, flat, options_of, part, with_meaning
from ternevo.settings.meaning import NOT_NEGATIVE, POSITIVE, option
from ternevo.settings.options import types
from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.strategies.cem import CEM
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.strategies.parts import Noise, Optimization, Rate, Sampling
from ternevo.settings.strategies.ternary_nes import TernaryNES


def test_flat_options_go_where_they_belong():
    settings = TernaryNES.of(population_size=32, sigma=0.3, lr=0.2, optimizer="sgd")
    assert settings == TernaryNES(
        population_size=32,
        noise=Noise(sigma=0.3),
        optimization=Optimization(Rate(lr=0.2), optimizer="sgd"),
    )
    assert TernaryNES.of() == TernaryNES()


@pytest.mark.parametrize("name", wide(STRATEGIES, keep=("ternary_nes", "latent", "ppo", "sac")))
def test_flat_and_of_are_inverse(name):
    settings = STRATEGIES[name]()
    assert STRATEGIES[name].of(**flat(settings)) == settings
    assert list(flat(settings)) == list(options_of(settings)) == list(types(settings))
    assert to_dict(parse(["--strategy", name]))["strategy"].keys() == flat(settings).keys()


def test_an_unknown_option_is_named_with_what_is_near():
    with pytest.raises(UnknownName, match=r"unknown option of TernaryNES 'sigm'. .* 'sigma'"):
        TernaryNES.of(sigm=0.3)
    with pytest.raises(UnknownName, match="unknown option of CEM 'optimizer'"):
        changed(CEM(), optimizer="adam")


def test_a_change_keeps_what_else_was_changed():
    settings = changed(CEM.of(lr=0.2, margin=0.1), lr_end=0.1)
    assert (settings.rate.lr, settings.rate.lr_end, settings.tables.margin) == (0.2, 0.1, 0.1)


def test_a_part_is_checked_alone_and_with_the_others():
    with pytest.raises(ValueError, match=r"^lr must be positive, got 0.0$"):
        Rate(lr=0.0)
    with pytest.raises(ValueError, match=r"^lr must be above 0 and at most 1, got 1.5$"):
        CEM.of(lr=1.5)
    with pytest.raises(ValueError, match="antithetic sampling needs an even population_size"):
        TernaryNES.of(population_size=5)
    assert TernaryNES.of(population_size=5, antithetic=False).sampling == Sampling(False)


@dataclasses.dataclass(frozen=True)
class Limits(Part):
    """A part of a user's own."""

    low: float = option(0.5, NOT_NEGATIVE)
    """Lower end."""
    high: float = option(2.0, POSITIVE, costs_memory=True)
    """Upper end."""


@dataclasses.dataclass(frozen=True)
class Own(Evolution):
    """A strategy of a user's own, made of one."""

    limits: Limits = part(Limits(high=3.0), high="Where it ends here.")
    pace: float = 1.0
    """How fast."""


def test_parts_of_a_users_own_are_flags(capsys):
    config = parse(["--strategy", f"{__name__}:Own", "--low", "0.25", "--pace=2"])
    assert config.strategy == Own(limits=Limits(0.25, 3.0), pace=2.0)
    assert with_meaning("costs_memory", Own) == ["population_size", "num_episodes", "high"]
    with pytest.raises(SystemExit):
        parse(["--strategy", f"{__name__}:Own", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--low FLOAT Lower end. (default: 0.5)" in shown
    assert "--high FLOAT Where it ends here. (default: 3.0)" in shown
    with pytest.raises(SystemExit):
        parse(["--strategy", f"{__name__}:Own", "--low=-1"])
    assert capsys.readouterr().err == "error: low must be 0 or more, got -1.0\n"


FREE = {
    *("num_generations", "resume", "name", "runs_dir", "chunk_size", "checkpoint_every"),
    *("num_final_episodes", "eval_env", "render", "render_every", "compilation_cache", "profile"),
    *("num_lanes", "population_chunk", "num_devices", "distributed"),
    *("track", "wandb_project", "wandb_group", "wandb_tags", "wandb_mode"),
}


@pytest.mark.parametrize(
    ("argv", "fixed"),
    [
        ([], set()),
        (["--lr_schedule", "cosine"], {"num_generations"}),
        (["--init_horizon", "0.5"], {"num_generations"}),
        (["--strategy", "latent", "--algorithm", "DiffusionEvolution"], {"num_generations"}),
        (
            ["--strategy", "ppo"],
            {"num_devices", "distributed", "num_lanes", "population_chunk"},  # two are not its own
        ),
        # Every device does the same, so that their number may change.
        (["--strategy", "sac"], {"num_lanes", "population_chunk"}),
        (
            ["--strategy", "dqn"],  # whose exploration falls during the run
            {"num_lanes", "population_chunk", "num_generations"},
        ),
    ],
)
def test_what_a_resumed_run_may_change(argv, fixed):
    assert claims.free_on_resume(parse(argv)) == FREE - fixed


def test_what_does_not_tell_arms_apart():
    others = {"seed", "num_seeds", "name", "env", "checkpoint_buffers"}
    assert others | FREE - {"num_generations", "num_final_episodes"} == arms.NOT_OF_THE_ARM


def test_what_costs_memory_and_what_shortens_steps():
    config = parse([])
    assert with_meaning("costs_memory", config, config.strategy, config.policy) == [
        *("num_seeds", "population_size", "num_episodes", "hidden_sizes")
    ]
    assert with_meaning("bounds_memory", config.strategy) == ["num_lanes", "population_chunk"]
    found = {name: with_meaning("shortens_steps", kind) for name, kind in STRATEGIES.items()}
    assert found["ternary_nes"] == ["sigma", "lr"]
    assert found["cosyne"] == ["mutation_sigma"]
    assert found["asng"] == ["init_step"]
    assert found["ppo"] == found["dqn"] == ["lr", "max_grad_norm"]
    assert found["td3"] == found["ddpg"] == found["sac"] == ["lr", "max_grad_norm", "critic_lr"]
    assert found["ternary_ga"] == []
