"""Every environment keeps the contract of `Env`, and the probes have the optima they claim."""

import dataclasses
import functools
import itertools
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from marks import wide
from PIL import Image

from ternevo import envs
from ternevo.envs import bodies, brax
from ternevo.names import UnknownName
from ternevo.settings.environments import ENVIRONMENTS
from ternevo.types import Env, EnvState, ObsSpec, Timestep

IDS = envs.available()
PROBES = [env_id for env_id in IDS if env_id.startswith("probe/")]
GYMNAX = [env_id for env_id in IDS if env_id.startswith("gymnax/")]


def slow_but(default: set[str], ids: list[str]) -> list:
    """Return the rows of a table, all but some of them slow."""
    return [
        pytest.param(row, marks=() if row in default else pytest.mark.slow, id=row) for row in ids
    ]


# Tracing a body of brax takes seconds, and compiling it more. What ternevo adds is the same for all
# of them, so the tests that are not slow have small ones and one that needs another backend, and by
# default the smallest. The ant is in test_bodies.py.
BRAX = [env_id for env_id in IDS if env_id.startswith("brax/")]
BRAX_TRACED = slow_but(
    {"brax/fast", "brax/inverted_pendulum", "brax/swimmer"},
    [*BRAX, "brax/ant@positional", "brax/walker2d@generalized", "brax/hopper@mjx"],
)
BRAX_STEPPED = slow_but(
    {"brax/fast@spring"},
    [
        *(f"brax/{name}@spring" for name in ("fast", "inverted_pendulum", "hopper", "ant")),
        *("brax/swimmer@generalized", "brax/hopper@mjx", "brax/ant@positional"),
    ],
)
SUITES_OF_GYMNAX = (
    "CartPole-v1",
    "Pendulum-v1",
    "Breakout-MinAtar",
    "Catch-bsuite",
    "Reacher-misc",
)
TRACED = wide(
    [*PROBES, *GYMNAX, *BRAX_TRACED],
    keep=[*PROBES, *(f"gymnax/{name}" for name in SUITES_OF_GYMNAX), "brax/fast"],
)
PLAYED = wide(
    slow_but({*PROBES, *(f"gymnax/{name}" for name in SUITES_OF_GYMNAX)}, PROBES + GYMNAX),
    keep=("probe/countdown", "probe/random_length", "gymnax/CartPole-v1"),
)
"""The limit is a wrapper's, the same for all. Every environment is traced for the test of types."""


class Rollout(NamedTuple):
    """The first observation, and what every step returned, also after the end: [steps, ...]."""

    obs: jax.Array
    steps: Timestep
    states: EnvState


def random_action(key, spec):
    if spec.kind == "discrete":
        return jax.random.randint(key, (), 0, spec.size)
    return jax.random.uniform(
        key, (spec.size,), minval=jnp.array(spec.low), maxval=jnp.array(spec.high)
    )


def run(env: Env, num_steps: int, act=None, seed: int = 0) -> Rollout:
    """Step inside jit(scan), with random actions or with act(obs)."""

    def body(carry, key):
        state, obs = carry
        key_act, key_step = jax.random.split(key)
        action = jnp.asarray(act(obs)) if act else random_action(key_act, env.action)
        state, timestep = env.step(key_step, state, action)
        return (state, timestep.obs), (timestep, state)

    @jax.jit
    def go(key):
        key_reset, key_steps = jax.random.split(key)
        state, obs = env.reset(key_reset, env.draw_task(key_reset))
        _, (steps, states) = jax.lax.scan(
            body, (state, obs), jax.random.split(key_steps, num_steps)
        )
        return Rollout(obs, steps, states)

    return go(jax.random.key(seed))


@functools.cache
def past_the_limit(env_id: str) -> tuple[Env, Rollout]:
    """Random actions to two steps past the environment's own time limit."""
    env = envs.make(env_id)
    return env, run(env, env.episode_length + 2)


def alive(steps: Timestep) -> jax.Array:
    """Tell for each step on the last axis whether it belongs to the episode."""
    done = steps.terminated | steps.truncated
    return jnp.cumsum(done, -1) - done == 0


def episode_return(steps: Timestep) -> jax.Array:
    return jnp.sum(jnp.where(alive(steps), steps.reward, 0.0), -1)


