"""Values as people type them, in every command and in pages, and one line for what is not one."""

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from gradient_learners import GRADIENTS, OFF_POLICY
from marks import wide

from ternevo import export, gym, play
from ternevo.bench import __main__ as bench
from ternevo.bench.config import BenchConfig
from ternevo.report import __main__ as report
from ternevo.runs import __main__ as runs
from ternevo.settings import listing, spelling
from ternevo.settings.command_line import EXAMPLES, RunConfig, parse, to_dict
from ternevo.settings.export import ExportConfig
from ternevo.settings.flat import flat
from ternevo.settings.options import types
from ternevo.settings.parser import in_a_line, parsed
from ternevo.settings.play import PlayConfig
from ternevo.settings.policies import MLP
from ternevo.settings.runs import RunsConfig
from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.strategies.evolution import Evolution
from ternevo.settings.values import canonical
from ternevo.sweep import __main__ as sweep

COMMANDS = {
    "run": parse,
    "play": play.main,
    "export": export.main,
    "gym": gym.main,
    "runs": runs.main,
    "report": report.main,
    "sweep": sweep.main,
    "bench": bench.main,
}


def line_of(main, argv, capsys, status=2) -> str:
    """Return the only line that a command prints to standard error when it refuses `argv`."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert exit_.value.code == status
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1, printed
    return printed.err.rstrip("\n")


# --- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        *((int, text, "1000") for text in ("1000", "1_000", "1e3", "1E3", "+1000", "1000.0")),
        *((int, "-3", "-3"), (int | None, "None", "None"), (int | None, "null", "None")),
        *((int, "1" + "0" * 30, "1" + "0" * 30), (int, " 7 ", "7")),
        *((float, "1e-3", "1e-3"), (float, "1_000", "1_000"), (float, "nan", "nan")),
        *((bool, "Yes", "True"), (bool, "OFF", "False"), (bool | None, "none", "None")),
        *((str, "none", "none"), (str | None, "None", "None"), (Path, "1e3", "1e3")),
        *((Literal["a", "b"], "b", "b"), (Literal["a", "b"] | None, "none", "None")),
        *((Literal["a", "none"] | None, "none", "none"), (Literal["none"] | None, "null", "None")),
        *(
            (tuple[int, ...], text, "(16, 16)")
            for text in ("16 16", "16,16", "[16, 16]", "(16,16)")
        ),
        *((tuple[int, ...], text, "(16,)") for text in ("16", "(16,)", "[16]", "16,", "1.6e1")),
        *((tuple[int, ...], text, "()") for text in ("", "()", "[]")),
        *((tuple[int, ...] | None, "None", "None"), (tuple[float, ...], "1,2e-3", "(1, 0.002)")),
        *((tuple[str, ...], "a,1", "('a', '1')"), (tuple[str, ...], "('a b',)", "('a b',)")),
        (tuple[tuple[int, ...], ...], "[[1, 2], [3]]", "((1, 2), (3,))"),
        *((tuple[int, str], "1,a", "(1, 'a')"), (tuple[int, str], "1", "(1,)")),
        (dict[str, float], "{'a': 1}", "{'a': 1}"),
    ],
)
def test_a_value_is_understood(kind, text, expected):
    assert canonical("option", text, kind) == expected


@pytest.mark.parametrize(
    ("kind", "text", "wanted"),
    [
        *(
            (int, text, "a whole number")
            for text in ("1.5", "1e-1", "", "ten", "nan", "inf", "1,0")
        ),
        *((int, "1e30", "a whole number"), (int, "1e999999999", "a whole number")),
        *((float, text, "a number") for text in ("0,5", "", "fast", "50%")),
        *((bool, text, "True or False") for text in ("maybe", "2", "")),
        *((Literal["adam", "sgd"], "Adam", "Did you mean 'adam'?"),),
        (tuple[int, ...], "16,1.5", "in which each is a whole number, such as 64,64, got '1.5'"),
        (tuple[int, ...], "16x16", "got '16x16'"),
    ],
)
def test_what_is_not_a_value_is_named_with_what_is_allowed(kind, text, wanted):
    with pytest.raises(ValueError, match="--option must be") as error:
        canonical("option", text, kind)
    assert wanted in str(error.value) and "\n" not in str(error.value)
    assert repr(text) in str(error.value) or "," in text


@pytest.mark.parametrize(
    ("argv", "page", "settings"),
    wide(
        [
            ("--population_size 1e3", "population_size: 1e3", {"population_size": 1000}),
            ("--population-size=1_000", "population-size: 1_000", {"population_size": 1000}),
            ("--hidden_sizes 16 16", "hidden_sizes: 16 16", {"hidden_sizes": (16, 16)}),
            ("--hidden_sizes 16,16", "hidden_sizes: [16, 1.6e1]", {"hidden_sizes": (16, 16)}),
            ("--no_render", "render: no", {"render": False}),
            ("--no-use-bias", "use_bias: off", {"use_bias": False}),
            ("--search_scales", "search_scales: yes", {"search_scales": True}),
            ("--no_search_scales", "search_scales: false", {"search_scales": False}),
            ("--search_scales none", "search_scales: null", {"search_scales": None}),
            ("--episode_length none", "episode_length: none", {"episode_length": None}),
        ],
        keep=("--population-size=1_000", "--hidden_sizes 16,16", "--no-use-bias"),
    ),
)
def test_a_command_line_and_a_page_understand_the_same(argv, page, settings, tmp_path):
    (tmp_path / "page.yaml").write_text(page)
    for words in (argv.split(), ["--config", str(tmp_path / "page.yaml")]):
        config = parse([*words, "--seed", "3"])
        found = {**flat(config), **flat(config.strategy), **flat(config.policy)}
        assert {name: found[name] for name in settings} == settings
        assert config.seed == 3


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--seed"], "--seed needs a whole number after it"),
        (["--seed", "--resume"], "--seed needs a whole number after it"),
        (["--strategy"], "--strategy needs a value after it"),
        (["--hidden_sizes"], "--hidden_sizes needs a value after it"),
        (["--no_render=True"], "--no_render takes no value; write --render True"),
        (["--lr", "fast"], "--lr must be a number, got 'fast'"),
        (["--resume", "maybe"], "unknown argument 'maybe'; options begin with --"),
    ],
)
def test_a_value_that_is_missing_or_too_much(argv, line, capsys):
    assert line_of(parse, argv, capsys) == f"error: {line}"


# --- unknown options ----------------------------------------------------------------------------


IN_MANY = f"--strategy {', '.join(('ppo', *OFF_POLICY))}"
LEARNERS = f"--strategy {', '.join(GRADIENTS)}"
REPLAYING = f"--strategy {', '.join((*OFF_POLICY, 'erl'))}"


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["--pop_size", "8"], "--pop_size; did you mean --population_size?"),
        (["--popsize=8"], "--popsize; did you mean --population_size?"),
        (["--generations", "8"], "--generations; did you mean --num_generations?"),
        (["--learning-rate", "8"], "--learning-rate; did you mean --lr?"),
        (["--algo", "ppo"], "--algo; did you mean --strategy?"),
        (["--n_envs", "8"], f"--n_envs; --num_envs is an option of {IN_MANY}"),
        (["--strategy", "ppo", "--n_envs", "8"], "--n_envs; did you mean --num_envs?"),
        (["--gamma", "1"], f"--gamma; it is an option of {LEARNERS}"),
        (["--utd", "1"], f"--utd; --updates_per_step is an option of {REPLAYING}"),
        (["--checkpoint_replay", "1"], "--checkpoint_replay; did you mean --checkpoint_buffers?"),
        (["--cell", "elman"], "--cell; it is an option of --policy recurrent"),
        (["--population_sise", "8"], "--population_sise; did you mean --population_size?"),
        (["--no_lr"], "--no_lr; --help lists the options"),
        (["--strategy_name", "x"], "--strategy_name; did you mean --strategy?"),
        (["--xyzzy", "8"], "--xyzzy; --help lists the options"),
    ],
)
def test_an_unknown_option_gets_one_line_and_is_never_an_alias(argv, hint, capsys):
    assert line_of(parse, argv, capsys) == f"error: unknown option {hint}"


@pytest.mark.parametrize("name", ["steps", "total_timesteps", "num_timesteps"])
def test_a_budget_in_steps_is_told_what_a_run_is_counted_in(name, capsys):
    assert "--num_generations, in generations" in line_of(parse, [f"--{name}", "1e6"], capsys)


@pytest.mark.parametrize(
    ("word", "meant"), [("-lr", "--lr"), ("lr=0.1", "--lr=0.1"), ("-popsize", "--population_size")]
)
def test_dashes_that_are_missing(word, meant, capsys):
    line = line_of(parse, [word], capsys)
    assert line == f"error: unknown argument {word}: options begin with --; did you mean {meant}?"


def test_the_table_of_other_names_leads_to_options_that_are_there():
    """And no name in it is an option itself, with the strategy that has what it stands for."""
    run = set(flat(parse([]))) | {"strategy", "policy", "config", "help"}
    of_each = {name: run | set(types(kind)) | set(types(MLP)) for name, kind in STRATEGIES.items()}
    for own, names in spelling.ELSEWHERE.items():
        having = [known for known in of_each.values() if own in known]
        assert having, own
        for known in having:
            assert not known & set(names), own


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "run"])
def test_every_command_refuses_an_unknown_option_in_a_line(name, capsys):
    words = [] if name in ("bench",) else ["x"]
    line = line_of(COMMANDS[name], [*words, "--sede", "3"], capsys)
    assert line.startswith("error: unknown option --sede; ")


@pytest.mark.parametrize(
    ("name", "argv", "part"),
    [
        ("play", [], "run"),
        ("play", ["x", "--which", "worst"], "--which must be best or last, got 'worst'"),
        ("sweep", ["x.yaml", "--jobs", "0"], "error: jobs must be at least 1, got 0"),
        ("bench", ["--repeats", "1.5"], "--repeats must be a whole number, got '1.5'"),
        ("bench", ["--repeats", "0"], "error: repeats must be at least 1, got 0"),
        ("export", ["x", "--to", "cc"], "--to must be tvp, c, onnx, html or numpy, got 'cc'"),
        ("gym", ["x", "--episodes", "many"], "--episodes must be a whole number"),
    ],
)
def test_every_command_refuses_a_value_in_a_line(name, argv, part, capsys):
    line = line_of(COMMANDS[name], argv, capsys)
    assert part in line.lower() if part.islower() else part in line
    assert not set("│╭╰─") & set(line)


def test_a_box_of_the_parser_is_one_line_on_any_terminal():
    box = (
        "╭─ Required options ───╮\n│ Required options were │\n│ not found: RUN │\n"
        "│ ──────── │\n│ For full helptext, run x --help │\n╰──────╯\n"
    )
    plain = " Parsing error \n ----------- \n  Required options were\n  not found: RUN\n"
    coloured = box.replace("Required options were", "\x1b[1mRequired options were\x1b[0m")
    for text in (box, plain, coloured):
        assert in_a_line(text) == "Required options were not found: RUN"


# --- help and lists -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_with_examples_that_are_understood(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as exit_:
        COMMANDS[name](["--help"])
    printed = capsys.readouterr()
    assert exit_.value.code == 0 and printed.err == ""
    examples = printed.out.partition("\nexamples:\n")[2].splitlines()
    assert len(examples) >= 3
    assert all(line.startswith("  python -m ternevo.") for line in examples)


@pytest.mark.parametrize(
    ("kind", "examples", "appended"),
    [
        (PlayConfig, play.EXAMPLES, ()),
        (ExportConfig, export.EXAMPLES, ()),
        (gym.GymConfig, gym.EXAMPLES, ()),
        (RunsConfig, runs.EXAMPLES, ()),
        (report.ReportConfig, report.EXAMPLES, ("threshold",)),
        (sweep.SweepConfig, sweep.EXAMPLES, ()),
        (BenchConfig, bench.EXAMPLES, ()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_examples_are_understood(kind, examples, appended):
    for example in examples:
        words = shlex.split(example.partition("  #")[0].partition(" > ")[0])
        own = words[: words.index("--")] if "--" in words else words
        assert isinstance(parsed(kind, own, "x", appended=appended), kind)


def test_examples_of_a_run_are_understood(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    for example in EXAMPLES:
        words = shlex.split(example.partition("  #")[0])
        if "--help" not in words:
            parse(words)


BOXES = ["options", "task options", "policy options", "strategy options", "run options"]
MACHINE = "tracking, drawing and machine options"


def boxes_of(text):
    """Return the options in each box; without UTF-8, as here, a rule is below its title."""
    found = {}
    lines = text.splitlines()
    for line, below in itertools.pairwise(lines):
        if re.fullmatch(r" -{20,} *", below):
            title = line.strip()
            found[title] = []
        elif match := re.match(r"  (?:-h, )?(--\w+)", line):
            found[title].append(match[1])
    return found


@pytest.mark.parametrize("strategy", ["ternary_nes", "random_search", "ppo"])
def test_help_has_five_boxes_with_every_option_in_one(strategy, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        parse(["--strategy", strategy, "--help"])
    shown = boxes_of(capsys.readouterr().out)
    assert list(shown) == [*BOXES, MACHINE]
    assert shown["options"][-3:] == ["--config", "--list_strategies", "--list_envs"]
    assert {"--env", "--frame_stack"} <= set(shown["task options"])
    assert {"--policy", "--weights", "--init_from"} <= set(shown["policy options"])
    assert shown["strategy options"][0] == "--strategy"
    assert "--wandb_project" in shown[MACHINE]
    config = parse(["--strategy", strategy])
    own = {*flat(config), *flat(config.strategy), *flat(config.policy)}
    names = [word for box in [*BOXES[1:], MACHINE] for word in shown[box]]
    assert len(names) == len(set(names))
    assert set(names) == {f"--{name}" for name in own - {"strategy_name", "policy_name"}}


def test_help_says_each_thing_in_whole_lines(capsys, monkeypatch):
    """A docstring's own line breaks are not those of the box."""
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = capsys.readouterr().out
    assert 'with "seed0-4" for five seeds, and to <sweep>-<run> in a trial' in text


