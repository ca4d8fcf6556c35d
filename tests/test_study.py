"""The programs of the study: its page, its tuner and the commands of its runs."""

import ast
import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from programs import EXPERIMENTS, programs

from ternevo import envs
from ternevo.settings.command_line import parse

ROOT = EXPERIMENTS.parent
NAMES = (
    *("analyse", "arms", "study", "study_claims", "study_figures"),
    *("study_results", "study_words", "tasks", "tune"),
)


@pytest.fixture(scope="module")
def modules():
    """The programs as modules."""
    with programs(*NAMES) as found:
        yield found


@pytest.fixture
def tuned(modules, monkeypatch):
    """The study as if every task had been tuned."""
    study, tune = modules["study"], modules["tune"]
    monkeypatch.setattr(study, "best", lambda task, arm: {"options": tune.draw(0, arm)})
    return study


# ------------------------------------------------------------------------------------- the page


def lines_of(cell, height):
    """Made-up lines of a cell, whose mean curve goes from 0 to `height` in 1000 steps."""
    origin = {"command": "a", "commit": "0123456789+changes", "processor": "a processor"}
    return [
        dataclasses.asdict(cell)
        | {"seed": seed, "return_last": height + seed % 2, "return_best": height, "episodes": 128}
        | {"curve": [(100, 0.0), (600, height / 2), (1100, height)]}
        | {"env_steps": 1100, "wall_time": 20.0, "bytes": 99, "num_weights": 9, "nonzeros": 6}
        | origin
        for seed in range(cell.num_seeds)
    ]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def lines_of_two_tasks(study):
    """Ternary weights are twice as high as float ones on CartPole, half as high on the hopper."""
    heights = {"CartPole-v1": (1000.0, 500.0), "hopper": (500.0, 1000.0)}
    return [
        row
        for cell in study.twins()
        if cell.task in heights and cell.arm != "binary"
        for row in lines_of(cell, heights[cell.task][cell.arm == "float"])
    ]


def test_the_claims_of_a_small_study(modules, tuned, tmp_path):
    """The target of CartPole is 450.45: after 100 + 450.45 steps, and float after twice as many."""
    write(tmp_path / "study.jsonl", lines_of_two_tasks(tuned))
    twins = modules["study_results"].load(tmp_path).twins
    cartpole, hopper = twins
    assert cartpole.target == pytest.approx(0.9 * 500.5)
    assert cartpole.ratio("ternary") == pytest.approx((100 + 450.45) / (100 + 2 * 450.45))
    assert np.isinf(hopper.ratio("ternary"))
    said = modules["study_claims"].claims(twins)
    assert "wins 1 (CartPole-v1), ties 0, loses 1 (hopper)" in said[0]
    assert "**not reached** (infinite [infinite, infinite]; 2 of 12 tasks)" in said[1]
    assert "**not reached** (above it: hopper infinite; 2 of 12 tasks)" in said[2]
    assert "**reached** (1.25" in said[3]
    assert "**not reached** (ternary median 500.5, lowest 500.0; float median 1,000" in said[4]


def test_a_page_is_made_of_an_unfinished_study(modules, tuned, tmp_path, capsys):
    cells = [cell for part in tuned.PARTS.values() for cell in part() if cell.task in tuned.CHEAP]
    rows = [row for cell in cells if cell.part != "twins" for row in lines_of(cell, 5.0)[:-1]]
    changed = dataclasses.replace(tuned.twins()[0], part="ablations", arm="no shaping", num_seeds=5)
    rows += lines_of_two_tasks(tuned) + lines_of(changed, 7.0)
    rows[0]["return_last"] = None
    write(tmp_path / "study.jsonl", rows)
    (tmp_path / "discussion.md").write_text("What it means.\n")
    arguments = ["--results", str(tmp_path), "--out", str(tmp_path / "docs")]
    modules["analyse"].main(arguments)
    text = (tmp_path / "docs" / "study.md").read_text()
    assert "Final return" in capsys.readouterr().out
    assert "twins, walker2d, ternary, own: 0 of 10 seeds" in text
    assert "seed 0: left out of all tables, as its return is not finite" in text
    assert "| no shaping | CartPole-v1 | 5 |" in text
    assert text.endswith("## Discussion\n\nWhat it means.\n")
    assert str(tmp_path) not in text and "nan" not in text
    for name in ("study_curves.png", "study_scores.png"):
        assert f"(images/{name})" in text
        assert (tmp_path / "docs" / "images" / name).read_bytes().startswith(b"\x89PNG")
    modules["analyse"].main(arguments)
    assert (tmp_path / "docs" / "study.md").read_text() == text


