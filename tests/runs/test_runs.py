"""The list of runs says what the files say: hand-made folders, no training."""

import json
import os
import time

import pytest
from written_runs import STRATEGY, write_run

from ternevo.runs import __main__ as runs, plots
from ternevo.runs.arms import gather


def listed(capsys, *arguments):
    runs.main([*map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


def lines_of(capsys, *arguments):
    """Return the table's lines, less the headings."""
    runs.main([*map(str, arguments)])
    return capsys.readouterr().out.splitlines()[1:]


def test_runs_that_differ_in_the_seed_are_one_row_with_mean_and_deviation(tmp_path, capsys):
    """Of 1, 2 and 6: mean 3, deviation sqrt(14/3) = 2.16."""
    for seed, best in enumerate((1.0, 2.0, 6.0)):
        write_run(tmp_path, f"seed{seed}", seed, (0.0, best), final=best + 1)
    write_run(tmp_path, "seed3", 3, (0.0, 9.0), settings={**STRATEGY, "lr": 0.5})
    first, second = lines_of(capsys, tmp_path)
    path = tmp_path / "probe" / "corridor" / "ternary_nes"
    size_and_time = ["1,234", "B", "0:00:03"]
    shown = [str(path / "seed*"), "probe/corridor", "ternary_nes", "binary", "0-2"]
    assert first.split()[:12] == [*shown, "3.0", "±", "2.2", "4.0", "±", "2.2", "20"]
    assert first.split()[12:15] == size_and_time and first.endswith("done")
    assert second.split()[4:6] == ["3", "9.0"], "other settings, another row"
    of_each = lines_of(capsys, tmp_path, "--by_seed", "True")
    assert [line.split()[0] for line in of_each] == [str(path / f"seed{i}") for i in range(4)]


def test_runs_that_differ_in_what_changes_no_number_are_one_row(tmp_path, capsys):
    """As in a report: `--chunk_size` does not tell them apart, the episodes at the end do."""
    for seed in range(3):
        folder = write_run(tmp_path, f"seed{seed}", seed)
        record = json.loads(folder.config.read_text())
        record["settings"] |= {"chunk_size": seed, "num_final_episodes": 8 if seed < 2 else 9}
        folder.config.write_text(json.dumps(record))
    assert [row["seeds"] for row in listed(capsys, tmp_path)] == [[0, 1], [2]]
    assert [len(arm.seeds) for arm in gather([tmp_path])] == [2, 1]


def test_runs_of_other_names_stay_apart(tmp_path, capsys):
    """They may be of another commit."""
    write_run(tmp_path, "before")
    write_run(tmp_path, "after")
    assert len(lines_of(capsys, tmp_path)) == 2


def test_the_seeds_of_a_joint_run_are_one_row_and_share_its_time(tmp_path, capsys):
    for seed in (4, 7):
        write_run(tmp_path, f"mine/seed{seed}", seed, (float(seed),), total=5, joint="mine")
    path = tmp_path / "probe" / "corridor" / "ternary_nes" / "mine"
    whole = {"env": "probe/corridor", "settings": {"num_seeds": 2}}
    (path / "config.json").write_text(json.dumps(whole))
    (row,) = listed(capsys, tmp_path)
    assert (row["run"], row["seeds"], row["best"]) == (str(path), [4, 7], [4.0, 7.0])
    assert (row["seconds"], row["steps"], row["best_kept"]) == (0.5, [10, 10], [None, None])
    (line,) = lines_of(capsys, tmp_path)
    assert " 4,7 " in line and line.endswith("running 1/5")
    (path / "failure.txt").write_text("OutOfMemory: lower\nsomething\n")
    (line,) = lines_of(capsys, tmp_path)
    assert line.endswith("failed 1/5: OutOfMemory: lower something")


@pytest.mark.parametrize(
    ("returns", "final", "total", "age", "expected"),
    [
        ((1.0,), 1.0, 1, 0, "done"),
        ((1.0,), 1.0, 3, 1000, "unfinished 1/3"),  # it was done, and is to go on
        ((1.0,), None, 3, 0, "running 1/3"),
        ((1.0,), None, 3, 1000, "unfinished 1/3"),
        ((), None, 3, 0, "not begun"),
    ],
)
def test_the_state_is_what_the_files_say(returns, final, total, age, expected, tmp_path, capsys):
    folder = write_run(tmp_path, returns=returns, final=final, total=total)
    then = time.time() - age
    os.utime(folder.metrics, (then, then))
    (line,) = lines_of(capsys, tmp_path)
    assert line.endswith(f"  {expected}")
    (row,) = listed(capsys, tmp_path)
    assert row["best_kept"] == [1.0 if expected == "done" else None]


def test_seeds_in_different_states_are_counted(tmp_path, capsys):
    for seed, final in enumerate((1.0, None, 3.0)):
        write_run(tmp_path, f"seed{seed}", seed, final=final)
    (line,) = lines_of(capsys, tmp_path)
    assert line.endswith("2 done, 1 running")
    assert "2.0 ± 1.0 of 2" in line, "the mean of those that are known, and how many"


DAMAGE = {
    "config.json": [
        *("{", "[]", '{"env": 3, "settings": {}}', '{"settings": {"num_seeds": 1}}'),
        *('{"env": "a", "settings": 3}', "\xff"),
    ],
    "metrics.jsonl": [
        *('{"generation": 1\n{}\n', "3\n4\n", "{}\n{}\n", '{"generation": 1}\n', "\xff\n"),
    ],
    "result.json": ["", "{", "[]", '{"generation": 2}', "\xff"],
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in DAMAGE.items() for text in texts]
)
def test_a_damaged_run_is_a_row_and_hides_no_other(name, text, tmp_path, capsys):
    write_run(tmp_path, "seed1", 1, final=1.0)
    damaged = write_run(tmp_path).path
    (damaged / name).write_bytes(text.encode("latin-1"))
    lines = lines_of(capsys, tmp_path)
    assert len(lines) == 2
    (line,) = [line for line in lines if line.startswith(f"{damaged} ")]
    reason = line.split("unreadable: ")[1]
    assert str(damaged / name) in reason and reason.count(str(damaged)) == 1
    assert len(reason) > len(str(damaged / name)) + 10
    assert sum(line.endswith("done") for line in lines) == 1


def test_a_figure_leaves_out_what_is_damaged(tmp_path, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(plots, "compare", lambda curves, path: drawn.extend(curves))
    good = write_run(tmp_path, "good")
    write_run(tmp_path, "bad").metrics.write_text("3\n4\n")
    lines_of(capsys, tmp_path, "--plot", tmp_path / "compare.png")
    assert drawn == [str(good.path)]


def test_a_last_line_that_was_cut_off_is_no_damage(tmp_path, capsys):
    """A run that was killed leaves one."""
    folder = write_run(tmp_path, total=5)
    with folder.metrics.open("a") as file:
        file.write('{"generation": 3, "env_st')
    (line,) = lines_of(capsys, tmp_path)
    assert line.endswith("running 2/5")


@pytest.fixture
def several(tmp_path):
    write_run(tmp_path, env="probe/corridor", returns=(5.0,) * 3, total=3)
    write_run(tmp_path, env="gymnax/CartPole-v1", returns=(7.0,))
    write_run(tmp_path, env="brax/ant@spring", strategy="ppo", returns=(1.0,) * 2)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "bests"),
    [
        ((), [1, 7, 5]),  # by path: brax, gymnax, probe
        (("--sort", "return"), [7, 5, 1]),
        (("--sort", "steps"), [5, 1, 7]),
        (("--sort", "time"), [5, 1, 7]),
        (("--env", "CART"), [7]),
        (("--strategy", "nes", "--sort", "steps"), [5, 7]),
        (("--env", "a", "--strategy", "ppo"), [1]),
    ],
)
def test_runs_are_sorted_and_picked(several, arguments, bests, capsys):
    assert [row["best"] for row in listed(capsys, several, *arguments)] == [[x] for x in bests]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--env", "cartpool"), ["'cartpool'", "Did you mean 'gymnax/CartPole-v1'?", "brax/ant"]),
        (("--strategy", "ternary_ga"), ["'ternary_ga'", "Did you mean 'ternary_nes'?", "ppo"]),
    ],
)
def test_what_no_run_has_is_told_with_what_is_near(several, arguments, parts, capsys):
    with pytest.raises(SystemExit) as exit_:
        runs.main([str(several), *arguments])
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert all(part in message for part in parts)


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_table_fits_a_terminal(width, several, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    lines = lines_of(capsys, several)
    assert max(map(len, lines)) <= width
    assert ("not shown in a narrow terminal: date" in lines[-1]) == (width <= 100)
    assert any("po/seed0  " in line for line in lines), "the end of a path is kept"
