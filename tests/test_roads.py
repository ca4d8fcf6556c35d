"""The roads to a small policy: what is run, what the table of winners says, the figure."""

import dataclasses

import pytest
from PIL import Image
from programs import EXPERIMENTS, programs

from ternevo.settings.command_line import parse

NAMES = ("roads", "roads_arms", "roads_figure", "roads_winners")


@pytest.fixture(scope="module")
def modules():
    """The program and its parts as modules."""
    with programs(*NAMES) as found:
        yield found


def rows(task, arm, *returns, **more):
    return [{"task": task, "arm": arm, "return_last": value, **more} for value in returns]


def test_every_arm_has_a_colour(modules):
    arms = modules["roads_arms"]
    roads = {plan.road for plan in arms.arms().values()}
    assert roads == set(modules["roads_figure"].STYLES)
    assert (arms.road_of("int8, 0.9"), arms.road_of("ternary, 16 units")) == (
        "int8",
        "ternary, dense",
    )


def test_every_arm_that_has_rows_is_still_there(modules):
    roads = modules["roads"]
    assert {row["arm"] for row in roads.read(roads.RESULTS)} <= set(roads.arms())


@pytest.mark.parametrize(("task", "fitting"), [("CartPole", 15), ("Pendulum", 6)])
def test_the_commands_of_all_roads_are_understood(modules, monkeypatch, task, fitting):
    """A task of each learner; a generation of evolution takes 3,200 steps, as if counted."""
    roads, arms = modules["roads"], modules["roads_arms"]
    counted = [[{"env_steps": 3200 * count} for count in range(1, 401)]] * 5
    monkeypatch.setattr(roads.Arm, "run", lambda arm: None)
    monkeypatch.setattr(roads.Arm, "rows", lambda arm: counted)
    monkeypatch.chdir(EXPERIMENTS.parent)
    page = {"CartPole": 100, "Pendulum": 200}
    lengths = {arms.SAME_STEPS: fitting, arms.MORE_STEPS: page[task]}
    seen = set()
    for name, plan in arms.arms().items():
        if not plan.is_on(task) or not name.endswith((", 0.9", "16 units")):
            continue
        budget = roads.budget(roads.RoadsConfig(), task, name, 0)
        arm = roads.arm_of(roads.RoadsConfig(), task, plan.source or name, 0, *budget)
        found = parse(arm.command()[3:])
        asked = lengths.get(plan.road, arms.TASKS[task].num_generations)
        assert (found.strategy_name, found.num_generations) == (plan.strategy_on(task), asked)
        seen.add(plan.road)
    assert seen == set(modules["roads_figure"].STYLES)


def test_generations_fit_by_the_mean_steps_of_the_seeds(modules):
    metrics = [[{"env_steps": step * n} for n in (1, 2, 3, 4)] for step in (100, 200)]
    that_fit = modules["roads"].that_fit  # 150, 300, 450, 600 in the mean
    assert [that_fit(metrics, steps) for steps in (150, 449, 450, 599)] == [1, 2, 3, 3]
    for steps, said in ((149, "0 of 4"), (600, "4 of 4")):
        with pytest.raises(ValueError, match=f"{said} generations fit into {steps} steps"):
            that_fit(metrics, steps)


def test_the_best_of_about_equal_bytes_wins_and_who_is_level_is_told(modules):
    task = "CartPole"
    arms = [
        rows(task, "ternary, 16 units", 500, 500, 500, 500, 500, file=103),
        rows(task, "ternary, 32 units", 500, 500, 500, 500, 500, file=128),
        rows(task, "ternary twn, 16 units", 490, 500, 495, 500, 500, file=103),
        rows(task, "evolved, 16 units", 100, 120, 110, 100, 120, file=104),
        rows(task, "evolved, more steps, 16 units", 502, 502, 502, 502, 502, file=103),
        rows(task, "int4, 0.95", 450, 450, 450, 450, 450, file=129),
        rows(task, "evolved, more steps, 64-64 units", 490, 490, 490, 490, 490, file=900),
    ]
    text = modules["roads_winners"].winners({task: arms})
    cells = [[x.strip() for x in row.split("|")[1:-1]] for row in text.splitlines()[2:]]
    assert cells == [
        [
            *(task, "1 to 128", "4", "ternary, 16 units", "500.0 [500.0, 500.0]"),
            *("ternary, 32 units; ternary twn, 16 units", "16 units: 502.0 [502.0, 502.0]"),
        ],
        [task, "129 to 256", "1", "int4, 0.95", "450.0 [450.0, 450.0]", "-", "-"],
        [task, "513 to 1,024", "0", "-", "-", "-", "64-64 units: 490.0 [490.0, 490.0]"],
    ]


def test_only_arms_whose_files_were_measured_are_drawn(modules, tmp_path):
    every = [
        *rows("CartPole", "float, 0", 500.0, 500.0),
        *rows("CartPole", "int8, 0.9", 480.0, 480.0, file=817),
        *rows("CartPole", "ternary, 16 units", 499.0, 499.0, file=103),
        *rows("CartPole", "evolved, more steps, 16 units", 500.0, 500.0, file=103),
        *rows("Acrobot", "float, 0", -80.0, -80.0, file=19314),
    ]
    found = {task: modules["roads"].sized(every, task) for task in ("CartPole", "Acrobot")}
    shown = {task: [own[0]["arm"] for own in arms] for task, arms in found.items()}
    assert shown == {
        "CartPole": ["int8, 0.9", "ternary, 16 units", "evolved, more steps, 16 units"],
        "Acrobot": ["float, 0"],
    }
    modules["roads_figure"].draw(found, tmp_path / "roads.png")
    with Image.open(tmp_path / "roads.png") as picture:
        assert picture.width > 2 * picture.height  # two panels


@pytest.mark.slow
def test_a_tiny_budget_runs_to_lines_and_is_not_run_again(modules, monkeypatch, tmp_path):
    """Evolution within a learner's steps, and a float policy that is rounded afterwards."""
    roads, arms = modules["roads"], modules["roads_arms"]
    monkeypatch.setattr(roads, "RESULTS", tmp_path / "rows.jsonl")
    monkeypatch.setitem(arms.TASKS, "CartPole", arms.Task("gymnax_cartpole", "dqn", 4))
    names = ("evolved, 16 units", "float to int8, 0")
    config = roads.RoadsConfig(("CartPole",), names, num_seeds=2, jobs=1, runs_dir=tmp_path)
    roads.run_missing(config)
    found = roads.read(roads.RESULTS)
    evolved, rounded = found[:2], found[2:]
    assert [(row["arm"], row["seed"]) for row in found] == [(n, s) for n in names for s in (0, 1)]
    mean = sum(row["env_steps"] for row in evolved) / 2
    assert 2000 < mean <= 4000
    assert all(row["num_weights"] == 114 and row["file"] < 130 for row in evolved)
    assert [row["env_steps"] for row in rounded] == [4000, 4000]
    assert all(row["plain"] == 4613 and row["file"] < 5000 for row in rounded)  # a byte each
    monkeypatch.setattr(roads, "run", None)  # nothing is left to run
    roads.run_missing(dataclasses.replace(config, jobs=2))
    assert roads.read(roads.RESULTS) == found