def test_a_page_is_made_of_nothing(modules, tmp_path):
    modules["analyse"].main(["--results", str(tmp_path), "--out", str(tmp_path / "docs")])
    text = (tmp_path / "docs" / "study.md").read_text()
    assert "twins: nothing has been run yet" in text
    assert "cannot be said" in text and "Not written yet." in text


def test_every_column_of_a_table_has_its_cells(modules, tuned, tmp_path):
    rows = [row for part in tuned.PARTS.values() for cell in part() for row in lines_of(cell, 5.0)]
    write(tmp_path / "study.jsonl", rows)
    page = modules["analyse"].page(modules["study_results"].load(tmp_path))
    width = None
    for line in page.splitlines():
        width = (width or line.count("|")) if line.startswith("|") else None
        assert width is None or line.count("|") == width, line


# ---------------------------------------------------------------------------- tuner and commands


def test_a_trial_is_the_same_for_everyone_and_within_its_ranges(modules):
    tune = modules["tune"]
    drawn = [tune.draw(trial, "ternary") for trial in range(tune.NUM_TRIALS)]
    assert drawn == [tune.draw(trial, "PGPE") for trial in range(tune.NUM_TRIALS)]
    assert len(set(drawn)) == tune.NUM_TRIALS
    for options in drawn:
        chosen = dict(zip(options[::2], options[1::2], strict=True))
        for name, (kind, *allowed) in tune.SPACE.items():
            if kind == "log":
                assert allowed[0] <= float(chosen[f"--{name}"]) <= allowed[1]
            else:
                assert chosen[f"--{name}"] in map(str, allowed)


def test_lines_come_back_as_they_were_appended(modules, tmp_path):
    tune, path = modules["tune"], tmp_path / "results" / "lines.jsonl"
    assert tune.read(path) == []
    rows = [{"task": "a", "score": 0.1}, {"task": "b", "options": ["--lr", "0.1"]}]
    for row in rows:
        tune.append(path, row)
    assert tune.read(path) == rows


def test_the_winner_is_the_best_over_the_seeds_of_both_rounds(modules, monkeypatch):
    """Trial 1 is first after one round, trial 0 after both."""
    tune = modules["tune"]
    first = [(1, trial, score, 2) for trial, score in enumerate([8.0, 10.0, 1.0, 6.0, 2.0])]
    second = [(2, 0, 9.0, 8), (2, 1, 4.0, 8), (2, 3, 1.0, 8)]
    rows = [
        {
            **{"task": "reacher", "arm": "float", "trial": trial, "options": [str(trial)]},
            **{"round": number, "score": score, "final": [0.0] * seeds},
        }
        for number, trial, score, seeds in first + second
    ]
    monkeypatch.setattr(tune, "read", lambda: rows)
    assert tune.finalists("reacher", "float") == [1, 0, 3]
    assert tune.best("reacher", "float") == {"options": ["0"], "score": (8 * 2 + 9 * 8) / 10}
    del rows[len(first) :]
    assert tune.best("reacher", "float") == {"options": ["1"], "score": 10.0}


