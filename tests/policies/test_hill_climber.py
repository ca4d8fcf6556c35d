"""Hill climbing within a life: trials by hand, what ships by `==` over whole lives, files."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo import envs, problems
from ternevo.arithmetic import observation
from ternevo.deploy import hashing, hill_climber as trials, runtime
from ternevo.policies import contract, hill_climber, policy_file
from ternevo.problems import Plan
from ternevo.settings.policies import HillClimber
from ternevo.settings.wrappers import Wrappers
from ternevo.types import ActionSpec, Inputs, ObsSpec, PolicyParams, Population, Tensor

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
KEY = jax.random.key(0)
OBS = ObsSpec((5,))
TWO, FOUR = ActionSpec("continuous", 2, (-1.0, 0.0), (1.0, 4.0)), ActionSpec("discrete", 4)
CASES: dict[str, tuple[HillClimber, ActionSpec]] = {
    "linear": (HillClimber(num_trials=5), TWO),
    "averaged": (HillClimber((6,), num_trials=4, trial_episodes=3, flip_rate=1), FOUR),
    "without a mask": (HillClimber((6,), "int4", evolve_mask=False, use_bias=False), TWO),
    "random start": (HillClimber((4, 3), "sign", start="random", flip_rate=0), TWO),
    "trits": (HillClimber((4,), "ternary", observation_shift=0), FOUR),
}
FLOATS = {
    "floats": (HillClimber((6,), "tanh", weights="float"), TWO),
    "random floats": (HillClimber((6,), weights="float", start="random"), TWO),
}
QUICK = ("averaged",)
each = pytest.mark.parametrize(
    ("settings", "action"),
    [
        pytest.param(*case, id=name, marks=[] if name in QUICK else pytest.mark.slow)
        for name, case in CASES.items()
    ],
)
WRITTEN = ("averaged", "random start", "floats")
each_file = pytest.mark.parametrize(
    ("settings", "action"),
    [
        pytest.param(*case, id=name, marks=[] if name in WRITTEN else pytest.mark.slow)
        for name, case in [*CASES.items(), *FLOATS.items()]
    ],
)


def drawn(settings, action, seed=0) -> tuple:
    """Return a policy, and random params with moments."""
    policy = contract.build(settings, OBS, action)
    params, rng = quick_jit(policy.init)(jax.random.key(seed)), np.random.default_rng(seed)
    if settings.weights == "ternary":
        params = jax.tree.map(
            lambda x: x._replace(values=jnp.asarray(rng.integers(-1, 2, x.values.shape), jnp.int8)),
            params,
            is_leaf=lambda x: isinstance(x, Tensor),
        )
    return policy, PolicyParams(params, observation.of_all(rng.normal(size=(20, OBS.size))))


def script(num_steps=120, lives=15, seed=1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return observations, rewards and beginnings of lives, of which the first step is one."""
    rng = np.random.default_rng(seed)
    q = rng.integers(-127, 128, (num_steps, lives, OBS.size)).astype(np.int8)
    rewards = rng.normal(size=(num_steps, lives)).astype(np.float32)
    begins = rng.random((num_steps, lives)) < 0.2
    rewards[0], begins[0] = 0, True
    return q, rewards, begins


def lived(policy, params, told, keys):
    """Return the last memory, and all outputs [steps, lives, out], in JAX."""

    @quick_jit
    def live(told, key):
        def step(memory, told):
            return policy.apply(params, memory, Inputs(*told))

        return jax.lax.scan(step, policy.reset(params, key), told)

    q, rewards, begins = told
    given = jnp.asarray(q, jnp.float32), jnp.asarray(rewards), jnp.asarray(begins)
    memory, outputs = jax.vmap(live, (1, 0), (0, 1))(given, keys)
    return memory, np.asarray(outputs)