def assert_obeys_limit(steps: Timestep, limit: int) -> None:
    """A step is truncated exactly from the limit on, unless the task itself has ended."""
    is_late = np.arange(1, len(steps.reward) + 1) >= limit
    np.testing.assert_array_equal(steps.truncated, is_late & ~np.asarray(steps.terminated))


def assert_types(env: Env, obs, steps: Timestep, leading: tuple[int, ...] = ()) -> None:
    assert (obs.shape, obs.dtype) == ((env.obs.size,), jnp.float32)
    assert (steps.obs.shape, steps.obs.dtype) == ((*leading, env.obs.size), jnp.float32)
    assert (steps.reward.shape, steps.reward.dtype) == (leading, jnp.float32)
    assert (steps.terminated.shape, steps.terminated.dtype) == (leading, bool)
    assert (steps.truncated.shape, steps.truncated.dtype) == (leading, bool)


def abstract_step(env: Env):
    """Return the shapes of (state, obs) at reset and of (state, timestep) after a step."""
    key = jax.eval_shape(jax.random.key, 0)
    state, obs = jax.eval_shape(lambda key: env.reset(key, env.draw_task(key)), key)
    action = jax.eval_shape(lambda key: random_action(key, env.action), key)
    return state, obs, *jax.eval_shape(env.step, key, state, action)


@functools.cache
def brax_itself(name: str, backend: str):
    """Return brax's own environment, whose reset and step are traced once for all tests here."""
    with brax.quiet():
        bare = LOAD(name, backend)
    bare.reset, bare.step = jax.jit(bare.reset), jax.jit(bare.step)
    return bare


LOAD = brax._load


@pytest.fixture
def traced_once(monkeypatch):
    """Tracing is most of the time of a brax environment."""
    monkeypatch.setattr(brax, "_load", brax_itself)


# --- the contract -----------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", TRACED)
def test_a_step_keeps_the_types_of_the_state(env_id, traced_once):
    """Weak types too, so that a loop can carry the state."""
    env = envs.make(env_id)
    state, obs, next_state, timestep = abstract_step(env)
    assert_types(env, obs, timestep)
    describe = lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type)  # noqa: E731
    assert jax.tree.map(describe, state) == jax.tree.map(describe, next_state)


@pytest.mark.parametrize("env_id", PLAYED)
def test_an_episode_is_finite_and_obeys_the_default_limit(env_id):
    """Two steps past the limit: a state that reset itself would count from 0 again."""
    env, (obs, steps, _) = past_the_limit(env_id)
    assert_types(env, obs, steps, (env.episode_length + 2,))
    assert_obeys_limit(steps, env.episode_length)
    if env_id not in ("probe/nan", "probe/afterlife"):
        assert jnp.all(jnp.isfinite(steps.obs)) and jnp.all(jnp.isfinite(steps.reward))


@pytest.mark.parametrize(
    "env_id",
    wide(
        slow_but(
            {"probe/corridor", "probe/countdown", "gymnax/Reacher-misc"},
            [*PROBES, "gymnax/MetaMaze-misc", "gymnax/Reacher-misc"],
        ),
        keep=["probe/countdown"],
    ),
)
def test_a_given_limit_replaces_the_default(env_id):
    env = envs.make(env_id, episode_length=3)
    assert env.episode_length == 3
    assert_obeys_limit(run(env, 5).steps, 3)


@pytest.mark.parametrize("env_id", BRAX_STEPPED)
def test_brax_steps_are_finite_and_obey_the_limit(env_id, traced_once):
    env = envs.make(env_id, episode_length=3)
    obs, steps, _ = run(env, 5)
    assert_types(env, obs, steps, (5,))
    assert_obeys_limit(steps, 3)
    assert jnp.all(jnp.isfinite(steps.obs)) and jnp.all(jnp.isfinite(steps.reward))
    assert jnp.any(steps.obs[0] != steps.obs[4])


@pytest.mark.parametrize(
    "env_id",
    wide(["gymnax/CartPole-v1", "gymnax/Breakout-MinAtar", "probe/sign"], keep=["probe/sign"]),
)
def test_reset_draws_from_the_key(env_id):
    keys = jax.random.split(jax.random.key(0), 16)
    obs = jax.vmap(lambda key: envs.make(env_id).reset(key, ())[1])(keys)
    assert len(np.unique(obs, axis=0)) > 1


