"""Command line, pages and a sweep agent's arguments reach one parser with one set of messages."""

import subprocess
import sys

import pytest
from marks import wide

from ternevo.settings.command_line import parse, to_dict
from ternevo.settings.flat import flat
from ternevo.settings.options import types
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.strategies.ternary_nes import TernaryNES


def page(tmp_path, text: str):
    path = tmp_path / "page.yaml"
    path.write_text(text)
    return str(path)


def refused(argv, capsys) -> str:
    """Return what is printed when `argv` is refused, on one line."""
    with pytest.raises(SystemExit) as exit_:
        parse(argv)
    assert exit_.value.code == 2
    printed = capsys.readouterr()
    return " ".join((printed.out + printed.err).replace("│", " ").split())


def test_the_literal_command_line_of_the_readme():
    config = parse(["--env", "brax/ant", "--strategy", "ternary_nes", "--lr=0.3"])
    assert config.env == "brax/ant"
    assert config.strategy == TernaryNES.of(lr=0.3)
    assert config.policy == MLP()


def test_underscores_hyphens_and_python_literals():
    config = parse(["--population-size", "64", "--hidden_sizes=(32, 16)", "--use_bias=False"])
    assert config.strategy.population_size == 64
    assert config.policy == MLP(hidden_sizes=(32, 16), use_bias=False)


@pytest.mark.parametrize("argv", [["--resume"], ["--resume", "True"], ["--resume=True"]])
def test_a_switch_works_bare_and_in_a_sweep_agents_form(argv):
    assert parse([*argv, "--seed=3"]).resume
    assert not parse(["--seed=3"]).resume


@pytest.mark.parametrize("word", wide(["true", "TRUE", "yes", "on"], keep=["TRUE"]))
def test_a_switch_takes_the_words_of_a_page_anywhere(word, tmp_path):
    opposite = {"true": "false", "yes": "no", "on": "off"}[word.lower()]
    for sign, expected in ((word, True), (opposite, False)):
        as_page = ["--config", page(tmp_path, f"resume: {sign}")]
        for argv in (["--resume", sign], [f"--resume={sign}"], as_page):
            assert parse([*argv, "--seed=3"]).resume is expected


@pytest.mark.parametrize(
    ("text", "sizes"),
    wide(
        [
            *(("[8, 8]", (8, 8)), ("[8,8]", (8, 8)), ("(8, 8)", (8, 8)), ("8,8", (8, 8))),
            *(("8 8", (8, 8)), ("8", (8,)), ("(8,)", (8,)), ("[]", ()), ("()", ())),
        ],
        keep=("(8, 8)", "8,8", "()"),
    ),
)
def test_a_list_is_understood_however_it_is_written(text, sizes, tmp_path):
    """In one word, in as many as a shell makes of it, after an =, and in a page."""
    as_page = ["--config", page(tmp_path, f"hidden_sizes: {text}")]
    name = "--hidden_sizes"
    for argv in ([name, text], [name, *text.split()], [f"{name}={text}"], as_page):
        config = parse([*argv, "--seed", "3"])
        assert (config.policy.hidden_sizes, config.seed) == (sizes, 3), argv


def test_a_page_is_arguments_at_rest_and_the_command_line_wins(tmp_path):
    path = page(
        tmp_path,
        """
        env: brax/hopper
        hidden_sizes: [16]
        strategies:
          ternary_ga: {population_size: 10, max_flips: 9.5}
          ternary_nes: {lr: 3e-4, num_generations: 7}
        """,
    )
    first = parse(["--config", path])
    assert first.strategy_name == "ternary_ga"
    assert (first.strategy.population_size, first.strategy.max_flips) == (10, 9.5)
    second = parse(["--strategy", "ternary_nes", "--config", path, "--hidden_sizes", "(8,)"])
    assert (second.env, second.num_generations) == ("brax/hopper", 7)
    assert flat(second.strategy)["lr"] == 3e-4  # PyYAML reads 3e-4 as a string
    assert second.policy.hidden_sizes == (8,)


def test_a_misspelt_flag_and_a_misspelt_key_get_the_same_message(tmp_path, capsys):
    flag = refused(["--population_sise", "3"], capsys)
    key = refused(["--config", page(tmp_path, "population_sise: 3")], capsys)
    assert "--population_size" in flag
    assert flag == key


