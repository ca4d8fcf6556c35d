"""The search for a gait that works: what it tries, when it stops, and what the table says."""

import numpy as np
import pytest
from programs import programs

from ternevo.types import Archive


@pytest.fixture(scope="module")
def adaptation():
    """The program as a module."""
    with programs("adaptation") as found:
        yield found["adaptation"]


def gaits(promised, places, is_occupied=True):
    """Return an archive of gaits in a line, with what they promise, in m."""
    count = len(promised)
    descriptors = np.stack([places, np.zeros(count)], 1).astype(np.float32)
    occupied = np.broadcast_to(is_occupied, count)
    fitness = np.asarray(promised, np.float32)
    return Archive((), fitness, descriptors, occupied, descriptors)  # pyright: ignore


def test_a_whole_robot_needs_one_trial(adaptation):
    archive = gaits([3.0, 9.0, 5.0], [0.1, 0.5, 0.9])
    found = adaptation.searched(archive, lambda gait: float(archive.fitness[gait]))
    assert (found.tried, found.chosen) == ([1], 1)


def test_what_fails_lowers_the_hopes_of_what_is_alike(adaptation):
    """The best promises are all alike and fail: one trial is enough to look elsewhere."""
    archive = gaits([9.0, 8.9, 8.8, 8.0], [0.10, 0.11, 0.12, 0.95])
    ways = [0.0, 0.0, 0.0, 7.9]
    found = adaptation.searched(archive, lambda gait: ways[gait])
    assert (found.tried, found.chosen) == ([0, 3], 3)
    np.testing.assert_allclose(found.speeds, [0.0, 0.79])


def test_empty_cells_are_not_tried_and_trials_end(adaptation):
    count = 50
    archive = gaits(np.full(count, 5.0), np.linspace(0, 1, count), np.arange(count) % 2 == 1)
    found = adaptation.searched(archive, lambda gait: -5.0)
    assert len(found.tried) <= adaptation.TRIALS and all(gait % 2 for gait in found.tried)
    assert len(set(found.tried)) == len(found.tried)


def test_alike_is_a_matern_kernel(adaptation):
    """Against equation 2 of Cully et al. in a loop, and positive definite."""
    places = np.random.default_rng(0).random((6, 4))
    found = adaptation.similar(places, places)
    for i, j in np.ndindex(6, 6):
        far = np.sqrt(5) * np.linalg.norm(places[i] - places[j]) / 0.4
        assert found[i, j] == pytest.approx((1 + far + far**2 / 3) * np.exp(-far))
    assert np.linalg.eigvalsh(found).min() > 0


def test_the_table_has_all_episodes_of_all_seeds(adaptation):
    damages = {
        damage: {"best": [1.0, 3.0], "chosen": [5.0, 5.0], "trials": 4}
        for damage in adaptation.DAMAGES
    }
    rows = [{"damages": damages, "gaits": gaits, "cells": 9} for gaits in (3, 4)]
    text = adaptation.table_of(rows)
    assert "| none | 2.00 ± 1.00 m | 5.00 ± 0.00 m | 4, 4 | 3 of 9, 4 of 9 |" in text
    assert adaptation.table_of([]) == "Not run yet."