def test_default_limits_are_the_known_ones():
    limits = {name: envs.make(f"gymnax/{name}").episode_length for name in ("CartPole-v1",)}
    limits |= {name: envs.make(name).episode_length for name in ("brax/fast", "probe/countdown")}
    assert limits == {"CartPole-v1": 500, "brax/fast": 1000, "probe/countdown": 20}


# --- ends of episodes -------------------------------------------------------------------------


def test_a_cartpole_that_falls_terminates_and_stays_fallen():
    env = envs.make("gymnax/CartPole-v1")
    steps = run(env, 40, lambda obs: 0).steps
    end = int(jnp.argmax(steps.terminated))
    assert 5 <= end <= 15
    assert not jnp.any(steps.truncated)
    assert jnp.all(steps.terminated[end:])
    angle = jnp.abs(steps.obs[:, 2])
    assert jnp.all(jnp.diff(angle[end:]) > 0), "after its end the episode goes on, without a reset"


@pytest.mark.wide  # as every episode above
def test_a_mountain_car_that_stays_in_the_valley_is_truncated():
    steps = run(envs.make("gymnax/MountainCar-v0"), 200, lambda obs: 1).steps
    assert not jnp.any(steps.terminated)
    assert int(jnp.argmax(steps.truncated)) == 199
    assert float(episode_return(steps)) == -200


@pytest.mark.wide  # as the cart above
def test_a_pushed_inverted_pendulum_terminates_and_is_not_reset():
    steps = run(envs.make("brax/inverted_pendulum"), 60, lambda obs: jnp.ones(1)).steps
    end = int(jnp.argmax(steps.terminated))
    assert 2 <= end <= 30 and not jnp.any(steps.truncated)
    np.testing.assert_array_equal(steps.terminated, jnp.abs(steps.obs[:, 1]) > 0.2)
    assert float(jnp.abs(steps.obs[end + 1, 1])) > 0.2
    assert float(episode_return(steps)) == end + 1


def test_terminating_at_the_limit_is_not_a_truncation():
    steps = run(envs.make("probe/corridor", episode_length=4), 4, lambda obs: 1).steps
    assert bool(steps.terminated[-1]) and not bool(steps.truncated[-1])


# --- the same as without the adapter ----------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    slow_but(  # both kinds of actions, a picture, and an observation that is made one-hot
        {"CartPole-v1", "Pendulum-v1", "Breakout-MinAtar", "FrozenLake-misc"},
        [
            *("CartPole-v1", "Pendulum-v1", "MountainCarContinuous-v0", "Breakout-MinAtar"),
            *("Catch-bsuite", "DeepSea-bsuite", "UmbrellaChain-bsuite", "FourRooms-misc"),
            *("BernoulliBandit-misc", "FrozenLake-misc"),
        ],
    ),
)
def test_gymnax_itself_plays_the_same_first_episode(name):
    import gymnax

    env = envs.make(f"gymnax/{name}", episode_length=30)
    theirs, params = gymnax.make(name)
    params = params.replace(max_steps_in_episode=type(params.max_steps_in_episode)(30))
    space = theirs.action_space(params)

    def body(carry, key):
        state, their_state = carry
        key_act, key_both = jax.random.split(key)
        action = random_action(key_act, env.action)
        key_step, _ = jax.random.split(key_both)  # as gymnax does in `step`
        state, ours = env.step(key_step, state, action)
        _, their_state, reward, terminated, truncated, info = theirs.step(
            key_both, their_state, action.reshape(space.shape), params
        )
        obs = info["final_observation"]
        obs = jax.nn.one_hot(obs, 16) if name.startswith("FrozenLake") else jnp.ravel(obs)
        theirs_ = Timestep(obs.astype(jnp.float32), reward, terminated, truncated & ~terminated)
        return (state, their_state), (ours, theirs_)

    @jax.jit
    def go(key):
        state, _ = env.reset(key, ())
        _, their_state = theirs.reset(key, params)
        keys = jax.random.split(key, 30)
        their_state = jax.tree.map(lambda a, b: jnp.asarray(b, a.dtype), state, their_state)
        return jax.lax.scan(body, (state, their_state), keys)[1]

    ours, theirs_ = go(jax.random.key(3))
    mask = np.asarray(alive(ours))
    assert 1 <= mask.sum() <= 30
    for mine, other in zip(ours[:4], theirs_[:4], strict=True):
        np.testing.assert_allclose(mine[mask], other[mask], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("env_id", wide(BRAX_TRACED[: len(BRAX)], keep=["brax/fast"]))
def test_a_brax_step_reads_nothing_but_the_physics(env_id):
    """The adapter carries only the simulator's state; metrics and info are empty, and not missed.

    What else a state has must not matter.
    """
    bare = brax_itself(*brax._parse(env_id.partition("/")[2]))
    with brax.quiet():
        reset = jax.eval_shape(bare.reset, jax.eval_shape(jax.random.key, 0))
        state = jax.eval_shape(brax._to_brax, reset.pipeline_state)
        action = jax.ShapeDtypeStruct((bare.action_size,), jnp.float32)
        closed = bare.step.trace(state, action).jaxpr
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path((state, action))]
    read = {id(var) for equation in closed.jaxpr.eqns for var in equation.invars}
    for path, var in zip(paths, closed.jaxpr.invars, strict=True):
        field = jax.tree_util.keystr(path[:2])
        assert id(var) not in read or field in ("[0].pipeline_state", "[1]"), field


