"""What a checkpoint that fails leaves behind in the process."""

import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from ternevo.training.checkpoint import CheckpointError, Checkpoints
from ternevo.types import TrainState


def state(generation: int) -> TrainState:
    return TrainState(jax.random.key(0), jnp.asarray(generation, jnp.int32), jnp.zeros(3))


def fail_to_save(checkpoints: Checkpoints, generation: int) -> None:
    with pytest.raises(CheckpointError, match="cannot be saved: no room"):
        checkpoints.save(state(generation))


def test_errors_leave_one_filter_and_the_hook_that_was_set_hears_all_else(tmp_path, monkeypatch):
    heard = []
    monkeypatch.setattr(sys, "unraisablehook", heard.append)
    hook = sys.unraisablehook
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state(1))
        assert sys.unraisablehook is hook  # nothing went wrong, so nothing stays
        with monkeypatch.context() as broken:
            broken.setattr(checkpoints._manager, "save", lambda *_, **__: 1 / 0)
            broken.setattr("ternevo.training.checkpoint._reason", lambda error: "no room")
            fail_to_save(checkpoints, 2)
            first = sys.unraisablehook
            fail_to_save(checkpoints, 3)
        checkpoints.save(state(4))
    assert first is not hook
    assert sys.unraisablehook is first
    abandoned = SimpleNamespace(exc_value=RuntimeError("Event loop is closed"))
    other = SimpleNamespace(exc_value=RuntimeError("a finaliser failed"))
    for unraisable in (abandoned, other):
        sys.unraisablehook(unraisable)
    assert heard == [other]