def test_an_option_that_may_be_repeated_is_shown_with_one_value(capsys):
    with pytest.raises(SystemExit):
        report.main(["--help"])
    text = capsys.readouterr().out
    assert "--threshold STR " in text and "(repeatable)" in text and "'()'" not in text


def listed(option, *more):
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    program = (
        "import sys\nfrom ternevo import run\n"
        f"try: run.main({[option, *more]!r})\n"
        "except SystemExit as done: code = done.code\n"
        "assert 'jax' not in sys.modules and 'numpy' not in sys.modules\nsys.exit(code)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_strategies_are_listed_with_their_weights_without_jax():
    lines = listed("--list_strategies").splitlines()
    rows = {line.split()[0]: line for line in lines[1 : 1 + len(STRATEGIES)]}
    assert list(rows) == list(STRATEGIES)
    assert "ternary, binary, float" in rows["ternary_nes"]
    assert rows["binary_nes"].split()[:2] == ["binary_nes", "binary"]
    assert "SNES" in rows["ternary_nes"]


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_a_strategy_says_it_searches_is_what_it_builds(name):
    """Of floats, its twin decides; of the others, the table of `tests/strategies`."""
    kind = STRATEGIES[name]
    if kind.built_by != Evolution.built_by:
        assert "float" in kind.searches
        return
    try:
        kind().float_twin()
        has_twin = True
    except ValueError:
        has_twin = False
    assert has_twin == ("float" in kind.searches)


@pytest.mark.parametrize("text", [listing.strategies, listing.envs])
def test_lists_fit_the_terminal(text, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    lines = text().splitlines()
    assert max(map(len, lines)) <= 70
    monkeypatch.setenv("COLUMNS", "300")
    assert text().split() == " ".join(lines).split()  # and nothing is lost


def test_environments_are_listed_without_jax():
    text = listed("--list-envs", "--seed", "3")
    assert "gymnax/CartPole-v1" in text and "brax/ant" in text and "@generalized" in text


def test_a_list_is_not_a_setting():
    assert "list_envs" not in to_dict(parse([]))
    assert not {"config", "list_envs"} & set(vars(RunConfig))
