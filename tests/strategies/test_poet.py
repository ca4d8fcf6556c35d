"""POET: who is admitted, who moves, who ships, by hand-made tables; and a run with its archive."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs, run
from ternevo.algorithms.archives import EMPTY
from ternevo.arithmetic import observation
from ternevo.policies import policy_file
from ternevo.problems import Plan
from ternevo.runs import archives
from ternevo.runs.run_folder import RunFolder
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies import poet
from ternevo.strategies.poet import Brood, Counts, Crew, Guests, Inner, Niches, PoetState, Retired
from ternevo.types import Env, Search, TaskSpace

KEY = jax.random.key(0)
SPACE = TaskSpace(("a", "b"), (0.0, 0.0), (1.0, 10.0), (0.0, 0.0), (0.25, 2.5))
SETTINGS = STRATEGIES["poet"].of(
    **{"niches": 3, "retired": 2, "children": 4, "transfer_every": 2, "reproduce_every": 3},
    **{"reproduce_return": 200.0, "least_return": 25.0, "largest_return": 340.0, "nearest": 2},
)


def never(*_):
    raise AssertionError


KEEPS = Search(never, never, never, lambda state: state, never, 1, "keeps")
"""A search whose state is its solution: so that policies are numbers that can be told apart."""


def crew_of(settings=SETTINGS) -> Crew:
    env = envs.make("probe/sign")._replace(task_space=SPACE)
    policy = MLP(()).build(env.obs, env.action)
    inner = Inner(KEEPS, lambda solution: solution, lambda key, begin: begin)
    return Crew(settings, env, SPACE, policy, inner, Plan(1))


def state_of(scores, active=(True, True, True), generation=0, **changes) -> PoetState:
    """Return niches with policies 0, 1, 2 and last scores, and an archive with policy 10."""
    niches = Niches(
        jnp.arange(3.0),
        jnp.array([[0.0, 0.0], [0.5, 0.0], [0.0, 5.0]]),
        jnp.array(active),
        jnp.array([4, 3, 7]),
        jnp.full((3, 5), EMPTY).at[:, 0].set(jnp.array(scores, jnp.float32)),
        jnp.ones(3, bool),
        jnp.zeros(3, bool),
    )
    none = jnp.zeros(3, bool)
    retired = Retired(
        jnp.array([10.0, 11.0]),
        jnp.array([[1.0, 10.0], [0.0, 0.0]]),
        jnp.array([50.0, EMPTY]),
        jnp.array([True, False]),
    )
    zero = jnp.zeros((), jnp.int32)
    guests = Guests(jnp.zeros(3), jnp.zeros(3), none)
    counts = Counts(zero + 7, zero + 1, *[zero] * 3)
    made = PoetState(
        niches, guests, retired, zero, counts, observation.empty(1), jnp.int32(generation)
    )
    return made._replace(**changes)


POLICIES = jnp.array([0.0, 1.0, 2.0, 10.0, 11.0])


def table(niches, children=((0.0,) * 5,) * 4) -> poet.Table:
    full = np.full((3, 5), EMPTY)
    full[:, :3] = niches
    return poet.Table(jnp.asarray(full, jnp.float32), jnp.asarray(children, jnp.float32))


# ----------------------------------------------------------------------------- what is noted


def test_scores_are_the_diagonal_and_the_best_over_all_niches_ships():
    """Policy 0 is best in its own niche only; 2 is best on the average."""
    state = state_of([1, 2, 3])
    found = table([[300, 0, 100], [10, 150, 140], [0, 0, 190]])
    after = poet.noted(crew_of(), state, found, jnp.asarray(True))
    np.testing.assert_array_equal(after.niches.scores[:, :2], [[300, 1], [150, 2], [190, 3]])
    assert int(after.leader) == 2
    assert int(after.counts.annecs) == 1 and after.niches.is_solved.tolist() == [True, False, False]
    again = poet.noted(crew_of(), after, found, jnp.asarray(True))
    assert int(again.counts.annecs) == 1, "a niche is solved for the first time only once"
    idle = poet.noted(crew_of(), state, table(np.full((3, 3), EMPTY)), jnp.asarray(False))
    jax.tree.map(np.testing.assert_array_equal, idle, state)


def test_an_empty_place_neither_leads_nor_counts():
    state = state_of([1, 2, 3], active=(True, False, True))
    found = table([[50, 999, 10], [0, 999, 0], [60, 999, 90]])
    after = poet.noted(crew_of(), state, found, jnp.asarray(True))
    assert int(after.leader) == 0 and int(after.counts.annecs) == 0
    assert after.niches.scores[1, 0] == 2


# --------------------------------------------------------------------------------- children


def test_children_are_of_solved_niches_and_stay_in_the_space():
    settings = STRATEGIES["poet"].of(**{"niches": 3, "children": 500, "transfer_every": 2})
    state = state_of([250, 10, 199], generation=49)
    brood = poet.mutated(crew_of(settings), KEY, state, jnp.asarray(True))
    assert bool(brood.is_there) and set(brood.parent.tolist()) == {0}
    task = np.asarray(brood.task)
    assert task.min() >= 0 and (task <= [0.25, 2.5]).all(), "one step from the task 0, 0"
    share = (task > 0).mean(0)  # half of them change, half of these upwards
    assert np.abs(share - 0.25).max() < 0.07


@pytest.mark.parametrize(
    ("generation", "scores", "is_due", "wanted"),
    [
        (3, [250, 0, 0], True, True),  # reproduce_every 3 is rounded up to 4
        (1, [250, 0, 0], True, False),
        (3, [250, 0, 0], False, False),
        (3, [199, 0, 0], True, False),
    ],
)
def test_when_there_are_children(generation, scores, is_due, wanted):
    state = state_of(scores, generation=generation)
    brood = poet.mutated(crew_of(), KEY, state, jnp.asarray(is_due))
    assert bool(brood.is_there) == wanted


def test_novelty_is_the_mean_distance_to_the_nearest_in_shares_of_the_ranges():
    """Others are (0, 0), (.5, 0), (0, .5) and, in the archive, (1, 1); its empty place is not."""
    task = jnp.array([[0.0, 0.0], [1.0, 10.0], [1.0, 0.0]])
    found = poet.novelty(crew_of(), task, state_of([0, 0, 0]))
    np.testing.assert_allclose(found, [0.25, np.sqrt(1.25) / 2, 0.75], rtol=1e-6)


def brood_of(tasks) -> Brood:
    return Brood(jnp.array(tasks), jnp.zeros(4, jnp.int32), jnp.asarray(True))


TASKS = [[0.1, 0.0], [0.9, 0.0], [0.8, 0.0], [1.0, 8.0]]
FITS, TOO_HARD, TOO_EASY = ([100, 0, 120, 0, 0], [24, 0, 300, 0, 0], [100, 0, 341, 0, 0])


def test_the_most_novel_child_that_meets_the_criterion_takes_the_place_of_the_oldest():
    children = [FITS, FITS, FITS, TOO_HARD]
    state, brood = state_of([250, 260, 270]), brood_of(TASKS)
    found = table(np.zeros((3, 3)), children)
    after, is_new = poet.admitted(crew_of(), KEY, state, POLICIES, brood, found)
    assert is_new.tolist() == [False, True, False], "number 3 is the oldest"
    np.testing.assert_allclose(after.niches.task[1], [0.9, 0.0])
    assert after.niches.search.tolist() == [0, 2, 2], "it begins with the best policy in it"
    assert after.niches.number.tolist() == [4, 8, 7] and after.niches.scores[1, 0] == 120
    assert after.retired.members.tolist() == [10, 1] and after.retired.score.tolist() == [50, 260]
    np.testing.assert_allclose(after.retired.task[1], [0.5, 0.0])
    assert (int(after.counts.admitted), int(after.counts.retired)) == (8, 2)


def test_a_free_place_is_taken_before_anybody_retires():
    state = state_of([250, 260, 270], active=(True, True, False))
    found = table(np.zeros((3, 3)), [[100, 0, 999, 0, 0]] * 4)
    after, is_new = poet.admitted(crew_of(), KEY, state, POLICIES, brood_of(TASKS), found)
    assert is_new.tolist() == [False, False, True], (
        "and what its empty place scored is not looked at"
    )
    assert after.retired.is_there.tolist() == [True, False]
    assert after.niches.search[2] == 0


@pytest.mark.parametrize("children", [[TOO_HARD] * 4, [TOO_EASY] * 4, [[400, 0, 0, 0, 0]] * 4])
def test_what_is_too_hard_for_the_parent_or_too_easy_for_anybody_is_not_admitted(children):
    state = state_of([250, 260, 270])
    found = table(np.zeros((3, 3)), children)
    after, is_new = poet.admitted(crew_of(), KEY, state, POLICIES, brood_of(TASKS), found)
    assert not bool(is_new.any())
    jax.tree.map(np.testing.assert_array_equal, after, state)


def test_what_is_too_easy_for_the_archive_only_is_admitted_but_not_counted():
    children = [[100, 0, 120, 341, 999]] * 4
    found = table(np.zeros((3, 3)), children)
    state = state_of([250, 260, 270])
    after, is_new = poet.admitted(crew_of(), KEY, state, POLICIES, brood_of(TASKS), found)
    assert bool(is_new[1]) and not bool(after.niches.is_novel[1])


def test_a_child_that_is_a_niche_already_is_not_admitted():
    """One is that of an active niche, one of a retired; what an empty place was is nobody's."""
    tasks = [[0.0, 5.0], [1.0, 10.0], [0.5, 0.0], [0.0, 5.0]]
    found = table(np.zeros((3, 3)), [FITS] * 4)
    state = state_of([250, 260, 270])
    after, is_new = poet.admitted(crew_of(), KEY, state, POLICIES, brood_of(tasks), found)
    assert not bool(is_new.any())
    jax.tree.map(np.testing.assert_array_equal, after, state)
    state = state_of([250, 260, 270], active=(True, False, True))
    after, is_new = poet.admitted(crew_of(), KEY, state, POLICIES, brood_of(tasks), found)
    assert is_new.tolist() == [False, True, False]
    np.testing.assert_array_equal(after.niches.task[1], [0.5, 0.0])
    state = state_of([250, 260, 270])
    tasks[3] = [0.0, 0.0]  # of the first niche, but also where the archive is empty
    known = poet.is_known(jnp.array([*tasks, [0.0, 5.1]]), state)
    assert known.tolist() == [True, True, True, True, False]
    gone = state._replace(niches=state.niches._replace(is_active=jnp.array([False, True, True])))
    assert not bool(poet.is_known(jnp.zeros((1, 2)), gone)[0])