def test_brax_names_are_those_of_brax():

    with brax.quiet():
        from brax.envs import _envs
    assert sorted(brax.names()) == sorted(_envs)


# --- probes -----------------------------------------------------------------------------------


def returns_of_all_action_sequences(env: Env, num_steps: int, num_seeds: int = 4) -> np.ndarray:
    """Play each of the size**num_steps sequences; returns [seeds, sequences], NaN if paid NaN."""
    sequences = jnp.array(list(itertools.product(range(env.action.size), repeat=num_steps)))

    def play(key, sequence):
        state, _ = env.reset(key, env.draw_task(key))
        body = lambda state, action: env.step(jax.random.key(0), state, action)  # noqa: E731
        return episode_return(jax.lax.scan(body, state, sequence)[1])

    play_all = jax.vmap(jax.vmap(play, (None, 0)), (0, None))
    return np.asarray(jax.jit(play_all)(jax.random.split(jax.random.key(0), num_seeds), sequences))


@pytest.mark.parametrize(
    ("name", "episode_length", "best", "worst"),
    [
        ("bandit", 1, 1, 0),
        ("sign", 1, 1, 0),
        ("corridor", 6, 1, 0),
        ("corridor", 4, 1, 0),
        ("corridor", 3, 0, 0),
        ("afterlife", 6, 3, 3),
        ("afterlife", 2, 2, 2),
        ("countdown", 5, 5, 5),
        ("nan", 1, 1, 1),
    ],
)
def test_the_optimum_of_a_probe_is_as_stated(name, episode_length, best, worst):
    env = envs.make(f"probe/{name}", episode_length)
    returns = returns_of_all_action_sequences(env, episode_length + 1)
    np.testing.assert_array_equal(np.nanmax(returns, axis=1), best)
    np.testing.assert_array_equal(np.nanmin(returns, axis=1), worst)
    assert np.isnan(returns).any() == (name == "nan")


def test_only_the_shortest_way_through_the_corridor_fits_four_steps():
    returns = returns_of_all_action_sequences(envs.make("probe/corridor", 4), 4)
    assert returns.tolist() == [[0.0] * 15 + [1.0]] * 4


def test_the_sign_probe_pays_for_the_sign():
    env = envs.make("probe/sign")
    keys = jax.random.split(jax.random.key(0), 16)
    states, obs = jax.vmap(lambda key: env.reset(key, ()))(keys)
    assert sorted(set(obs[:, 0].tolist())) == [-1, 1]
    _, steps = jax.vmap(env.step)(keys, states, (obs[:, 0] > 0).astype(jnp.int32))
    assert jnp.all(steps.reward == 1)


def test_the_target_probe_is_best_at_a_half():
    env = envs.make("probe/target")
    state, _ = env.reset(jax.random.key(0), ())
    actions = jnp.linspace(-1, 1, 9)[:, None]
    pay = jax.vmap(lambda action: env.step(jax.random.key(0), state, action)[1].reward)(actions)
    np.testing.assert_allclose(pay, -((actions[:, 0] - 0.5) ** 2))
    assert float(actions[jnp.argmax(pay), 0]) == 0.5 and float(jnp.max(pay)) == 0


