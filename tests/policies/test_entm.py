"""Turing machines by hand: exact copies of any length, and no food forgotten."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs, problems
from ternevo.arithmetic import observation
from ternevo.envs import contract as env_contract, memory
from ternevo.policies import contract, entm, policy_file
from ternevo.problems import Plan
from ternevo.settings.policies import ENTM
from ternevo.types import ActionSpec, ObsSpec, PolicyParams, Population, Tensor

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
KEY = jax.random.key(0)


def played(settings, env, params, num_episodes) -> np.ndarray:
    """Return the returns of episodes."""
    policy = contract.build(settings, env.obs, env.action)
    population = Population(jax.tree.map(lambda x: x[None], params))
    problem, moments = problems.of(policy, env, Plan(num_episodes)), observation.empty(env.obs.size)
    run = quick_jit(lambda: problem.evaluate(KEY, population, moments, jnp.int32(0)).returns)
    return np.asarray(run())[0]


class Wiring:
    """A matrix of trits whose rows and columns have names."""

    def __init__(self, inputs, outputs):
        self.rows = {name: i for i, name in enumerate(inputs)}
        self.columns = {name: i for i, name in enumerate(outputs)}
        self.values = np.zeros((len(inputs), len(outputs)), np.int8)

    def link(self, source, target, weight=1):
        self.values[self.rows[source], self.columns[target]] = weight

    @property
    def tensor(self):
        return Tensor(jnp.asarray(self.values), jnp.int8(0))


def orders_of(actions, cell_size):
    """Return the names of all outputs of a controller."""
    keys = [f"key{i}" for i in range(cell_size)]
    return [*actions, *keys, "write", "jump", "left", "stay", "right"]


def copier(bits):
    """Return params that copy: mark the start, write while moving right, jump to the mark."""
    size = bits + 1
    inputs = ["start", "delimiter", *(f"bit{i}" for i in range(bits))]
    inputs += [*(f"read{i}" for i in range(size)), "one"]
    net = Wiring(inputs, orders_of([f"action{i}" for i in range(bits)], size))
    for i in range(bits):
        net.link(f"read{i}", f"action{i}")
        net.link(f"bit{i}", f"key{i}")
    net.link("start", f"key{bits}")
    net.link("delimiter", f"key{bits}")
    net.link("one", "write")
    net.link("delimiter", "jump")
    net.link("one", "right")
    return {"output": net.tensor}


@pytest.mark.parametrize(
    ("bits", "length", "nonzeros"),
    [
        pytest.param(1, 1, 7, marks=pytest.mark.slow),
        pytest.param(2, 40, 9, marks=pytest.mark.slow),
        (1, 1000, 7),
        pytest.param(4, 1000, 13, marks=pytest.mark.slow),
        pytest.param(8, 1000, 21, marks=pytest.mark.slow),
    ],
)
def test_a_copier_by_hand_is_exact_at_any_length(bits, length, nonzeros):
    env = memory.copy(bits=bits, shortest=length, longest=length)
    params = copier(bits)
    assert int(jnp.sum(params["output"].values != 0)) == nonzeros
    settings = ENTM(cell_size=bits + 1, num_cells=length + 2)
    np.testing.assert_allclose(played(settings, env, params, 4), 1.0, rtol=1e-5)


def test_a_copier_copies_sequences_of_all_lengths_and_needs_its_mark():
    env = envs.make("memory/copy@2")
    assert env_contract.check(env).id == "memory/copy@2"
    params = copier(2)
    settings = ENTM(cell_size=3, num_cells=12)
    np.testing.assert_allclose(played(settings, env, params, 40), 1.0, rtol=1e-5)
    broken = {"output": params["output"]._replace(values=params["output"].values.at[0].set(0))}
    assert played(settings, env, broken, 40).mean() < 0.9


def gourmet(kinds):
    """Return params that learn each food in one meal: the value is what was expected, corrected."""
    foods = [f"food{i}" for i in range(kinds)]
    size = 2 * kinds + 1
    inputs = [*foods, "reward", "punish", *(f"read{i}" for i in range(size)), "one"]
    hidden = Wiring(inputs, ["was_right", "was_wrong"])
    value = f"read{size - 1}"
    hidden.link(value, "was_right")
    hidden.link("punish", "was_right", -1)
    hidden.link("punish", "was_wrong")
    hidden.link(value, "was_wrong", -1)
    net = Wiring([*inputs, "was_right", "was_wrong"], orders_of(["eat"], size))
    for i in range(kinds):
        net.link(f"food{i}", f"key{i}")
        net.link(f"food{i}", f"key{kinds + i}")
    for name in ("was_right", "was_wrong"):
        net.link(name, f"key{size - 1}")
    for name in ("reward", "punish"):
        net.link(name, "write")
        net.link(name, "jump", -1)
    net.link("one", "jump")
    net.link("one", "stay")
    net.link(value, "eat")
    return {"hidden": hidden.tensor, "output": net.tensor}


@pytest.mark.parametrize(
    ("foods", "seasons", "steps"),
    [(4, 2, 4), pytest.param(4, 8, 3, marks=pytest.mark.slow)],
)
def test_a_gourmet_by_hand_forgets_no_season(foods, seasons, steps):
    env = memory.season(foods=foods, seasons=seasons, steps=steps)
    kinds = foods * seasons
    params = gourmet(kinds)
    assert sum(int(jnp.sum(x.values != 0)) for x in params.values()) == 2 * kinds + 13
    settings = ENTM(hidden_size=2, cell_size=2 * kinds + 1, num_cells=kinds + 2, expand=True)
    np.testing.assert_allclose(played(settings, env, params, 20), 1.0, rtol=1e-5)


@pytest.mark.slow
def test_a_gourmet_with_one_cell_guesses():
    """It remembers only the last food."""
    forgetful = ENTM(hidden_size=2, cell_size=17, num_cells=1, expand=True)
    assert played(forgetful, envs.make("memory/season"), gourmet(8), 50).mean() < 0.7


def test_the_tape_is_written_searched_moved_and_read_in_this_order():
    """One step by hand: what is written is found by the jump, and the shift comes after it."""
    cells = jnp.array([[0.0, 1], [1, 1], [0, 0], [0, 1]])
    tape = entm.Tape(cells, jnp.array([True, True, True, False]), jnp.int32(2), jnp.zeros(2))
    on, off = jnp.array(True), jnp.array(False)
    key = jnp.array([1.0, 0])
    moved = entm._moved(False, tape, entm.Orders(jnp.zeros(1), key, on, on, jnp.int32(-1)))
    np.testing.assert_array_equal(moved.cells[2], key)
    assert int(moved.head) == 1
    np.testing.assert_array_equal(moved.read, [1, 1])
    jumped = entm._moved(
        False, tape, entm.Orders(jnp.zeros(1), jnp.array([0.0, 1]), off, on, jnp.int32(0))
    )
    assert int(jumped.head) == 0  # of equal cells the first, and cell 3 is not there
    right = entm._moved(False, jumped, entm.Orders(jnp.zeros(1), key, off, off, jnp.int32(1)))
    right = entm._moved(False, right, entm.Orders(jnp.zeros(1), key, off, off, jnp.int32(1)))
    right = entm._moved(False, right, entm.Orders(jnp.zeros(1), key, off, off, jnp.int32(1)))
    assert int(right.head) == 3 and bool(right.exists[3])
    around = entm._moved(False, right, entm.Orders(jnp.zeros(1), key, off, off, jnp.int32(1)))
    assert int(around.head) == 0


def test_expanding_keeps_a_blank_cell_at_the_end():
    blank = entm.Tape(jnp.zeros((3, 2)), jnp.arange(3) == 0, jnp.int32(0), jnp.zeros(2))
    key, on, off = jnp.array([1.0, 0]), jnp.array(True), jnp.array(False)
    wrote = entm._moved(True, blank, entm.Orders(jnp.zeros(1), key, on, off, jnp.int32(0)))
    np.testing.assert_array_equal(wrote.exists, [True, True, False])
    again = entm._moved(True, wrote, entm.Orders(jnp.zeros(1), key, on, off, jnp.int32(0)))
    np.testing.assert_array_equal(again.exists, [True, True, False])


def test_seasons_score_what_can_be_known():
    """Who eats all, or leaves all, is right in half the scored decisions."""
    env = env_contract.check(envs.make("memory/season"))
    for action in (0.0, 1.0):

        def one(state, _, action=action):
            return env.step(KEY, state, jnp.full(1, action))

        state, obs = env.reset(KEY, ())
        _, steps = jax.lax.scan(one, state, None, env.episode_length)
        assert float(steps.reward.sum()) == pytest.approx(0.5)
        assert bool(steps.terminated[-1]) and not bool(steps.terminated[:-1].any())
        shown = np.asarray(steps.obs)
        np.testing.assert_array_equal(shown[:, :8].sum(1), 1)
        told = shown[2::4, 8:]  # with the last step of each food
        np.testing.assert_array_equal(told.sum(1), 1)
        np.testing.assert_array_equal(np.delete(shown[:, 8:], np.s_[2::4], 0), 0)
        assert int(obs.sum()) == 1


def test_a_machine_comes_back_from_its_file(tmp_path):
    settings, env = ENTM(hidden_size=2, cell_size=3), envs.make("memory/copy")
    moments = observation.empty(3)
    params = PolicyParams(quick_jit(settings.build(env.obs, env.action).init)(KEY), moments)
    path = tmp_path / "policy.npz"
    policy_file.save(path, env, "entm", settings, params)
    found = policy_file.load(path)
    assert (found.policy_name, found.settings) == ("entm", settings)
    memory_ = found.reset()
    memory_, action = found.step(memory_, np.ones(3))
    assert action.shape == (1,) and action[0] in (0, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ENTM(weights="binary"), "use --weights ternary or float, not binary"),
        (lambda: ENTM(cell_size=0), "cell_size must be at least 1"),
        (lambda: ENTM(hidden_size=-1), "hidden_size must be 0 or more"),
        (lambda: envs.make("memory/copy@3"), "unknown number of bits '3'"),
        (lambda: envs.make("memory/season@3"), "unknown task with bits 'season'"),
    ],
)
def test_impossible_machines_are_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_floats_are_machines_too():
    settings = ENTM(weights="float", hidden_size=1)
    policy = contract.build(settings, ObsSpec((4,)), ActionSpec("discrete", 3))
    assert policy.init(KEY)["output"].values.dtype == jnp.float32
