"""MAP-Elites from a run to a policy of a cell, and what it refuses."""

import json

import jax
import numpy as np
import pytest

from ternevo import envs, export, report, run
from ternevo.envs import wrappers
from ternevo.policies import policy_file
from ternevo.rollouts import episode
from ternevo.runs import archives
from ternevo.runs.run_folder import RunFolder
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.wrappers import Wrappers

LENGTH = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> RunFolder:
    root = tmp_path_factory.mktemp("runs")
    run.main(
        [
            *("--env", "control/maze", "--episode_length", str(LENGTH), "--hidden_sizes", "(4,)"),
            *("--strategy", "map_elites", "--population_size", "16", "--grid", "(6,6)"),
            *("--num_generations", "3", "--eval_every", "3", "--num_eval_episodes", "1"),
            *("--num_final_episodes", "1", "--num_devices", "1", "--name", "x"),
            *("--runs_dir", str(root), "--render", "False"),
        ]
    )
    return RunFolder(root / "control" / "maze" / "map_elites" / "x")


def test_a_run_leaves_a_list_a_picture_and_a_policy_for_each_cell(folder):
    listed = archives.read(folder)
    assert listed is not None and len(listed.cells) > 3
    files = sorted(path.name for path in folder.archive.glob("*.tvp"))
    assert files == sorted(f"cell_{cell}.tvp" for cell in listed.cells)
    assert (folder.archive / "archive.png").read_bytes().startswith(b"\x89PNG")
    rows = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert rows[-1]["search/coverage"] == pytest.approx(len(listed.cells) / 36)
    assert rows[-1]["search/best"] == pytest.approx(listed.returns.max())


def test_the_policy_of_a_cell_does_what_the_archive_says(folder):
    """The maze is without chance, but moments of observations move on after a member entered.

    So most cells agree, not all.
    """
    listed = archives.read(folder)
    assert listed is not None
    grid = np.floor(listed.descriptors * 6).astype(int)
    np.testing.assert_array_equal(grid[:, 0] * 6 + grid[:, 1], listed.cells)
    env = envs.make("control/maze", LENGTH)
    saved = [policy_file.load(archives.path_of_cell(folder, int(c))) for c in listed.cells]
    assert [one.info["cell"] for one in saved] == listed.cells.tolist()
    play = episode.recorder(saved[0].policy, env)
    found = [play(one.weights, one.quantiser, jax.random.key(0)) for one in saved]
    totals = np.array([one.total for one in found])
    assert np.mean(np.abs(totals - listed.returns) < 0.05) > 0.6
    places = np.array([one.states[-1].place for one in found])
    assert np.mean(np.abs(places - listed.descriptors).max(1) < 0.05) > 0.6


def test_the_policy_of_a_cell_is_exported_by_its_name(folder):
    listed = archives.read(folder)
    assert listed is not None
    path = archives.path_of_cell(folder, int(listed.cells[0]))
    export.main([str(path), "--to", "numpy"])
    assert path.with_suffix(".py").exists()


@pytest.mark.wide  # what it reads is above
def test_a_report_shows_the_archive(folder, tmp_path):
    out = tmp_path / "report.html"
    report.write([folder.path], out)
    assert "archives of behaviours" in out.read_text()


def test_a_world_without_behaviour_is_refused_with_one_that_has_it():
    env = envs.make("probe/sign")
    policy = MLP(()).build(env.obs, env.action)
    with pytest.raises(ValueError, match=r"map_elites needs .* probe/sign does not: use control/m"):
        STRATEGIES["map_elites"]().build(env, policy, "ternary", 3)


def test_wrappers_keep_the_behaviour_of_the_world_inside():
    plain = envs.make("control/maze")
    wrapped = wrappers.wrap(plain, Wrappers(frame_stack=2, action_repeat=2))
    state, _ = wrapped.reset(jax.random.key(0), ())
    inner, _ = plain.reset(jax.random.key(0), ())
    assert wrapped.descriptor is not None and plain.descriptor is not None
    np.testing.assert_array_equal(wrapped.descriptor.of(state), plain.descriptor.of(inner))