@pytest.mark.parametrize(("leader", "wanted"), [(1, 2), (0, 0), (2, 2)])
def test_the_best_of_those_that_stay_ships_when_the_leader_retires(leader, wanted):
    """Number 3, in the second place, is the oldest; the founder of the child is the first one."""
    found = table([[150, 300, 120], [10, 300, 140], [0, 300, 190]], [[120, 0, 100, 0, 0]] * 4)
    state = state_of([250, 260, 270], leader=jnp.int32(leader))
    after, is_new = poet.admitted(crew_of(), KEY, state, POLICIES, brood_of(TASKS), found)
    assert is_new.tolist() == [False, True, False] and after.niches.search[1] == 0
    assert int(after.leader) == wanted


# -------------------------------------------------------------------------------- transfers


def test_a_guest_is_the_best_of_other_niches_if_it_beats_all_kept_scores():
    state = state_of([100, 100, 100])
    scores = state.niches.scores.at[2, 3].set(180)
    state = state._replace(niches=state.niches._replace(scores=scores))
    found = table([[300, 120, 110], [90, 50, 95], [170, 150, 100]])
    may = jnp.ones(3, bool)
    guests = poet.invited(crew_of(), KEY, state, POLICIES, found, may)
    assert guests.is_there.tolist() == [True, False, False], "of niche 2 an older score is better"
    assert guests.direct.tolist() == [1, 2, 0]
    guests = poet.invited(crew_of(), KEY, state, POLICIES, found, jnp.zeros(3, bool))
    assert not bool(guests.is_there.any())
    new = jnp.array([True, False, True])  # the table has scores of who was there before the child
    guests = poet.invited(crew_of(), KEY, state, POLICIES, found, new)
    assert guests.is_there.tolist() == [True, False, False] and int(guests.direct[0]) == 2


