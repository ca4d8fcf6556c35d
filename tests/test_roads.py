"""The figure of the roads to a small policy: which rows it shows, and as what."""

import pytest
from PIL import Image
from programs import programs


@pytest.fixture(scope="module")
def modules():
    """The program and its figure as modules."""
    with programs("roads", "roads_figure") as found:
        yield found


def rows(task, arm, returned, **more):
    return [{"task": task, "arm": arm, "return_last": returned, **more}] * 2


def test_every_arm_has_a_colour(modules):
    styles, road_of = modules["roads_figure"].STYLES, modules["roads_figure"].road_of
    assert {road_of(arm) for arm in modules["roads"].arms()} == set(styles)
    assert (road_of("int8, 0.9"), road_of("ternary, 16 units")) == ("int8", "ternary, dense")


def test_only_arms_whose_files_were_measured_are_drawn(modules, tmp_path):
    every = [
        *rows("CartPole", "float, 0", 500.0),
        *rows("CartPole", "int8, 0.9", 480.0, file=817),
        *rows("CartPole", "ternary, 16 units", 499.0, file=103),
        *rows("Acrobot", "float, 0", -80.0, file=19314),
    ]
    found = {task: modules["roads"].sized(every, task) for task in ("CartPole", "Acrobot")}
    shown = {task: [own[0]["arm"] for own in arms] for task, arms in found.items()}
    assert shown == {"CartPole": ["int8, 0.9", "ternary, 16 units"], "Acrobot": ["float, 0"]}
    modules["roads_figure"].draw(found, tmp_path / "roads.png")
    with Image.open(tmp_path / "roads.png") as picture:
        assert picture.width > 2 * picture.height  # two panels
