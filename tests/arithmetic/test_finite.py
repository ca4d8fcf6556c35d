"""Every setting that takes a number refuses one that is not finite, wherever it comes from."""

import dataclasses
import re

import pytest

from ternevo import run
from ternevo.bench import __main__ as bench_main
from ternevo.settings.command_line import RunConfig
from ternevo.settings.finite import check_number
from ternevo.settings.options import types
from ternevo.settings.policies import MLP, PolicySettings
from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.strategies.settings import Settings
from ternevo.settings.strategies.ternary_nes import TernaryNES
from ternevo.sweep import space

NAN, INF = float("nan"), float("inf")
BAD = [NAN, INF, -INF, 1e39, 1e-46]
"""The last two become infinite and zero in float32."""
KINDS = sorted({*STRATEGIES.values(), MLP, bench_main.BenchConfig}, key=lambda kind: kind.__name__)
FLOATS = [
    pytest.param(kind, name, id=f"{kind.__name__}-{name}")
    for kind in KINDS
    for name, type_ in types(kind).items()
    if "float" in str(type_) and "Literal" not in str(type_)
]


def test_the_table_has_the_numbers_that_are_known():
    known = {(kind, name) for kind, name in (param.values for param in FLOATS)}
    assert {(STRATEGIES["ppo"], "gamma"), (STRATEGIES["vote"], "sigma"), (TernaryNES, "lr")} < known
    assert {(STRATEGIES["asng"], "margin"), (bench_main.BenchConfig, "max_seconds")} < known
    assert len(known) > 60


@pytest.mark.parametrize(("kind", "name"), FLOATS)
def test_every_number_of_every_record_must_be_finite(kind, name):
    is_table = name == "algorithm_params"
    for bad in BAD:
        value = {"c": bad} if is_table else bad
        label = r"algorithm_params\['c'\]" if is_table else name
        with pytest.raises(ValueError, match=rf"^{label} must be .*, got {re.escape(str(bad))}$"):
            getattr(kind, "of", kind)(**{name: value})


@dataclasses.dataclass(frozen=True)
class Own(Settings):
    """A user's own strategy, which forgets to call `super().__post_init__()`."""

    pace: float = 1.0
    ends: tuple[float, ...] = (0.0,)

    def __post_init__(self):
        pass


@dataclasses.dataclass(frozen=True)
class OwnPolicy(PolicySettings):
    """A user's own policy, which forgets it too."""

    decay: float | None = None

    def __post_init__(self):
        pass


@pytest.mark.parametrize(
    ("strategy", "policy", "name"),
    [
        (Own(pace=NAN), MLP(), "pace"),
        (Own(ends=(1.0, -INF)), MLP(), r"ends\[1\]"),
        (TernaryNES(), OwnPolicy(decay=INF), "decay"),
    ],
)
def test_a_run_checks_the_settings_of_a_users_own(strategy, policy, name):
    with pytest.raises(ValueError, match=f"^{name} must be a finite number"):
        RunConfig(strategy, policy)


def test_integers_of_any_size_and_what_is_no_number_pass():
    check_number("seeds", (10**400, True, None, "nan", {"c": 0.0}))


def refused(main, argv, capsys) -> str:
    """Return what a program prints as it exits with status 2."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in argv])
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return " ".join(message.replace("│", " ").split())


@pytest.mark.parametrize(
    ("main", "argv", "said"),
    [
        (run.main, ["--lr", "nan"], "lr must be a finite number, got nan"),
        (run.main, ["--lr", "inf"], "lr must be a finite number, got inf"),
        (run.main, ["--sigma", "nan"], "sigma must be a finite number, got nan"),
        (run.main, ["--sigma=1e39"], "1.2e-38 to 3.4e+38 with either sign"),
        (run.main, ["--strategy", "ppo", "--gamma", "nan"], "gamma must be a finite number"),
        (bench_main.main, ["--list", "--max_seconds", "nan"], "max_seconds must be a finite numb"),
        (bench_main.main, ["--list", "--max_seconds", "-1"], "max_seconds must be 0 or more"),
    ],
)
def test_commands_refuse_numbers_that_are_not_finite(main, argv, said, tmp_path, capsys):
    argv = [*argv, "--runs_dir", tmp_path / "runs"] if main is run.main else argv
    assert said in refused(main, argv, capsys)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("lr: nan", "lr must be a finite number, got nan"),
        ("{strategy: ppo, max_grad_norm: inf}", "max_grad_norm must be a finite number, got inf"),
        ("lr: .nan", "--lr must be a number, got '.nan'"),  # as written
    ],
)
def test_pages_refuse_numbers_that_are_not_finite(page, said, tmp_path, capsys):
    (tmp_path / "page.yaml").write_text(page)
    assert said in refused(run.main, ["--config", tmp_path / "page.yaml"], capsys)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"value": NAN}, "value must be a finite number, got nan"),
        ({"values": [0.1, INF]}, r"values\[1\] must be a finite number, got inf"),
        ({"min": 0.1, "max": NAN}, "max must be a finite number, got nan"),
        ({"min": 0.1, "max": 0.4, "q": NAN, "distribution": "q_uniform"}, "q must be a finite"),
        ({"min": 0.1, "max": 1e4, "distribution": "log_uniform"}, "parameter 'lr': .*range"),
    ],
)
def test_sweeps_refuse_numbers_that_are_not_finite(spec, said):
    with pytest.raises(space.SweepFileError, match=said):
        space.parameter("lr", spec)
