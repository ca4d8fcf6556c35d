"""Turing machines by hand: exact copies of any length, and no food forgotten."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs, problems
from ternevo.arithmetic import observation
from ternevo.deploy import entm as machines, runtime, tvp
from ternevo.envs import contract as env_contract, memory
from ternevo.policies import contract, entm, entm_shaping, policy_file
from ternevo.problems import Plan
from ternevo.settings.policies import ENTM
from ternevo.settings.strategies import STRATEGIES
from ternevo.types import ActionSpec, Inputs, ObsSpec, PolicyParams, Population, Tensor

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
KEY = jax.random.key(0)


def played(settings, env, params, num_episodes) -> np.ndarray:
    """Return the returns of episodes."""
    return played_by(contract.build(settings, env.obs, env.action), env, params, num_episodes)


def played_by(policy, env, params, num_episodes) -> np.ndarray:
    """Return what a population of this one member gets for its episodes."""
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
        (2, 40, 9),
        pytest.param(1, 1000, 7, marks=pytest.mark.slow),
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


TWO, FOUR = ActionSpec("continuous", 2, (-1.0, 0.0), (1.0, 4.0)), ActionSpec("discrete", 4)
OBS = ObsSpec((3,))
MACHINES = {
    "linear": (ENTM(cell_size=3, num_cells=5), TWO),
    "hidden units": (ENTM(hidden_size=4, cell_size=2, num_cells=7), FOUR),
    "blank last cell": (ENTM(hidden_size=3, cell_size=4, num_cells=6, expand=True), TWO),
    "a single cell": (ENTM(cell_size=1, num_cells=1, expand=True), FOUR),
    "floats": (ENTM(hidden_size=2, cell_size=3, num_cells=5, weights="float"), TWO),
}
QUICK = ("hidden units", "blank last cell")


def lived(policy, params, q):
    """Return the last memory and all outputs [steps, lives, out] of lives, in JAX."""

    @quick_jit
    def live(rows):
        def step(tape, row):
            return policy.apply(params, tape, Inputs(row, jnp.zeros(()), jnp.zeros((), bool)))

        return jax.lax.scan(step, policy.reset(params, KEY), rows)

    tape, outputs = jax.vmap(live, 1, (0, 1))(jnp.asarray(q, jnp.float32))
    return jax.tree.map(np.asarray, tape), np.asarray(outputs)


def busy(policy):
    """Return random links of a machine that writes to many cells."""
    rng = np.random.default_rng(5)
    params = jax.eval_shape(policy.init, KEY)
    drawn = {
        name: jnp.asarray(rng.integers(-1, 2, x.values.shape), x.values.dtype)
        for name, x in sorted(params.items())
    }
    drawn["output"] = drawn["output"].at[OBS.size :, -5].set(1).at[:2, -6].set(1).at[2:, -6].set(0)
    exponent = jnp.int8(drawn["output"].dtype == jnp.int8)
    return {name: Tensor(values, exponent) for name, values in drawn.items()}


@pytest.mark.exact
@pytest.mark.parametrize(
    ("settings", "action"),
    [
        pytest.param(*case, id=name, marks=[] if name in QUICK else pytest.mark.slow)
        for name, case in MACHINES.items()
    ],
)
def test_what_ships_writes_the_same_tape(settings, action, tmp_path):
    """Tape, head and outputs of 12 lives of 60 steps, of JAX and of a file in NumPy, by ==."""
    policy = contract.build(settings, OBS, action)
    params = PolicyParams(busy(policy), observation.empty(OBS.size))
    path = tmp_path / "policy.tvp"
    path.write_bytes(tvp.encode(policy_file.record_of(settings, OBS, action, params)))
    record = tvp.decode(path.read_bytes())
    assert tvp.encode(record) == path.read_bytes()
    shipping, runner = runtime.Policy(record), machines.Runner(record)
    q = np.random.default_rng(1).integers(-1, 2, (60, 12, OBS.size)).astype(np.int8)
    memories, found = shipping.reset(12), []
    assert memories.shape[1] == record.memory_size
    for row in q:
        memories, logits = shipping.step_logits_q(memories, row)
        found.append(logits)
    tape, outputs = lived(policy, params.weights, q)
    np.testing.assert_array_equal(np.stack(found), outputs)
    shipped = runner._read(memories)
    np.testing.assert_array_equal(shipped.cells, tape.cells)
    np.testing.assert_array_equal(shipped.exists, tape.exists)
    np.testing.assert_array_equal(shipped.head, tape.head)
    assert settings.num_cells == 1 or len(np.unique(tape.cells.sum((1, 2)))) > 1


def test_a_machine_comes_back_from_its_file(tmp_path):
    """And it copies there as it does here."""
    settings, env = ENTM(cell_size=3, num_cells=12), envs.make("memory/copy@2")
    params = PolicyParams(copier(2), observation.empty(4))
    path = tmp_path / "policy.tvp"
    policy_file.save(path, env, "entm", settings, params)
    found = policy_file.load(path)
    assert (found.policy_name, found.settings) == ("entm", settings)
    np.testing.assert_array_equal(found.weights["output"].values, params.weights["output"].values)
    assert path.stat().st_size < 400
    shipping = runtime.load(path)
    tape, total = shipping.reset(), 0.0
    state, obs = env.reset(KEY, ())
    for _ in range(env.episode_length):
        tape, action = shipping.step(tape, np.asarray(obs))
        state, timestep = env.step(KEY, state, jnp.asarray(action))
        obs, total = timestep.obs, total + float(timestep.reward)
        if timestep.terminated:
            break
    assert total == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": (0, 3, 12)}, "3 options of a Turing machine"),
        ({"options": (0, 0, 12, 0)}, "cell_size 0; must be 1"),
        ({"options": (0, 3, 2**23, 0)}, "a tape of 8388608 cells of 3 bits"),
        ({"options": (1, 3, 12, 0)}, "links of shapes"),
        ({"rules": ()}, "links of shapes"),
    ],
)
def test_damaged_machines_are_refused_in_words(change, message):
    settings = ENTM(cell_size=3, num_cells=12)
    env = envs.make("memory/copy@2")
    params = PolicyParams(copier(2), observation.empty(4))
    record = policy_file.record_of(settings, env.obs, env.action, params)
    assert record.life is not None
    damaged = dataclasses.replace(record, life=dataclasses.replace(record.life, **change))
    with pytest.raises(ValueError, match=message):
        machines.check(damaged)


def test_a_machine_of_other_units_of_observations_is_refused():
    """Only one shift is ever written, and a machine does not use it: others are damage."""
    settings, env = ENTM(cell_size=3, num_cells=12), envs.make("memory/copy@2")
    params = PolicyParams(copier(2), observation.empty(4))
    record = policy_file.record_of(settings, env.obs, env.action, params)
    machines.check(record)
    damaged = dataclasses.replace(record, observation_shift=3)
    with pytest.raises(ValueError, match="observation shift 3 of a Turing machine; must be 2"):
        machines.check(damaged)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ENTM(weights="binary"), "use --weights ternary or float, not binary"),
        (lambda: ENTM(cell_size=0), "cell_size must be at least 1"),
        (lambda: ENTM(hidden_size=-1), "hidden_size must be 0 or more"),
        (lambda: envs.make("memory/copy@3"), "unknown number of bits '3'"),
    ],
)
def test_impossible_machines_are_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_floats_are_machines_too():
    settings = ENTM(weights="float", hidden_size=1)
    policy = contract.build(settings, ObsSpec((4,)), ActionSpec("discrete", 3))
    assert policy.init(KEY)["output"].values.dtype == jnp.float32


# ------------------------------------------------------------------------------- reward shaping


def fitness(settings, env, params, num_episodes, credited=True) -> np.ndarray:
    """Return the returns of episodes as members get them in training, or as tests pay them."""
    settings = dataclasses.replace(settings, reward_shaping=env.id.split("/")[1].split("@")[0])
    policy = contract.build(settings, env.obs, env.action)
    if credited:
        return played_by(policy, env, params, num_episodes)
    problem, quantiser = (
        problems.of(policy, env),
        observation.freeze(observation.empty(env.obs.size), env.obs.kind),
    )
    run = quick_jit(lambda: problem.test(KEY, params, quantiser, num_episodes).returns)
    return np.asarray(run())[0]


@pytest.mark.wide  # another task is below
def test_who_solves_a_task_has_all_credit_and_tests_pay_none():
    for settings, env, params in (
        (ENTM(cell_size=3, num_cells=12), envs.make("memory/copy@2"), copier(2)),
        (
            ENTM(hidden_size=2, cell_size=9, num_cells=6, expand=True),
            envs.make("memory/season@2"),
            gourmet(4),
        ),
    ):
        np.testing.assert_allclose(fitness(settings, env, params, 20), 2.0, rtol=1e-5)
        tested = fitness(settings, env, params, 20, credited=False)
        np.testing.assert_allclose(tested, 1.0, rtol=1e-5)


def test_vectors_that_are_stored_are_credited_without_an_answer():
    env = memory.copy(bits=2, shortest=4, longest=4)
    settings = ENTM(cell_size=3, num_cells=12)
    net = copier(2)["output"]
    mute = {"output": net._replace(values=net.values.at[4:6, 0:2].set(0))}
    returns = played(settings, env, mute, 20)
    assert returns.mean() < 0.6
    np.testing.assert_allclose(fitness(settings, env, mute, 20) - returns, 1.0, atol=1e-5)
    stays = {"output": net._replace(values=net.values.at[-1, -1].set(0).at[-1, -2].set(1))}
    returns = played(settings, env, stays, 20)
    np.testing.assert_allclose(fitness(settings, env, stays, 20) - returns, 0.25, atol=1e-5)


def test_the_credit_of_seasons_by_hand():
    """Two foods, a told step each, a write for the first only; then both are looked for.

    What is written without feedback spoils the cell.
    """
    shaping = entm_shaping.season(ObsSpec((4,)), ActionSpec("continuous", 1), (3, 2))
    cells = jnp.zeros((3, 2))

    def doing(food, told, cell, wrote, arrives):
        seen = jnp.zeros(4).at[food].set(1.0).at[2].set(float(told))
        return entm_shaping.Doing(
            seen, cells, jnp.int32(cell), jnp.array(wrote), jnp.int32(arrives)
        )

    steps = [
        (doing(0, told=False, cell=0, wrote=False, arrives=0), 0 + 1 / 2),  # nothing is known
        (doing(0, told=True, cell=0, wrote=True, arrives=1), 0 + 2 / 2),
        (doing(1, told=True, cell=1, wrote=False, arrives=1), 0 + (1 / 2 + 1) / 2),
        (doing(0, told=False, cell=1, wrote=False, arrives=0), 1 + (1 / 2 + 1) / 2),
        (doing(1, told=False, cell=0, wrote=False, arrives=0), 1 / 2 + (1 / 2 + 1) / 2),
        (doing(1, told=False, cell=0, wrote=True, arrives=0), 1 / 3 + (1 / 2 + 3 / 4) / 2),
        (doing(0, told=False, cell=0, wrote=False, arrives=0), 1 / 4 + (1 / 2 + 4 / 5) / 2),
    ]
    notes = shaping.start
    for done, wanted in steps:
        notes = shaping.note(notes, done)
        assert float(shaping.credit(notes)) == pytest.approx(wanted / 2)


@pytest.mark.parametrize("writes", [True, False])
def test_who_always_writes_or_never_has_a_quarter_of_the_credit_of_seasons(writes):
    """One of the two shares of steps, of which each is half of a half."""
    shaping = entm_shaping.season(ObsSpec((4,)), ActionSpec("continuous", 1), (1, 2))
    notes, here = shaping.start, jnp.int32(0)
    for step in range(16):
        seen = jnp.zeros(4).at[step // 4 % 2].set(1.0).at[2].set(float(step % 4 == 3))
        doing = entm_shaping.Doing(seen, jnp.zeros((1, 2)), here, jnp.array(writes), here)
        notes = shaping.note(notes, doing)
    assert float(shaping.credit(notes)) == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("shaping", "env_id", "cell_size", "message"),
    [
        ("copy", "memory/season@2", 4, "'copy' is for memory/copy"),
        ("copy", "memory/copy@4", 3, "'copy' needs cells of 4 bits, got cell_size 3"),
        ("season", "memory/copy@2", 4, "'season' is for memory/season"),
    ],
)
def test_shaping_for_another_task_is_refused(shaping, env_id, cell_size, message):
    env = envs.make(env_id)
    settings = ENTM(reward_shaping=shaping, cell_size=cell_size)
    with pytest.raises(ValueError, match=message):
        contract.build(settings, env.obs, env.action)


def test_shaping_is_only_for_its_own_task_and_for_evolution():
    """Tasks whose sizes fit, too: one bit to copy has those of seasons."""
    settings = ENTM(reward_shaping="season", cell_size=4)
    with pytest.raises(ValueError, match="is for memory/season, and not for memory/copy"):
        contract.shown_to(settings, envs.make("memory/copy"))
    env = contract.shown_to(settings, envs.make("memory/season@2"))
    policy = contract.build(settings, env.obs, env.action)
    with pytest.raises(ValueError, match="must be none with a gradient learner"):
        STRATEGIES["ppo"]().build(env, policy, "ternary", 2)
