"""Archives of behaviours: what enters them, and how their cells lie."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from ternevo.algorithms import archives
from ternevo.types import Descriptor, Tensor

PLANE = Descriptor(("x", "y"), (0.0, -1.0), (1.0, 3.0), lambda state: state)
LINE = Descriptor(("x",), (0.0,), (4.0,), lambda state: state)


def members(numbers) -> list[Tensor]:
    return [Tensor(jnp.asarray(numbers, jnp.int8)[:, None], jnp.zeros(len(numbers), jnp.int8))]


def test_cells_of_a_grid_hold_their_own_centres_and_corners_are_in_the_outer_ones():
    cells = archives.grid(PLANE, (5, 3))
    assert cells.count == 15
    assert jax.vmap(cells.of)(cells.centres).tolist() == list(range(15))
    corners = jnp.asarray([[0.0, -1.0], [-9.0, 99.0], [1.0, 3.0], [0.999, -1.0]])
    assert jax.vmap(cells.of)(corners).tolist() == [0, 2, 14, 12]


def test_centroids_hold_themselves_spread_evenly_and_are_the_same_every_time():
    cells = archives.voronoi(PLANE, 40)
    assert jax.vmap(cells.of)(cells.centres).tolist() == list(range(40))
    np.testing.assert_array_equal(cells.centres, archives.voronoi(PLANE, 40).centres)
    points = np.random.default_rng(1).random((4000, 2)) * [1, 4] + [0, -1]
    counts = np.bincount(jax.vmap(cells.of)(jnp.asarray(points, jnp.float32)), minlength=40)
    assert counts.min() > 25 and counts.max() < 250  # 100 on average


@pytest.mark.parametrize("shape", [(4,), (4, 0), (2, 2, 2), ()])
def test_a_grid_that_does_not_fit_is_refused_by_name(shape):
    with pytest.raises(ValueError, match=r"grid must be 2 numbers.*x, y.*--grid"):
        archives.grid(PLANE, shape)


class Slow:
    """The same archive as a dictionary, one member after another."""

    def __init__(self):
        self.best: dict[int, tuple[float, int]] = {}

    def enter(self, fitness, places, numbers):
        for value, place, number in zip(fitness, places, numbers, strict=True):
            cell = min(max(int(place), 0), 3)
            if np.isfinite(value) and (cell not in self.best or value > self.best[cell][0]):
                self.best[cell] = (value, number)


BATCH = 6
member = st.tuples(st.sampled_from([-2.0, 0.0, 1.0, 1.0, 5.0, np.nan]), st.floats(-1, 5, width=32))


@given(st.lists(st.lists(member, min_size=BATCH, max_size=BATCH), min_size=1, max_size=3))
@settings(max_examples=30, deadline=None)
def test_batches_enter_as_one_member_after_another_would(batches):
    """Two routes. Of equals the first stays, in a batch and from batch to batch."""
    cells = archives.grid(LINE, (4,))
    archive = archives.empty(cells, jax.tree.map(lambda x: x[0], members([0])))
    slow, next_number = Slow(), 1
    for batch in batches:
        fitness, places = np.array(batch, np.float32).T
        numbers = np.arange(next_number, next_number + BATCH)
        next_number += BATCH
        before = dict(slow.best)
        slow.enter(fitness, places, numbers)
        found = archives.entered(
            archive,
            cells,
            members(numbers),
            jnp.asarray(fitness),
            jnp.asarray(places)[:, None],
            jnp.isfinite(jnp.asarray(fitness)),
        )
        archive = found.archive
        assert int(found.num_new) == len(slow.best) - len(before)
        changed = [cell for cell in before if slow.best[cell] != before[cell]]
        assert int(found.num_better) == len(changed)
    occupied = np.flatnonzero(archive.is_occupied).tolist()
    assert occupied == sorted(slow.best)
    for cell in occupied:
        value, number = slow.best[cell]
        assert float(archive.fitness[cell]) == value
        assert int(archive.members[0].values[cell, 0]) == number
    best = max((value for value, _ in slow.best.values()), default=None)
    if best is not None:
        assert float(jnp.max(archive.fitness)) == best
        assert float(archives.coverage(archive)) == len(occupied) / 4
        score = sum(max(value + 2, 0) for value, _ in slow.best.values())
        assert float(archives.qd_score(archive, -2.0)) == score


def test_only_members_of_occupied_cells_are_drawn_each_about_equally_often():
    cells = archives.grid(LINE, (8,))
    archive = archives.empty(cells, jax.tree.map(lambda x: x[0], members([99])))
    places = jnp.asarray([0.2, 1.7, 3.9])[:, None]
    archive = archives.entered(
        archive, cells, members([1, 2, 3]), jnp.zeros(3), places, jnp.ones(3, bool)
    ).archive
    drawn = archives.drawn(jax.random.key(0), archive, 3000)[0].values[:, 0]
    counts = np.bincount(drawn, minlength=4)
    assert counts[0] == 0 and counts[1:].min() > 900 and len(counts) == 4