def test_a_guest_moves_in_as_it_came_or_tuned_if_it_is_better_once_more():
    guests = Guests(jnp.array([5.0, 6.0, 7.0]), jnp.array([50.0, 60.0, 70.0]), jnp.ones(3, bool))
    state = state_of([100, 100, 100], guests=guests)
    scores = jnp.array([[110, 130, 120, 0, 0], [110, 90, 140, 0, 0], [110, 105, 99, 0, 0]])
    after = poet.moved(state, jnp.concatenate([scores, jnp.zeros((4, 5))]))
    assert after.niches.search.tolist() == [5, 60, 2]
    assert (int(after.counts.direct), int(after.counts.tuned)) == (1, 1)
    np.testing.assert_array_equal(after.niches.scores[:, 0], [130, 140, 100])
    assert (after.niches.scores[0, 1:] == EMPTY).all(), "scores of the policy before are forgotten"
    nobody = state._replace(guests=guests._replace(is_there=jnp.zeros(3, bool)))
    after = poet.moved(nobody, jnp.concatenate([scores, jnp.zeros((4, 5))]))
    jax.tree.map(np.testing.assert_array_equal, after, nobody)


# ------------------------------------------------------------------------------ what is refused


def build(env: Env, **options):
    policy = MLP(()).build(env.obs, env.action)
    return STRATEGIES["poet"].of(**options).build(env, policy, "ternary", 9)