def test_the_double_integrator_is_stopped_by_its_stated_optimum():
    env = envs.make("probe/double_integrator")
    best = run(env, 20, lambda obs: -obs.sum(keepdims=True))
    idle = run(env, 20, lambda obs: jnp.zeros(1))
    assert float(episode_return(best.steps)) == 0
    np.testing.assert_allclose(episode_return(idle.steps), -20 * idle.obs[0] ** 2, rtol=1e-5)


def test_afterlife_shows_huge_observations_only_after_the_end():
    _, (_, steps, _) = past_the_limit("probe/afterlife")
    assert steps.obs[:2, 0].tolist() == [1, 1] and jnp.all(steps.obs[2:] == 1e6)
    assert jnp.all(steps.reward == 1)


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 40))
def test_a_countdown_pays_its_length(episode_length):
    steps = run(envs.make("probe/countdown", episode_length), 41).steps
    assert float(episode_return(steps)) == episode_length
    assert float(steps.obs[episode_length - 1, 0]) == 0


def test_random_lengths_are_uniform_and_shown():
    env = envs.make("probe/random_length", 4)
    keys = jax.random.split(jax.random.key(0), 400)
    state, obs = jax.vmap(lambda key: env.reset(key, ()))(keys)
    step = lambda state, _: jax.vmap(env.step, (0, 0, None))(keys, state, jnp.array(0))  # noqa: E731
    _, steps = jax.lax.scan(step, state, length=5)
    returns = episode_return(jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), steps))
    np.testing.assert_array_equal(returns, 4 * obs[:, 0])
    assert np.all(np.abs(np.bincount(returns.astype(int), minlength=5)[1:] - 100) < 40)


# --- ids --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("gymnax/cartpole", "Did you mean 'gymnax/CartPole-v1'"),
        ("gymnax/cartpole-v1", "Did you mean 'gymnax/CartPole-v1'?"),
        ("CartPole-v1", "Did you mean 'gymnax/CartPole-v1'?"),
        ("ant", "Did you mean 'brax/ant'?"),
        ("Ant@positional", "Did you mean 'brax/ant'?"),
        ("gymnax/ant", "Did you mean 'brax/ant'?"),
        ("gymnaxx/Pong-misc", "Did you mean 'gymnax/Pong-misc'?"),
        ("brax/halfcheeta", "Did you mean 'brax/halfcheetah'"),
        ("brax/ant@sprung", "Did you mean 'spring'?"),
        ("brax/ant@", "unknown brax backend ''"),
        ("gymnax/CartPole-v1@spring", "Did you mean 'CartPole-v1'"),
        ("probe/bandits", "Did you mean 'probe/bandit'"),
        ("mujoco/HalfCheetah", "Did you mean 'mujoco/HalfCheetah-v5' or 'mujoco/HalfCheetah-v4'"),
        ("box2d/LunarLander-v2", "Did you mean 'box2d/LunarLander-v3' or 'box2d/LunarLanderCont"),
        ("gymnax/MNISTBandit-bsuite", "unknown environment"),
        ("probe/", "Allowed: probe/bandit, "),
        ("digits/8x9", "Did you mean 'digits/8x8'?"),
        ("digits/mnist", "Allowed: digits/8x8, 'digits/PATH.npz' for a file of images"),
        ("data/mnist.npz", "Did you mean 'digits/data/mnist.npz'?"),
        ("", "1 of digits/, "),
        ("", "--list_envs lists them"),
    ],
)
def test_an_unknown_id_is_refused_with_a_hint(wrong, hint):
    with pytest.raises(UnknownName) as error:
        envs.make(wrong)
    assert hint in str(error.value)


@settings(max_examples=50)
@given(st.sampled_from(IDS), st.booleans(), st.booleans())
def test_an_id_in_another_case_or_without_its_suite_is_hinted_at(env_id, is_upper, has_suite):
    wrong = env_id.upper() if is_upper else env_id.lower()
    meant = env_id if has_suite else env_id.replace("envpool/", "box2d/")  # which share names
    wrong = wrong if has_suite else wrong.partition("/")[2]
    if wrong != env_id:
        with pytest.raises(UnknownName, match=f"Did you mean '{meant}'"):
            envs.make(wrong)


@pytest.mark.parametrize("env_id", ["probe/bandit", "gymnax/CartPole-v1", "brax/ant", "x:make"])
@pytest.mark.parametrize("episode_length", [0, -3])
def test_an_episode_needs_a_step(env_id, episode_length):
    with pytest.raises(ValueError, match="episode_length"):
        envs.make(env_id, episode_length)