def test_tasks_have_pages(modules):
    tasks = modules["tasks"].TASKS
    for task in tasks.values():
        assert (EXPERIMENTS / f"{task.page}.yaml").exists()
    assert set(modules["study"].CHEAP) <= set(tasks)


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_every_run_of_the_study_parses(step, modules, tuned, monkeypatch, tmp_path):
    """What is run is a legal command, says what the cell says, and has a folder of its own."""
    commands = []
    monkeypatch.setattr(
        modules["arms"].Arm, "run", lambda arm, *more: commands.append(arm.command(*more)[3:])
    )
    monkeypatch.chdir(ROOT)
    cells = [cell for part in tuned.PARTS.values() for cell in part()][::step]
    for cell in cells:
        tuned.run(cell, tmp_path)
    configs = [parse(command) for command in commands]
    assert len({(config.env, config.strategy_name, config.name) for config in configs}) == len(
        cells
    )
    for cell, config in zip(cells, configs, strict=True):
        assert (config.strategy_name, config.num_seeds) == (cell.strategy, cell.num_seeds)
        if cell.size != "own":
            assert config.policy.hidden_sizes == ast.literal_eval(tuned.SIZES[cell.size][-1])
        if cell.strategy != "ppo":
            assert config.num_generations == modules["tasks"].TASKS[cell.task].num_generations


@pytest.mark.wide  # as pages of experiments do
def test_every_method_builds_with_its_weights(modules, tuned, monkeypatch):
    """Ternary and float: a method that has no float twin would be refused here."""
    monkeypatch.chdir(ROOT)
    cells = [cell for cell in tuned.methods() if cell.task == "CartPole-v1"]
    assert len(cells) == 2 * len(tuned.METHODS) + 2
    page = "experiments/gymnax_cartpole.yaml"
    for cell in cells:
        config = parse(["--config", page, "--strategy", cell.strategy, *cell.options])
        env = envs.make(config.env, config.episode_length)
        policy = config.policy.build(env.obs, env.action)
        weights = config.policy.weights
        strategy = config.strategy.build(env, policy, weights, config.num_generations)
        jax.eval_shape(strategy.init, jax.eval_shape(jax.random.key, 0))


@pytest.mark.parametrize("program", ["study", "tune"])
def test_an_unknown_task_is_refused_with_what_is_near(modules, capsys, program):
    with pytest.raises(SystemExit) as exit_:
        modules[program].main(["--tasks", "hopper", "Carpole-v1"])
    assert exit_.value.code == 2
    message = "error: unknown task 'Carpole-v1'. Did you mean 'CartPole-v1'"
    assert message in capsys.readouterr().err


def test_an_arm_runs_the_seeds_that_it_lacks(modules):
    arms = modules["arms"]
    rows = [{"task": "a", "arm": "x", "seed": seed} for seed in (0, 1, 2)]
    rows += [{"task": "b", "arm": "x", "seed": 0}]
    found = arms.lacking(rows, ("a", "b"), ("x", "y"), 3)
    assert found == [("a", "y", 0), ("b", "x", 1), ("b", "y", 0)]
    assert arms.lacking(rows, ("a",), ("x",), 5) == [("a", "x", 3)]
    with pytest.raises(ValueError, match=r"rows of a, x have seeds \[0, 2\], with a gap"):
        arms.lacking([rows[0], rows[2]], ("a",), ("x",), 3)
    own = [arms.Arm("p", arms.from_seed("x, y", n), "s", (), Path("r"), 2, n) for n in (0, 3)]
    assert [arm.run_name for arm in own] == ["p-x-y", "p-x-y-from3"], "a folder for each"
    assert "--seed 3 --num_seeds 2" in " ".join(own[1].command())


def test_a_table_is_put_between_its_marks_or_nowhere(modules, tmp_path):
    words, page = modules["study_words"], tmp_path / "page.md"
    page.write_text("above\n\n<!-- a -->\n\nold\n\n<!-- end of a -->\n\nbelow <!-- a b -->\n")
    words.put(page, "a", words.table("x | y", [(1, 2)]))
    told = page.read_text()
    assert told.startswith("above\n\n<!-- a -->\n\n| x | y |\n| --- | --- |\n| 1 | 2 |\n\n<!-- end")
    assert told.endswith("<!-- end of a -->\n\nbelow <!-- a b -->\n")
    words.put(page, "a", words.table("x | y", []))
    assert "<!-- a -->\n\nNot run yet.\n\n<!-- end of a -->" in page.read_text()
    for text in ("", "<!-- a -->", "<!-- end of a --><!-- a -->", told + told):
        page.write_text(text)
        with pytest.raises(ValueError, match=r"page\.md must have <!-- a --> and then <!-- end"):
            words.put(page, "a", "new")
        assert page.read_text() == text
