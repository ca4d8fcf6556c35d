"""PPO through time: gradients against a hand-written chain rule, replays, a probe of memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import wide
from recall import returns_of_all
from remembering_policies import Elman, Plastic, Recurrent

from ternevo import envs
from ternevo.arithmetic import actions, observation
from ternevo.arithmetic.weights import kind_of, straight_through_all
from ternevo.learners import through_time
from ternevo.learners.through_time import Sequences
from ternevo.rollouts import transitions
from ternevo.rollouts.transitions import Taken
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies.across_seeds import across_seeds
from ternevo.strategies.numbered import unwrapped
from ternevo.types import ActionSpec, Env, ObsSpec, Policy

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
slow = functools.partial(pytest.param, marks=pytest.mark.slow)
PPO = STRATEGIES["ppo"]
KEY = jax.random.key(0)

# --- gradients --------------------------------------------------------------------------------


def recorded(num_sequences: int, num_steps: int, num_units: int, seed: int = 0) -> Sequences:
    """Return random inputs, in which some episodes begin."""
    random = np.random.default_rng(seed)
    batch = (num_sequences, num_steps)
    taken = Taken(
        jnp.asarray(random.integers(-127, 128, (*batch, 2)), jnp.int8),
        jnp.zeros(batch),
        jnp.zeros(batch, bool),
        jnp.asarray(random.integers(-90, 91, (*batch, num_units)), jnp.float32),
    )
    begins = jnp.asarray(random.random(batch) < 0.3)
    return Sequences(taken, begins, jax.random.split(KEY, batch))


def backwards(weights: dict, found: Sequences, above: np.ndarray, starts_at_bias: bool) -> dict:
    """Return the derivatives of sum(above * outputs), written out; activations are int8 grids.

    h_t = round(clip(u_t)), u_t = [x_t, h_{t-1}] W: the slope is 1 where u_t is not clipped, and h
    before the first step is data.
    """
    zeros = {name: np.zeros_like(values) for name, values in weights.items()}
    for i in range(above.shape[0]):
        memory, path = np.asarray(found.taken.memory[i, 0], np.float64), []
        for t in range(above.shape[1]):
            begins = bool(found.begins[i, t])
            if begins:
                memory = 127 * weights["first"] if starts_at_bias else np.zeros_like(memory)
            values = np.concatenate([np.asarray(found.taken.obs[i, t], np.float64), memory])
            unit = values @ weights["hidden"] / 128
            memory = np.clip(np.round(unit * 128), -127, 127)
            path.append((values, np.abs(unit * 128) <= 127, memory, begins))
        later = np.zeros_like(memory)
        for t, (values, is_open, memory, begins) in reversed(list(enumerate(path))):
            zeros["output"] += np.outer(memory, above[i, t]) / 128
            total = (later + weights["output"] @ above[i, t] / 128) * is_open
            zeros["hidden"] += np.outer(values, total)
            before = (weights["hidden"] @ total)[2:]
            if begins and starts_at_bias:
                zeros["first"] += 127 * before
            later = np.zeros_like(before) if begins else before
    return zeros


@pytest.mark.parametrize(
    "kind, starts_at_bias",
    wide(
        [("float", False), ("ternary", True), slow("float", True), slow("ternary", False)],
        keep=[("ternary", True)],
    ),
)
def test_gradients_flow_through_the_memory_as_the_chain_rule_says(kind, starts_at_bias):
    settings = Elman(3, weights=kind, starts_at_bias=starts_at_bias)
    policy = settings.build(ObsSpec((2,)), ActionSpec("discrete", 2))
    template = policy.init(KEY)
    found = recorded(3, 7, 3)
    above = np.random.default_rng(1).normal(size=(3, 7, 2))
    names = sorted(template)
    latents = [
        0.4 * jax.random.normal(jax.random.fold_in(KEY, i), template[name].values.shape)
        for i, name in enumerate(names)
    ]

    def total(latents):
        params = straight_through_all(template, latents, kind_of(kind))
        return jnp.sum(
            jnp.asarray(above, jnp.float32) * through_time.outputs(policy, params, found)
        )

    gradient = jax.grad(total)(latents)
    made = straight_through_all(template, latents, kind_of(kind))
    weights = {
        name: np.asarray(made[name].values, np.float64) * 2.0 ** -float(made[name].exponent)
        for name in names
    }
    if starts_at_bias:  # it has no exponent: reset takes its values as they are
        weights["first"] = np.asarray(made["first"].values, np.float64)
    by_hand = backwards(weights, found, above, starts_at_bias)
    for name, slope in zip(names, gradient, strict=True):
        factor = 2.0 ** float(made[name].exponent) if name == "first" else 1.0
        assert np.abs(slope).max() > 0
        np.testing.assert_allclose(slope, factor * by_hand[name], rtol=1e-4, atol=1e-3)


def test_sequences_are_steps_in_a_row_and_know_where_episodes_begin():
    numbers = jnp.arange(6)[:, None] + 10 * jnp.arange(2)
    taken = Taken(numbers.astype(jnp.int8)[..., None], numbers * 1.0, numbers < 0, numbers * 1.0)
    is_done = jnp.array([[0, 1], [1, 0], [0, 0], [0, 0], [0, 0], [1, 1]], bool)
    keys = jax.random.split(KEY, (6, 2))
    found = through_time.sequences(taken, is_done, keys, 3)
    rows = [[0, 1, 2], [3, 4, 5], [10, 11, 12], [13, 14, 15]]
    np.testing.assert_array_equal(found.taken.feedback, rows)
    np.testing.assert_array_equal(found.begins[0], [False, False, True])
    np.testing.assert_array_equal(found.begins[2], [False, True, False])
    assert not bool(found.begins[jnp.array([1, 3])].any())
    assert bool(found.keys[0, 2] == keys[1, 0]) and bool(found.keys[2, 1] == keys[0, 1])


# --- replays ----------------------------------------------------------------------------------


@pytest.mark.exact
@pytest.mark.parametrize(
    ("policy_settings", "options"),
    [
        (Elman(4, starts_at_bias=True), {"bptt_length": 4}),
        slow(Elman(5), {}),
        slow(Recurrent(3), {}),
        slow(Plastic(), {}),
    ],
)
def test_the_first_minibatch_replays_the_collection_bit_for_bit(policy_settings, options):
    """Every ratio is exactly 1: a sum of r - 1 - log(r), each 0 or more, is 0."""
    env = envs.make("probe/random_length", 5)
    policy = policy_settings.build(env.obs, env.action)
    settings = PPO(num_envs=6, num_steps=12, num_epochs=1, num_minibatches=1, lr=0.1, **options)
    strategy = settings.build(env, policy, "ternary", 3)
    _, metrics = run(strategy, 3)
    np.testing.assert_array_equal(metrics["ppo/approx_kl"], 0)
    np.testing.assert_array_equal(metrics["ppo/clip_fraction"], 0)
    assert bool(jnp.all(metrics["loss/gradient_norm"] > 0))


def run(strategy, generations, key=KEY):
    """Return the last state, and the metrics of all generations."""

    def go(key):
        key_init, key_run = jax.random.split(key)
        keys = jax.random.split(key_run, generations)
        return jax.lax.scan(lambda s, k: strategy.step(k, s), strategy.init(key_init), keys)

    return quick_jit(go)(key)


@pytest.mark.parametrize("settings", [Recurrent(3), Elman(4, starts_at_bias=True)])
def test_memories_begin_again_as_they_began_in_the_collection(settings):
    env = envs.make("probe/random_length", 3)
    policy = settings.build(env.obs, env.action)
    params = policy.init(KEY)
    quantiser = observation.Quantiser(jnp.zeros(1), jnp.full(1, 64.0))

    def act(key, taken):
        memory, output = jax.vmap(policy.apply, (None, 0, 0))(params, taken.memory, taken.inputs())
        return memory, output, jnp.argmax(output, axis=-1)

    agent = transitions.Agent(params, act, lambda raw: raw, lambda obs, memory: obs[:, 0])
    slots = transitions.begin(env, policy, params, jax.random.key(1), 3)
    yardsticks = transitions.Yardsticks(quantiser, quantiser)
    key = jax.random.key(2)
    _, rows, _ = transitions.collect(env, policy, agent, quantiser, yardsticks, 0.9, key, slots, 12)
    is_done = np.asarray(rows.terminated | rows.truncated)
    keys = transitions.restart_keys(key, 3, 12)
    for t, i in zip(*np.nonzero(is_done[:-1]), strict=True):
        begun = policy.reset(params, keys[t, i])
        np.testing.assert_array_equal(rows.taken.memory[t + 1, i], begun)
    assert is_done[:-1].sum() > 10


# --- a task that needs memory -----------------------------------------------------------------


def exact_return(env: Env, policy: Policy, state, strategy) -> float:
    """Return the expected return of the policy that ships, over all episodes."""
    shipped = strategy.params(state)
    quantiser = observation.freeze(shipped.moments)

    def act(memory, obs):
        seen = transitions.acting.seen_first(obs)
        inputs = transitions.acting.inputs(env.obs, quantiser, seen)
        memory, output = policy.apply(shipped.weights, memory, inputs)
        return memory, actions.mode(env.action, output)

    return float(jnp.mean(returns_of_all(env, act, policy.reset(shipped.weights, KEY))))


@pytest.mark.parametrize(
    ("settings", "generations", "wanted"), [(Elman(8), 40, 1.0), slow(MLP((8,)), 10, 0.5)]
)
def test_recall_is_solved_with_a_memory_and_never_without(settings, generations, wanted):
    env = envs.make("probe/recall", 4)
    policy = settings.build(env.obs, env.action)
    options = {"num_envs": 32, "num_steps": 16, "num_minibatches": 4, "lr": 0.01}
    strategy = PPO(**options).build(env, policy, "ternary", generations)
    state, _ = run(strategy, generations)
    assert exact_return(env, policy, state, strategy) == wanted


@pytest.mark.parametrize(("settings", "size"), [(Elman(4), 2 + 4), (Plastic(), 2 + 4), (MLP(), 2)])
def test_the_critic_sees_the_observation_and_the_memory(settings, size):
    """Recall shows two numbers; the memory of `Plastic` is two arrays of two."""
    env = envs.make("probe/recall", 4)
    strategy = PPO().build(env, settings.build(env.obs, env.action), "ternary", 1)
    critic = unwrapped(jax.eval_shape(strategy.init, KEY)).learner.learned.critic
    assert critic["params"]["Dense_0"]["kernel"].shape == (size, 64)


@pytest.mark.slow
@pytest.mark.exact
def test_seeds_in_one_program_learn_as_they_would_alone():
    env = envs.make("probe/recall", 4)
    policy = Elman(4).build(env.obs, env.action)
    strategy = PPO(num_envs=8, num_steps=8, num_minibatches=2).build(env, policy, "ternary", 4)
    keys = jnp.stack([jax.random.key(1), jax.random.key(2)])
    together = across_seeds(strategy, 2)
    state = together.init(keys)
    rounds = jax.vmap(lambda key: jax.random.split(key, 3), out_axes=1)(keys)
    for row in rounds:
        state, _ = together.step(row, state)
    for i, key in enumerate(keys):
        alone = strategy.init(key)
        for row in rounds:
            alone, _ = strategy.step(row[i], alone)
        one = strategy.params(alone).weights
        other = jax.tree.map(lambda x, i=i: x[i], together.params(state).weights)
        jax.tree.map(np.testing.assert_array_equal, one, other)


# --- what is refused --------------------------------------------------------------------------


def build(policy_settings, **options):
    env = envs.make("probe/recall", 4)
    policy = policy_settings.build(env.obs, env.action)
    return PPO(**options).build(env, policy, policy_settings.weights, 1)


def test_minibatches_that_would_cut_an_environment_are_refused():
    message = r"has 6 of 8 steps .*: --num_minibatches must divide 6, got 4; a shorter --bptt_l"
    with pytest.raises(ValueError, match=message):
        build(Elman(), num_envs=6, num_steps=8, num_minibatches=4)
    build(Elman(), num_envs=6, num_steps=8, num_minibatches=4, bptt_length=4)
    build(MLP(), num_envs=6, num_steps=8, num_minibatches=4)


def test_lengths_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"bptt_length must divide num_steps = 8, .* got 3"):
        PPO(num_steps=8, bptt_length=3)
    with pytest.raises(ValueError, match=r"--bptt_length 4 is for policies with memory"):
        build(MLP(), num_steps=8, bptt_length=4)


def test_a_memory_that_takes_its_type_from_the_weights_is_refused():
    policy = Elman(starts_at_bias=True).build(ObsSpec((2,)), ActionSpec("discrete", 2))
    policy = policy._replace(reset=lambda params, key: params["first"].values)
    env = envs.make("probe/recall", 4)
    with pytest.raises(ValueError, match=r"memory of int8\[8\].*of float32\[8\].*same for both"):
        PPO().build(env, policy, "ternary", 1)