def test_an_option_of_another_strategy_is_refused(capsys):
    assert "--sigma" in refused(["--strategy", "ternary_ga", "--sigma", "0.1"], capsys)


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["--strategy", "ternary_ness"], ["'ternary_ness'", "'ternary_nes'", "random_search"]),
        (["--activation", "int9"], ["int9", "int8", "tanh"]),
        (["--population_size", "7"], ["even population_size", "7"]),
        (["--population_size", "many"], ["many", "--population_size"]),
        (["--hidden_sizes", "(0,)"], ["hidden_sizes", "positive"]),
        (["--num_episodes", "0"], ["num_episodes", "at least 1"]),
        (["--population_size", "1"], ["population_size", "at least 2"]),
        (["--track", "tensorbord"], ["'tensorbord'", "'tensorboard'", "wandb"]),
        (["--distribution", "mean", "--sigma", "2"], ["flip rate", "2"]),
        (["--policy", "mlpp"], ["'mlpp'", "'mlp'"]),
        *(
            (["--strategy", name, "--sparse_training", "static"], ["does nothing", "--sparsity"])
            for name in ("ppo", "dqn", "td3")
        ),
        *(
            (
                ["--strategy", "ppo", "--sparsity", "0.5", *words, "--topology_fraction", "0.3"],
                ["--topology_fraction 0.3 does nothing with", "is for set and rigl"],
            )
            for words in ([], ["--sparse_training", "static"])
        ),
        (
            ["--strategy", "sac", "--n_step_start", "0.1"],
            ["--n_step_start 0.1 does nothing with --n_step 1"],
        ),
        (["--checkpoint_every", "0"], ["checkpoint_every", "at least 1"]),
        (["--config", "nowhere.yaml"], ["nowhere.yaml cannot be read"]),
        (["--strategy", "no_such_module:Thing"], ["no_such_module:Thing"]),
    ],
)
def test_bad_input_is_named_with_what_is_allowed(argv, parts, capsys):
    message = refused(argv, capsys)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    "text", ["- 1\n- 2", "env: [", "3", "strategies: [ternary_nes]", "strategies: {ternary_nes: 3}"]
)
def test_a_page_that_is_no_mapping_is_refused(text, tmp_path, capsys):
    assert "page.yaml" in refused(["--config", page(tmp_path, text)], capsys)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("wandb_tags: [1, 2]", {"wandb_tags": "1,2"}),
        ("track: [tensorboard, wandb]", {"track": "tensorboard,wandb"}),
        ("name: null\nepisode_length: ~\ninit_from:", {"name": None, "episode_length": None}),
        ("name: 1.10", {"name": "1.10"}),
        ("name: on", {"name": "on"}),
        ("name: 2026-01-01", {"name": "2026-01-01"}),
        ("name: -x", {"name": "-x"}),
        ("seed: 010", {"seed": 10}),
        ("num-seeds: 2", {"num_seeds": 2}),
        ("\ufeffseed: 3", {"seed": 3}),
        ("seed: &three 3\nnum_seeds: *three", {"seed": 3, "num_seeds": 3}),
        ("strategies: {ternary_ga: }", {"strategy_name": "ternary_ga"}),
        ("strategies:\nseed: 3", {"strategy_name": "ternary_nes", "seed": 3}),
        (
            "strategies:\n  ppo: &shared {seed: 3, num_seeds: 2}\n"
            "  ternary_ga: {<<: *shared, seed: 4}\nstrategy: ternary_ga",
            {"seed": 4, "num_seeds": 2},
        ),
    ],
)
def test_a_page_means_what_a_command_line_with_the_same_text_does(text, settings, tmp_path):
    config = parse(["--config", page(tmp_path, text)])
    assert {name: getattr(config, name) for name in settings} == settings


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("lr: 1\nseed: 2\nlr: 3", ["page.yaml: duplicate key 'lr' in lines 1 and 3"]),
        ("strategies:\n  ppo: {lr: 1, lr: 2}", ["duplicate key 'lr'"]),
        ("num-seeds: 2\nnum_seeds: 3", ["'num-seeds' and 'num_seeds'", "the same option"]),
        ("policy:", ["policy in a page must be a name, such as 'mlp', got None"]),
        ("strategy: [ppo]", ["strategy in a page must be a name", "['ppo']"]),
        ("strategies: {ppoo: {lr: 1}}", ["'ppoo'", "Did you mean 'ppo'"]),
        ("wandb_tags: null", ["wandb_tags is empty or null", "remove it to use the default"]),
        ("resume:", ["resume is empty or null"]),
        ("wandb_tags: [a, null]", ["wandb_tags must be text"]),
        ("lr: {a: 1}", ["lr must be a single value", "mapping"]),
        ("lr: [0.1]", ["lr must be a single value", "list"]),
        ("hidden_sizes: [a]", ["--hidden_sizes", "'a'"]),
        ("resume: maybe", ["--resume", "'maybe'", "True or False"]),
        ("~: 3", ["line 1: a key must be text", "quote it"]),
        ("? [a]\n: 3", ["line 1: a key must be text"]),
        ("help: true", ["'help'", "only a command line"]),
        ("list-envs: true", ["'list-envs'", "only a command line"]),
        ("", ["page.yaml must be a mapping of options, but is empty"]),
        ("lr:\n\tx: 1", ["is not YAML: line 2, column 1", "'\\t'"]),
        ("a: 1\n---\nb: 2", ["is not YAML: line 2", "single document"]),
        ("a: !!python/object/apply:os.getcwd []", ["is not YAML: line 1", "tag"]),
        ("a: \x00", ["is not YAML", "special characters"]),
        (BOMB, ["more than 10,000 values"]),
        ("a: &a [*a]", ["more than 10,000 values", "20 levels"]),
        ("a: " + "[" * 1000, ["nested too deeply"]),
        (f"#{'x' * 2**20}", ["1,048,577 bytes", "at most 1,048,576"]),
        (b"name: caf\xe9", ["page.yaml is not UTF-8 at line 1"]),
        ("seed: 1".encode("utf-16"), ["page.yaml is not UTF-8 at line 1"]),
    ],
)
def test_a_page_that_cannot_be_meant_is_refused(text, parts, tmp_path, capsys):
    path = tmp_path / "page.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    message = refused(["--config", str(path)], capsys)
    assert "Traceback" not in message
    for part in parts:
        assert part in message


