"""experiments/results_page.py: the tables of docs/results.md, of lines that are made up."""

import re
import shutil

import pytest
from programs import EXPERIMENTS, programs

DOCS = EXPERIMENTS.parent / "docs"
PPO_PAGE = """
| task | arm | return | steps to threshold | bytes |
| --- | --- | --- | --- | --- |
| Pole, 10 steps, threshold 4 | evolution, ternary | 5 ± 1 (4 to 6) | 7 (5 of 5) | 9 |
|  | evolution, float | 4 ± 0 (4 to 4) | 8 (5 of 5) | 99 |
|  | PPO, ternary | 3 ± 0 (3 to 3) | none | 9 |
|  | PPO, float | 2 ± 0 (2 to 2) | none | 99 |
| | PPO, float, ternarised after training | 1 ± 0 (1 to 1) |  | 9 |
| Cart, 20 steps, threshold 4 | PPO, float | 6 ± 0 (6 to 6) | none | 99 |

| another | table |
| --- | --- |
| Pole | 7 ± 0 |
"""


@pytest.fixture(scope="module")
def page():
    """The program as a module."""
    with programs("results_page") as found:
        yield found["results_page"]


def cells(table):
    """The cells of all rows of a table without its head."""
    return [[x.strip() for x in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def test_returns_are_read_from_the_table_of_ppo(page):
    assert cells(page.beside_ppo(PPO_PAGE)) == [
        [
            "Pole, 10 steps",
            *("5 ± 1 (4 to 6)", "4 ± 0 (4 to 4)", "3 ± 0 (3 to 3)", "2 ± 0 (2 to 2)"),
        ],
        ["Cart, 20 steps", "-", "-", "-", "6 ± 0 (6 to 6)"],
    ]
    real = cells(page.beside_ppo((DOCS / "ppo.md").read_text()))
    assert len(real) == 6 and not any("-" in row for row in real)


def test_evolution_counts_by_its_last_evaluation_within_steps_or_seconds(page):
    """Two seeds share a clock: each took PPO one second, DQN two, evolution half a one a row."""
    curve, clock = [(30_000, 1.0), (60_000, 2.0), (90_000, 3.0)], [(30_000, 1), (60_000, 2)]
    found = {"ternary_nes": (0.0, 9.0), "ppo, float": (4.0, 2.0), "dqn, float": (5.0, 4.0)}
    found |= {"ppo, ternary": (6.0, 2.0), "dqn, ternary": (7.0, 2.0)}
    rows = [
        {"task": "CartPole", "arm": arm, "seed": seed, "num_seeds": 2, "return_last": final}
        | {"wall_time": seconds, "curve": curve, "clock": [*clock, (90_000, 4)]}
        for arm, (final, seconds) in found.items()
        for seed in (0, 1)
    ]
    (row,) = cells(page.gradients(rows))
    gradients = [f"{x} [{x}, {x}]" for x in ("5.00", "7.00", "4.00", "6.00")]
    assert row == ["CartPole, 50,000", *gradients, *("1.00, 1.00", "2.00, 2.00", "3.00, 3.00")]
    assert page.gradients(rows[:-2]) == "Not run yet.", "an arm is missing"


def lines(part, task, arm, height, steps=100, seeds=10):
    """Lines of an arm whose curve goes from 0 to `height` in so many steps."""
    return [
        {"part": part, "task": task, "arm": arm, "seed": seed, "size": "own", "bytes": 9}
        | {"return_last": height, "curve": [(0, 0.0), (steps, height)]}
        for seed in range(seeds)
    ]


def searches(steps):
    """Ternary weights, their twin and PGPE on one task; the tuner likes PGPE best."""
    tuned = [
        {"part": "tuning", "task": "CartPole-v1", "arm": arm, "score": score, "options": {}}
        for arm, score in (("SNES", 1.0), ("PGPE", 2.0))
    ]
    runs = (("ternary", 200.0, steps), ("SNES", 300.0, 100), ("PGPE", 100.0, 100))
    return tuned + [row for run in runs for row in lines("runs", "CartPole-v1", *run)]


def test_trits_stand_beside_their_twin_and_the_best_by_tuning(page):
    """They are at 90 % of PGPE's return after 45 steps, it after 90; at that of the twin never."""
    table, overall = page.floats(searches(100)).split("\n\n")
    (row,) = cells(table)
    beside_twin = ["300.0 [300.0, 300.0]", "loses", "infinite [infinite, infinite]"]
    beside_best = ["PGPE: 100.0 [100.0, 100.0]", "wins", "0.50 [0.50, 0.50]"]
    assert row[2:] == [*beside_twin, *beside_best, "9 / 9"]
    assert cells(overall)[1] == ["the best float", "0.50 [0.50, 0.50]", "2.00 [2.00, 2.00]", "1"]


@pytest.mark.parametrize(("steps", "ratio"), [(100, "0.50"), (500, "2.50")])
def test_goals_beside_the_best_float_algorithm(page, steps, ratio):
    median, largest, score, *_ = page.goals(searches(steps), []).splitlines()
    word = "**reached**" if steps == 100 else "**not reached**"
    assert f"below 1.5: {word} ({ratio} [{ratio}, {ratio}]; 1 of 12 tasks)" in median
    above = "none" if steps == 100 else "CartPole-v1 2.50"
    assert f"above 2: {word} (above it: {above}; 1 of 12 tasks)" in largest
    assert "**reached** (2.00" in score


def test_goals_of_the_defaults_and_of_pendulum(page):
    """They win in fewer steps on CartPole, and lose Pendulum, where two of ten seeds are solved."""
    rows = lines("former", "CartPole-v1", "defaults", 200.0)
    rows += lines("former", "Pendulum-v1", "defaults", -300.0)
    for row in rows[-2:]:
        row["return_last"] = -200.0
    rows += lines("runs", "Pendulum-v1", "ternary", -199.0, seeds=8)
    study = lines("twins", "CartPole-v1", "ternary", 100.0)
    study += lines("twins", "Pendulum-v1", "ternary", -100.0)
    *_, steps, returns, pendulum = page.goals(rows, study).splitlines()
    assert "**not reached** (fewer on 1; 2 of 12 tasks)" in steps
    assert "**not reached** (lower on Pendulum-v1; 2 of 12 tasks)" in returns
    assert "**reached** (8 with tuned settings, 2 with the defaults" in pendulum
    assert page.goals([], []).count("cannot be said") == 6


def test_every_table_has_its_place_on_the_page(page, tmp_path):
    """Without a line all say so, but for that of ppo.md; what stands around them stays."""
    for name in ("results.md", "ppo.md"):
        shutil.copy(DOCS / name, tmp_path)
    page.main(["--results", str(tmp_path), "--docs", str(tmp_path)])
    text, was = (path.read_text() for path in (tmp_path / "results.md", DOCS / "results.md"))
    counts = {"Not run yet.": 3, "not run yet: -": 16, "cannot be said": 6}
    assert {words: text.count(words) for words in counts} == counts
    between = re.compile(r"(?<=<!-- )(\w+) -->.*?<!-- end of \1", re.DOTALL)
    assert between.sub("", text) == between.sub("", was) != text