def lived_in_numpy(record, told, keys):
    """Return the same of the runtime."""
    shipping, runner = runtime.Policy(record), trials.Runner(record)
    seeds = np.asarray(jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32))(keys))
    memories, found = np.concatenate([shipping.reset(1, int(seed)) for seed in seeds]), []
    for q, rewards, begins in zip(*told, strict=True):
        memories, logits = shipping.step_logits_q(memories, q, rewards, begins)
        found.append(logits)
    logits = np.stack(found)
    if logits.dtype == np.int32:
        logits = np.ldexp(logits.astype(np.float32), -runner.output_exponent)
    return runner._read(memories), logits


@pytest.mark.exact
@each
def test_what_ships_adapts_as_what_was_trained(settings, action):
    """Weights, scores and outputs of 15 lives of about 24 episodes, of JAX and of NumPy, by ==."""
    policy, params = drawn(settings, action)
    record = policy_file.record_of(settings, OBS, action, params)
    keys, told = jax.random.split(jax.random.key(1), 15), script()
    wanted, outputs = lived_in_numpy(record, told, keys)
    memory, found = lived(policy, params.weights, told, keys)
    np.testing.assert_array_equal(found, outputs)
    chex.assert_trees_all_equal(
        jax.tree.map(np.asarray, tuple(memory)), jax.tree.map(np.asarray, tuple(wanted))
    )
    assert len(np.unique(wanted.best, axis=0)) > 3  # lives found weights of their own


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "action"), FLOATS.values(), ids=FLOATS)
def test_floats_ship_within_rounding(settings, action):
    policy, params = drawn(settings, action)
    record = policy_file.record_of(settings, OBS, action, params)
    keys, told = jax.random.split(jax.random.key(1), 15), script()
    wanted, outputs = lived_in_numpy(record, told, keys)
    memory, found = lived(policy, params.weights, told, keys)
    np.testing.assert_allclose(found, outputs, rtol=1e-3, atol=2e-2)
    np.testing.assert_allclose(memory.best, wanted.best, rtol=1e-4, atol=1e-5)


def test_a_trial_is_kept_if_and_only_if_it_pays_more():
    """A scripted life of two episodes a trial; the reward of an episode comes with the next."""
    settings = HillClimber(num_trials=3, trial_episodes=2, flip_rate=0)
    policy, params = drawn(settings, TWO)
    step = jax.jit(lambda life, *told: policy.apply(params.weights, life, Inputs(*told))[0])
    life, lives = policy.reset(params.weights, KEY), []
    pays = [0.0, *(1, 1), *(2, 1), *(5, -3), *(1, 2), 9, 9]  # 2, then 3, 2 and 3; the rest is free
    for reward in pays:
        life = step(life, jnp.zeros(5), jnp.float32(reward), jnp.array(True))
        lives.append(jax.tree.map(np.asarray, life))
    same = np.testing.assert_array_equal
    start, first, second = lives[0].trial, lives[2].trial, lives[4].trial
    same(start, policy.reset(params.weights, KEY).best)
    assert (lives[2].most, lives[4].most, lives[6].most, lives[8].most) == (2, 3, 3, 3)
    same(lives[4].best, first)  # it paid 3
    same(lives[6].best, first)  # the second paid 2
    same(lives[8].best, first)  # the third paid 3, which is not more
    assert not np.array_equal(second, lives[6].trial)
    for later in lives[8:]:
        same(later.trial, first)
        same(later.best, first)


