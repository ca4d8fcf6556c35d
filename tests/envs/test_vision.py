"""The two boxes: what is lit, what pays, and the same geometry at every resolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs
from ternevo.envs import contract, vision

KEYS = jax.random.split(jax.random.key(0), 50)


@pytest.mark.parametrize("resolution", [11, 16, 33])
def test_a_picture_has_one_large_box_and_a_small_one_apart(resolution):
    env = contract.check(envs.make(f"vision/boxes@{resolution}"))
    large, small = vision.sides(resolution)
    states = jax.vmap(lambda key: env.reset(key, ())[0])(KEYS)
    for centre, obs in zip(np.asarray(states.centre), np.asarray(states.obs), strict=True):
        lit = obs.reshape(resolution, resolution) == vision.LIT
        assert lit.sum() == large**2 + small**2 and set(np.unique(obs)) == {0, vision.LIT}
        y, x = divmod(int(centre), resolution)
        half = large // 2
        assert lit[y - half : y + half + 1, x - half : x + half + 1].all()
        lit[y - half : y + half + 1, x - half : x + half + 1] = False
        rows, columns = np.nonzero(lit)
        assert np.ptp(rows) == np.ptp(columns) == small - 1


def test_the_right_pixel_pays_all_and_another_its_distance():
    env = envs.make("vision/boxes", 10)
    state, _ = env.reset(KEYS[0], ())
    step = jax.jit(env.step)
    assert float(step(KEYS[1], state, state.centre)[1].reward) == pytest.approx(0.1)
    for pixel in (0, 60, 120):
        apart = np.hypot(*(np.subtract(divmod(pixel, 11), divmod(int(state.centre), 11)) * 2 / 11))
        found = float(step(KEYS[1], state, jnp.int32(pixel))[1].reward)
        assert found == pytest.approx(0.1 * (1 - apart / (2 / np.sqrt(3))), abs=1e-5)


def test_an_episode_is_as_many_pictures_as_it_is_long_and_draws_them(tmp_path):
    env = envs.make("vision/boxes", 3)
    state, _ = env.reset(KEYS[0], ())
    states = [state]
    for key in KEYS[:3]:
        state, timestep = env.step(key, state, jnp.int32(0))
        states.append(state)
    assert bool(timestep.truncated) and len({int(state.centre) for state in states}) > 1
    assert envs.render("vision/boxes", states, tmp_path / "episode").stat().st_size > 100


@pytest.mark.parametrize("name", ["boxes@", "boxes@9", "boxes@62", "boxes@x"])
def test_a_resolution_that_cannot_be_says_what_can(name):
    with pytest.raises(ValueError, match="must be 11 to 61"):
        envs.make(f"vision/{name}")