def test_mappings_that_merge_each_other_do_not_grow_without_end(tmp_path, capsys):
    keys = ", ".join(f"k{i}: 1" for i in range(9))
    text = f"a: &a {{{keys}}}\n" + "".join(
        f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 9)}]}}\n"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "keys are merged" in refused(["--config", page(tmp_path, text)], capsys)


def test_a_page_may_hold_a_mapping_where_the_option_is_one(tmp_path):
    text = "strategies: {latent: {algorithm: CMA_ES, algorithm_params: {c_std: 0.1, name: x}}}"
    parsed = parse(["--config", page(tmp_path, text)])
    assert parsed.strategy.algorithm_params == {"c_std": 0.1, "name": "x"}


def test_a_list_ends_where_an_option_begins(capsys):
    with pytest.raises(SystemExit) as exit_:
        parse(["--hidden_sizes", "8", "8", "-h"])
    assert exit_.value.code == 0 and "--hidden_sizes" in capsys.readouterr().out


def test_a_folder_is_no_page(tmp_path, capsys):
    assert "cannot be read: Is a directory" in refused(["--config", str(tmp_path)], capsys)


def test_field_names_are_unique_across_a_run():
    """Flat flags and flat pages need it."""
    settings = to_dict(parse([]))
    for strategy in STRATEGIES.values():
        run = set(settings) - {"strategy", "policy"}
        names = [*run, *settings["policy"], *types(strategy)]
        assert len(names) == len(set(names)), strategy


def test_help_lists_the_strategys_own_options_without_importing_jax():
    """All in one process: none of them imports it."""
    program = (
        "import sys\n"
        "from ternevo.settings.command_line import parse\n"
        f"for strategy in {[*STRATEGIES]!r}:\n"
        "    print('STRATEGY', strategy)\n"
        "    try: parse(['--strategy', strategy, '--help'])\n"
        "    except SystemExit as done: assert done.code == 0, strategy\n"
        "    else: raise AssertionError(strategy)\n"
        "    assert 'jax' not in sys.modules\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    _, *helps = result.stdout.split("STRATEGY ")
    assert [text.split()[0] for text in helps] == [*STRATEGIES]
    for strategy, text in zip(STRATEGIES, helps, strict=True):
        for name in types(STRATEGIES[strategy]):
            assert f"--{name}" in text, strategy


def test_a_users_own_strategy_is_imported(tmp_path, monkeypatch):
    (tmp_path / "my_lab.py").write_text(
        "import dataclasses\n"
        "from ternevo.settings.strategies.ternary_nes import TernaryNES\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Mine(TernaryNES):\n"
        "    my_option: int = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = parse(["--strategy", "my_lab:Mine", "--my_option", "4"])
    assert config.strategy.my_option == 4