@pytest.mark.parametrize("env_id", ["brax/swimmer@spring", "brax/fast@mjx"])
def test_a_backend_that_cannot_is_refused(env_id):
    with pytest.raises(ValueError, match="exists only as brax/"):
        envs.make(env_id)


def test_ids_are_canonical():
    assert envs.make("brax/fast").id == "brax/fast@spring"
    assert envs.make("brax/swimmer").id == "brax/swimmer@generalized"
    assert [envs.make(env_id).id for env_id in PROBES] == PROBES


def test_a_module_of_your_own_is_imported(tmp_path, monkeypatch):
    (tmp_path / "my_lab_world.py").write_text(
        "from ternevo import envs\n"
        "def make(episode_length=None):\n"
        "    return envs.make('probe/countdown', episode_length)._replace(id='my_lab_world:make')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    env = envs.make("my_lab_world:make", 7)
    assert (env.id, env.episode_length) == ("my_lab_world:make", 7)
    with pytest.raises(UnknownName, match="cannot import environment 'my_lab_world:mak'"):
        envs.make("my_lab_world:mak")
    with pytest.raises(UnknownName, match="cannot import renderer"):
        envs.render("my_lab_world:make", [env.reset(jax.random.key(0), ())[0]], tmp_path / "x")


def test_brax_is_quiet(tmp_path):
    """halfcheetah: MuJoCo complains about its model, in a log file in the working directory."""
    code = "from ternevo import envs; envs.make('brax/halfcheetah')"
    command = [sys.executable, "-W", "error", "-c", code]
    package = Path(envs.__file__).parents[2]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(package), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


# --- pictures ---------------------------------------------------------------------------------


def states_of(env_id: str, num_steps: int) -> list[EnvState]:
    states = run(envs.make(env_id), num_steps).states
    return [jax.tree.map(lambda leaf, i=i: leaf[i], states) for i in range(num_steps)]


def gif_frames(path: Path) -> list[np.ndarray]:
    """Return the frames in grey, [height, width] each."""
    with Image.open(path) as gif:
        frames = []
        for i in range(gif.n_frames):
            gif.seek(i)
            frames.append(np.asarray(gif.convert("L")))
    return frames


def test_classic_control_becomes_a_short_gif(tmp_path):
    pytest.importorskip("pygame")
    state, _ = envs.make("gymnax/MountainCar-v0").reset(jax.random.key(0), ())
    states = [state.replace(position=x) for x in np.linspace(-1.2, 0.5, 300)]
    path = envs.render("gymnax/MountainCar-v0", states, tmp_path / "car.v1")
    assert path == tmp_path / "car.v1.gif"
    frames = gif_frames(path)
    assert 100 < len(frames) <= 250
    first, last = frames[0], frames[-1]
    assert (first != last)[:, :150].any() and (first != last)[:, -150:].any(), "the car moved"


def test_classic_control_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    state, _ = envs.make("gymnax/CartPole-v1").reset(jax.random.key(0), ())
    with pytest.raises(ModuleNotFoundError, match=r"needs pygame: pip install .*\[render\]"):
        envs.render("gymnax/CartPole-v1", [state], tmp_path / "x")


def test_a_grid_becomes_a_gif_of_its_planes(tmp_path):
    states = states_of("gymnax/Catch-bsuite", 5)
    frames = gif_frames(envs.render("gymnax/Catch-bsuite", states, tmp_path / "catch"))
    for frame, state in zip(frames, states, strict=True):
        assert frame.shape == (10 * 32, 5 * 32)
        cells = frame[16::32, 16::32] > 0
        marked = {
            (int(state.ball_y), int(state.ball_x)),
            (int(state.paddle_y), int(state.paddle_x)),
        }
        assert {(int(y), int(x)) for y, x in zip(*cells.nonzero(), strict=True)} == marked


@pytest.mark.parametrize(
    "env_id",
    wide(
        ["probe/double_integrator", "gymnax/FourRooms-misc", "gymnax/Reacher-misc", "brax/fast"],
        keep=["gymnax/Reacher-misc"],
    ),
)
def test_everything_else_becomes_a_picture_of_traces(env_id, tmp_path):
    path = envs.render(env_id, states_of(env_id, 4), tmp_path / "deep" / "trace")
    assert path == tmp_path / "deep" / "trace.png"
    with Image.open(path) as picture:
        assert picture.size == (800, 400)
    assert [file.name for file in path.parent.iterdir()] == ["trace.png"], "no temporary file stays"


def test_brax_becomes_a_page_at_the_right_speed(tmp_path):
    import base64
    import json
    import re
    import zlib

    state, _ = jax.jit(envs.make("brax/inverted_pendulum").reset)(jax.random.key(0), ())
    path = envs.render("brax/inverted_pendulum@spring", [state] * 3, tmp_path / "pole")
    assert path == tmp_path / "pole.html"
    packed = re.search(r'var system = "([^"]+)"', path.read_text()).group(1)
    system = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert len(system["states"]["x"]) == 3
    assert system["opt"]["timestep"] == pytest.approx(0.02), "an environment step, not a solver's"


def test_nothing_to_render_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least one state"):
        envs.render("probe/bandit", [], tmp_path / "x")


# --- bodies of brax -----------------------------------------------------------------------------


@pytest.mark.slow  # test_bodies.py says the same of the ant
def test_a_task_changes_the_body_and_one_that_changes_nothing_changes_no_bit():
    """The pole falls slower with less gravity; with all of it, it falls as it always does."""

    def change(task, system):
        return system.replace(gravity=system.gravity * task)

    family = brax.make("inverted_pendulum", 20, brax.Bodies(lambda key: jnp.float32(1), change))
    plain = brax.make("inverted_pendulum", 20)
    key = jax.random.key(3)

    def fall(env, task):
        def step(carry, t):
            state, timestep = env.step(jax.random.fold_in(key, t), carry, jnp.zeros(1))
            return state, timestep.obs

        return jax.lax.scan(step, env.reset(key, task)[0], jnp.arange(12))[1]

    run = jax.jit(fall, static_argnums=0)
    usual = np.asarray(run(plain, ()))
    np.testing.assert_array_equal(run(family, jnp.float32(1)), usual)
    speeds = [float(run(family, jnp.float32(g))[-1, 3]) for g in (0.1, 1.0, 3.0)]
    assert speeds[0] < speeds[1] < speeds[2]
    assert jax.eval_shape(family.draw_task, key).shape == ()


def shown_of(env):
    shape = "x".join(map(str, env.obs.shape))
    return f"{shape} {'float' if env.obs == ObsSpec((1,)) else env.obs.kind}", (
        f"{env.action.size} {env.action.kind}"
    )


ON_BRAX = [f"meta/{name}" for name in bodies.TASKS]


def test_every_environment_is_listed_without_its_simulator():
    """What `--list_envs` prints is a copy, as importing the simulators takes seconds."""
    assert set(ENVIRONMENTS) == set(envs.available())
    for env_id, shown in ENVIRONMENTS.items():
        takes_long = (
            env_id.startswith(("brax/", "playground/", "atari/", "envpool/")) or env_id in ON_BRAX
        )
        if not takes_long:
            assert shown == shown_of(envs.make(env_id)), env_id
    assert ENVIRONMENTS["brax/fast"] == shown_of(envs.make("brax/fast"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "env_id", [*(name for name in ENVIRONMENTS if name.startswith("brax/")), *ON_BRAX]
)
def test_brax_is_listed_as_it_is(env_id):
    assert ENVIRONMENTS[env_id] == shown_of(envs.make(env_id))


def test_an_environment_is_traced_once_for_several_programs_whatever_its_functions_are(monkeypatch):
    key = jax.random.key(0)
    probe, calls = envs.make("probe/corridor"), []

    @dataclasses.dataclass  # a callable without a hash
    class Step:
        number: int

        def __call__(self, *arguments):
            calls.append(self.number)
            return probe.step(*arguments)

    module = types.ModuleType("stepped")
    module.make = lambda episode_length: probe._replace(step=Step(1))
    monkeypatch.setitem(sys.modules, "stepped", module)
    env = envs.make("stepped:make")
    before = len(calls)  # the contract is checked
    state, _ = env.reset(key, env.draw_task(key))
    action = jnp.zeros((), jnp.int32)
    for factor in (1.0, 2.0):
        jax.jit(lambda state, x=factor: env.step(key, state, action)[1].reward * x)(state)
    assert len(calls) == before + 1