def test_weights_flip_as_often_as_their_mask_says():
    climbing = hill_climber.climbing_of(HillClimber(flip_rate=2))
    mask = jnp.repeat(jnp.array([-1, 0, 1], jnp.int8), 20000)
    weights = jnp.ones(60000, jnp.int8)
    rate = trials.rates_of(climbing, weights, mask)
    seed, counter = jnp.uint32(3), jnp.arange(60000, dtype=jnp.uint32)
    found = np.asarray(trials.flipped(seed, counter, weights, rate)).reshape(3, -1)
    # A third of what is drawn again stays +1.
    np.testing.assert_allclose((found != 1).mean(1), [0, 2 / 3 / 32, 2 / 3 / 4], atol=0.01)
    values, counts = np.unique(found[2], return_counts=True)
    np.testing.assert_array_equal(values, [-1, 0, 1])
    np.testing.assert_allclose(counts[0] / counts[1], 1, atol=0.1)
    always = trials.flipped(seed, counter, weights, jnp.zeros(60000, jnp.uint32))
    np.testing.assert_allclose(np.mean(np.asarray(always) == 0), 1 / 3, atol=0.01)


def test_changes_of_floats_are_nearly_normal():
    found = trials.normals(np.ones(1, np.uint32), hashing.FLIP, np.arange(50000, dtype=np.uint32))
    assert abs(found.mean()) < 0.02 and abs(found.std() - 1) < 0.02
    assert abs(np.mean(np.abs(found) < 1) - 0.68) < 0.02


@pytest.mark.wide  # as those of test_built_in_policies.py
@each_file
def test_a_policy_comes_back_from_its_file(settings, action, tmp_path):
    env = envs.make("probe/corridor", 9)._replace(id="", obs=OBS, action=action)
    env = env._replace(obs_names=(), action_names=())
    _, params = drawn(settings, action)
    path = tmp_path / "policy.tvp"
    policy_file.save(path, env, "hill_climber", settings, params)
    found = policy_file.load(path)
    assert (found.policy_name, found.settings, found.action) == ("hill_climber", settings, action)
    if settings.start == "evolved":
        chex.assert_trees_all_equal(found.weights, params.weights, strict=True)
    for layer, given in zip(found.weights, params.weights, strict=True):
        for name in given:
            if name.endswith("mask"):
                np.testing.assert_array_equal(layer[name].values, given[name].values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HillClimber(weights="binary"), "use --weights ternary or float, not binary"),
        (lambda: HillClimber(flip_rate=17), "flip_rate must be 0 to 16, got 17"),
        (lambda: HillClimber(trial_episodes=0), "trial_episodes must be at least 1"),
        (lambda: HillClimber(start="random", evolve_mask=False), "leave nothing to evolve"),
        (lambda: HillClimber().build(ObsSpec((4,), "planes"), FOUR), "planes have one"),
        (lambda: HillClimber((5000,)).build(OBS, FOUR), "do not fit .*; change --hidden_sizes"),
    ],
)
def test_impossible_settings_are_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_biases_that_are_free_find_the_corner(num_trials=20):
    """By hand: weights pull back to the biases, which alone may flip.

    A trial finds the corner with a chance of 1/9, and then the life pays -64.4, otherwise -400. So
    the mean is -96 after 20 trials.
    """
    settings = HillClimber(num_trials=num_trials, flip_rate=0)
    env = envs.make("meta/four_corners", None, Wrappers(lifetime=num_trials + 2))
    policy = contract.build(settings, env.obs, env.action)
    weight = -jnp.eye(2, dtype=jnp.int8)
    frozen, free = jnp.full((2, 2), -1, jnp.int8), jnp.ones(2, jnp.int8)
    none = jnp.int8(0)
    drawn = policy.init(KEY)[0]
    params = (
        {
            "weight": Tensor(weight, none),
            "bias": Tensor(jnp.zeros(2, jnp.int8), drawn["bias"].exponent),
            "weight_mask": Tensor(frozen, none),
            "bias_mask": Tensor(free, none),
        },
    )
    problem = problems.of(policy, env, Plan(64))
    population = Population(jax.tree.map(lambda x: x[None], params))
    scores = quick_jit(
        lambda: problem.evaluate(KEY, population, observation.empty(2), jnp.int32(0))
    )()
    returns = np.asarray(scores.returns)
    assert returns.max() == pytest.approx(-64.4, abs=0.1) and -130 < returns.mean() < -70