def test_a_world_without_a_space_of_tasks_is_refused_with_one_that_has_it():
    with pytest.raises(ValueError, match=r"poet needs .* probe/sign has none: use control/hop_run"):
        build(envs.make("probe/sign"))


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="init_horizon must be 1 with poet"):
        build(envs.make("control/hop_runner"), init_horizon=0.5)
    with pytest.raises(ValueError, match=r"least_return must be below largest_return = 340\.0"):
        STRATEGIES["poet"].of(least_return=340.0)
    with pytest.raises(ValueError, match="even population_size"):
        STRATEGIES["poet"].of(population_size=7)


# ------------------------------------------------------------------------------------- a run


@pytest.mark.wide  # its parts are above
def test_a_run_makes_environments_and_keeps_each_with_its_policy(tmp_path):
    """Whoever does not fall has children, so that niches appear within a few generations."""
    run.main(
        [
            *("--env", "control/hop_runner", "--episode_length", "40", "--hidden_sizes", "(3,)"),
            *("--strategy", "poet", "--population_size", "4", "--num_episodes", "1"),
            *("--niches", "2", "--retired", "2", "--children", "2", "--score_episodes", "2"),
            *("--transfer_every", "2", "--reproduce_every", "2", "--reproduce_return", "-100"),
            *("--least_return", "-200", "--num_generations", "9", "--eval_every", "9"),
            *("--num_eval_episodes", "1", "--num_final_episodes", "1", "--num_devices", "1"),
            *("--name", "x", "--runs_dir", str(tmp_path), "--render", "False"),
        ]
    )
    folder = RunFolder(tmp_path / "control" / "hop_runner" / "poet" / "x")
    rows = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [row["poet/admitted"] for row in rows] == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert [row["poet/niches"] for row in rows] == [1, 1, 1, 2, 2, 2, 2, 2, 2]
    listed = archives.read(folder)
    assert listed is not None and listed.names[0] == "gap (m)"
    assert listed.cells.tolist() == [0, 1, 2, 3], "two niches and two that have retired"
    for cell, task in zip(listed.cells, listed.descriptors, strict=True):
        saved = policy_file.load(archives.path_of_cell(folder, int(cell)))
        env = envs.make(saved.env_id)
        np.testing.assert_allclose(env.draw_task(KEY), task, atol=1e-3)
