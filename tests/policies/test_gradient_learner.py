"""Gradient steps within a life, by hand and beside those of `jax.grad`; files; clear errors."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import wide

from ternevo import envs, problems
from ternevo.arithmetic import observation
from ternevo.policies import adaptable, contract, policy_file
from ternevo.policies.layers import ACTIVATIONS
from ternevo.problems import Plan
from ternevo.settings.command_line import parse
from ternevo.settings.policies import MLP, ESLearner, GradientLearner, HillClimber, QLearner
from ternevo.settings.wrappers import Wrappers
from ternevo.training import setup
from ternevo.types import ActionSpec, Inputs, ObsSpec, PolicyParams, Population, Tensor

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
KEY = jax.random.key(0)
ONE, TWO = ObsSpec((1,), "integers"), ObsSpec((2,), "integers")
PUSH, CHOICE = ActionSpec("continuous", 1, (-1.0,), (1.0,)), ActionSpec("discrete", 3)
EXAMPLES = GradientLearner(learns_from="examples", num_gradient_steps=2, evolve_mask=False)


def drawn(settings, obs, action, seed=0):
    """Return a policy and its first params, with biases that are not 0."""
    policy = contract.build(settings, obs, action)
    params = quick_jit(policy.init)(jax.random.key(seed))
    rng = np.random.default_rng(seed)
    layers = []
    for layer in params:
        bias = layer["bias"]
        values = rng.integers(-1, 2, bias.values.shape)
        layers.append({**layer, "bias": bias._replace(values=values.astype(bias.values.dtype))})
    return policy, tuple(layers)


def lived(policy, params, told):
    """Return all memories and outputs of a life that is told observations, feedback, beginnings."""

    @quick_jit
    def live():
        def step(memory, inputs):
            memory, output = policy.apply(params, memory, inputs)
            return memory, (memory, output)

        obs, feedback, is_first = map(jnp.asarray, told)
        given = Inputs(obs.astype(jnp.float32), feedback.astype(jnp.float32), is_first)
        return jax.lax.scan(step, policy.reset(params, KEY), given)[1]

    return jax.tree.map(np.asarray, live())


def script(obs_size, num_episodes=3, length=4, seed=1):
    """Return what a life of episodes is told."""
    rng, steps = np.random.default_rng(seed), num_episodes * length + 1
    obs = rng.integers(-127, 128, (steps, obs_size))
    feedback = rng.normal(size=steps)
    feedback[0] = 0
    return obs, feedback, np.arange(steps) % length == 0


def predictions(settings, params, latents, obs):
    """Return the outputs of a float network of one hidden layer in plain arithmetic."""
    values = obs / 2 ** (7 - settings.observation_shift)
    full = 127 / 2 ** (7 - settings.observation_shift)  # a bias counts full scale of its inputs
    last = len(params) - 1
    for i, (weight, bias) in enumerate(latents):
        values = values @ weight + bias * full
        values, full = (values, 1.0) if i == last else (jnp.tanh(values), 1.0)
    return values


def test_a_step_from_examples_is_that_of_the_mean_squared_error():
    """Two routes: the memory of the policy, and `jax.grad` of the loss of all examples at once."""
    settings = GradientLearner(
        (5,), "tanh", weights="float", learns_from="examples", rate=3, num_gradient_steps=2
    )
    policy, params = drawn(settings, TWO, PUSH)
    obs, feedback, is_first = script(2)
    lives, _ = lived(policy, params, (obs, feedback, is_first))
    own = adaptable.build(settings.layered, TWO, PUSH, "gradient_learner", True)
    pace = adaptable.paces(own, params)

    def loss(vector, batch):
        seen, right = batch
        outputs = jax.vmap(lambda x: adaptable.output(own, params, vector, x)[0])(seen)
        return jnp.mean((outputs - right) ** 2)

    vector = adaptable.flat(own, params)
    pairs = jnp.asarray(obs[:12], jnp.float32), jnp.asarray(feedback[1:], jnp.float32)
    for step in (0, 1):
        batch = tuple(x[4 * step : 4 * step + 4] for x in pairs)
        vector = vector - 2.0**-3 * pace * jax.grad(loss)(vector, batch)
        np.testing.assert_allclose(lives.latents[4 * step + 4], vector, rtol=2e-4, atol=2e-6)
    np.testing.assert_array_equal(lives.latents[-1], lives.latents[8])  # two steps, and no more
    assert lives.updates.tolist() == [0] * 4 + [1] * 4 + [2] * 5


def test_the_network_is_that_of_plain_arithmetic():
    settings = GradientLearner((5,), "tanh", weights="float", learns_from="examples")
    policy, params = drawn(settings, TWO, PUSH)
    told = script(2)
    layers = [(layer["weight"].values, layer["bias"].values) for layer in params]
    found = lived(policy, params, told)[1][:4]
    wanted = predictions(settings, params, layers, jnp.asarray(told[0][:4], jnp.float32))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert ACTIVATIONS["tanh"].num_bits == 0


@pytest.mark.parametrize(
    "action", [pytest.param(PUSH, marks=pytest.mark.slow), CHOICE], ids=["normal", "softmax"]
)
def test_a_step_from_rewards_is_that_of_reinforce(action):
    """By rewards-to-go and log-probabilities of a whole batch of two episodes, after the fact."""
    settings = GradientLearner(
        weights="float", num_gradient_steps=2, step_episodes=2, rate=5, evolve_mask=False
    )
    policy, params = drawn(settings, TWO, action)
    obs, feedback, is_first = script(2, num_episodes=4)
    lives, outputs = lived(policy, params, (obs, feedback, is_first))
    own = adaptable.build(settings.layered, TWO, action, "gradient_learner", False)

    def log_prob(vector, seen, output):
        plain = adaptable.output(own, params, vector, seen)
        if action.kind == "discrete":
            return jax.nn.log_softmax(plain)[jnp.argmax(output)]
        return -jnp.sum((plain - output) ** 2) / (2 * settings.action_noise**2)

    vector, baseline = adaptable.flat(own, params), 0.0
    for step in (0, 1):
        steps = range(8 * step, 8 * step + 8)
        paid = feedback[8 * step + 1 : 8 * step + 9]
        togo = [(paid[i : 4 * (i // 4) + 4] - baseline).sum() for i in range(8)]

        def objective(vector, steps=steps, togo=togo):
            terms = [
                value * log_prob(vector, jnp.asarray(obs[t], jnp.float32), outputs[t])
                for t, value in zip(steps, togo, strict=True)
            ]
            return sum(terms) / 2

        vector = vector + 2.0**-5 * jax.grad(objective)(vector)
        np.testing.assert_allclose(lives.latents[8 * step + 8], vector, rtol=1e-3, atol=1e-5)
        baseline = paid.mean()
    plain = adaptable.output(own, params, jnp.asarray(vector), jnp.asarray(obs[-1], jnp.float32))
    np.testing.assert_allclose(outputs[-1], plain, rtol=1e-3, atol=1e-5)  # without noise at last


def test_a_step_of_a2c_is_that_of_numpy_on_episodes_of_two_steps():
    """By hand, for a linear policy of two actions: no traces, and no derivative by JAX."""
    settings = GradientLearner(
        weights="float", inner="a2c", num_gradient_steps=2, credit_decay=0.9, evolve_mask=False
    )
    policy, params = drawn(settings, TWO, CHOICE)
    obs, feedback, is_first = script(2, num_episodes=2, length=2)
    lives, outputs = lived(policy, params, (obs, feedback, is_first))
    (layer,) = params
    matrix = np.concatenate([layer["weight"].values, layer["bias"].values[None]]).astype(float)
    critic, features = np.zeros(3), np.append(obs / 127, np.ones((5, 1)), 1)
    full = 127 / 2 ** (7 - settings.observation_shift)  # of an input of the policy
    for episode in (0, 1):
        seen, taken = features[2 * episode : 2 * episode + 2], outputs[2 * episode :].argmax(1)
        first, second = feedback[2 * episode + 1 : 2 * episode + 3]
        advantage = np.array([first + 0.9 * second, second]) - seen @ critic
        logits = full * seen @ matrix
        chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        slopes = np.eye(3)[taken[:2]] - chances
        matrix = matrix + 0.25 * full * seen.T @ (advantage[:, None] * slopes)
        critic = critic + 0.25 * (advantage @ seen) / 2  # of the mean over both steps
        life = jax.tree.map(lambda x, at=2 * episode + 2: x[at], lives)
        wanted = np.append(matrix[:2].T, matrix[2])  # in the order of a file
        np.testing.assert_allclose(life.latents, wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(life.critic.weights, critic, rtol=1e-5, atol=1e-6)
    assert np.abs(critic).min() > 0.01


def test_a_critic_sees_what_a_mean_reward_hides():
    """A state is worth 5 or -5 whatever is done there, and the right action pays 1 more.

    In 100 steps of 4 episodes of one step, who knows the value of a state learns to act, and the
    mean reward as the baseline leaves noise of 5 in each return.
    """
    options = {"num_gradient_steps": 100, "step_episodes": 4, "rate": 4, "evolve_mask": False}

    @functools.partial(jax.jit, static_argnums=0)
    def chances(inner):
        settings = GradientLearner(weights="float", inner=inner, **options)
        policy = contract.build(settings, ONE, ActionSpec("discrete", 2))
        params = jax.tree.map(jnp.zeros_like, policy.init(KEY))
        own = adaptable.build(settings.layered, ONE, ActionSpec("discrete", 2), "", False)

        def life(key):
            def step(carry, key):
                memory, reward = carry
                state = jax.random.rademacher(key, (), jnp.float32)
                inputs = Inputs(127 * state[None], reward, jnp.asarray(True))
                memory, output = policy.apply(params, memory, inputs)
                return (memory, 5 * state + jnp.argmax(output)), None

            key_memory, key_steps = jax.random.split(key)
            carry = policy.reset(params, key_memory), jnp.zeros(())
            memory = jax.lax.scan(step, carry, jax.random.split(key_steps, 401))[0][0]
            output = adaptable.output(own, params, memory.latents, jnp.zeros(1))
            return jax.nn.softmax(output)[1], memory.critic

        return jax.vmap(life)(jax.random.split(KEY, 64))

    (without, _), (with_it, critic) = chances("reinforce"), chances("a2c")
    assert np.mean(with_it > 0.9) > 0.8 and np.mean(without > 0.9) < 0.6
    np.testing.assert_allclose(critic.weights.mean(0), [5, 0.95], atol=0.1)


def test_trits_act_all_life_long_and_change_only_beyond_the_cut():
    """A bias of 0 learns to say 1: its latent rises, and acts from 0.5 on."""
    settings = GradientLearner(
        learns_from="examples", num_gradient_steps=6, rate=2, evolve_mask=False
    )
    policy, params = drawn(settings, ONE, PUSH)
    zero = jnp.zeros_like
    (layer,) = params
    layer = {
        **layer,
        "weight": Tensor(zero(layer["weight"].values), jnp.int8(0)),
        "bias": Tensor(zero(layer["bias"].values), jnp.int8(2)),  # one unit
    }
    obs, is_first = np.zeros((7, 1)), np.ones(7, bool)
    feedback = np.array([0, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6])
    lives, outputs = lived(policy, (layer,), (obs, feedback, is_first))
    step = 0.25 * 2 * 0.6  # rate 2**-2
    np.testing.assert_allclose(lives.latents[:3, 1], [0, step, 2 * step], rtol=1e-5)
    np.testing.assert_allclose(outputs[:3, 0], [0, 0, 1], rtol=1e-6)
    assert set(np.unique(outputs[2:])) <= {0, 1}
    assert np.abs(lives.latents).max() <= 1


def test_masks_and_rates_say_how_fast_weights_change():
    settings = GradientLearner(learns_from="examples", num_gradient_steps=1, rate=8)
    policy, params = drawn(settings, TWO, PUSH)
    (layer,) = params

    def moved(weight_mask, digits):
        own = {
            **layer,
            "weight": layer["weight"]._replace(values=jnp.zeros((2, 1), jnp.int8)),
            "bias": layer["bias"]._replace(values=jnp.zeros(1, jnp.int8)),
            "weight_mask": Tensor(jnp.array(weight_mask, jnp.int8)[:, None], jnp.int8(0)),
            "rate": Tensor(jnp.array(digits, jnp.int8)[:, None], jnp.int8(0)),
        }
        told = np.full((2, 2), 100), np.array([0.0, 1.0]), np.ones(2, bool)
        return lived(policy, (own,), told)[0].latents[1][:2]

    free, slow = moved([1, 0], [0, 0])
    assert free > 0
    np.testing.assert_allclose(free / slow, 8, rtol=1e-5)
    np.testing.assert_allclose(moved([1, -1], [1, 1]), [free * 2**4, 0], rtol=1e-5)
    np.testing.assert_allclose(moved([1, 1], [-1, 0]), [free / 2] * 2, rtol=1e-5)


def test_what_a_life_learned_can_be_inherited():
    """Lamarck: a life that begins with it acts as the one that learned it; masks stay."""
    settings = GradientLearner((4,), learns_from="examples", num_gradient_steps=2, rate=-2)
    policy, params = drawn(settings, TWO, PUSH)
    told = script(2)
    lives, outputs = lived(policy, params, told)
    own = adaptable.build(settings.layered, TWO, PUSH, "gradient_learner", True)
    child = adaptable.inherited(own, params, jnp.asarray(lives.latents[-1]))
    assert child[0]["weight"].values.dtype == jnp.int8
    chex.assert_trees_all_equal(child[0]["weight_mask"], params[0]["weight_mask"])
    assert not np.array_equal(child[0]["weight"].values, params[0]["weight"].values)
    first = lived(policy, child, tuple(x[-1:] for x in told))[1][0]
    np.testing.assert_array_equal(first, outputs[-1])


@pytest.mark.parametrize("inner", wide(["reinforce", "a2c"], keep=["a2c"]))
def test_a_direction_is_learned_in_a_life(inner):
    """By hand: only the bias may change, and follows the rewards of three episodes.

    Each step of these has an expected gradient of 1 and a deviation of the root of 2 (the square of
    a normal number), so that of the mean of 30 steps is wrong in no life of a thousand.
    """
    options = {"num_gradient_steps": 1, "step_episodes": 3, "credit_decay": 0.0}
    settings = GradientLearner(rate=1, inner=inner, **options)
    env = envs.make("meta/hidden_direction", None, Wrappers(lifetime=4))
    policy, (layer,) = drawn(settings, env.obs, env.action)
    none = jnp.int8(0)
    layer = {
        **layer,
        "weight": Tensor(jnp.zeros((1, 1), jnp.int8), none),
        "bias": Tensor(jnp.zeros(1, jnp.int8), none),
        "weight_mask": Tensor(-jnp.ones((1, 1), jnp.int8), none),
        "bias_mask": Tensor(jnp.ones(1, jnp.int8), none),
    }
    population = Population(jax.tree.map(lambda x: jnp.asarray(x)[None], (layer,)))
    problem = problems.of(policy, env, Plan(64))
    run = quick_jit(lambda: problem.evaluate(KEY, population, observation.empty(1), jnp.int32(0)))
    np.testing.assert_array_equal(run().returns, 10)


@pytest.mark.wide  # as those of test_built_in_policies.py
def test_a_learner_comes_back_from_its_file(tmp_path):
    settings, env = GradientLearner((3,)), envs.make("meta/hidden_direction")
    params = quick_jit(contract.build(settings, env.obs, env.action).init)(KEY)
    path = tmp_path / "policy.npz"
    shipped = PolicyParams(params, observation.empty(1))
    policy_file.save(path, env, "gradient_learner", settings, shipped)
    found = policy_file.load(path)
    assert (found.policy_name, found.settings) == ("gradient_learner", settings)
    chex.assert_trees_all_equal(found.weights, params)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GradientLearner(weights="binary"), "use --weights ternary or float, not binary"),
        (lambda: GradientLearner(rate=17), "rate must be -8 to 16, got 17"),
        (lambda: GradientLearner(action_noise=0.0), "action_noise must be positive"),
        (lambda: GradientLearner(credit_decay=1.5), "credit_decay must be 0 to 1"),
        (lambda: GradientLearner(value_rate=17), "value_rate must be -8 to 16, got 17"),
        (lambda: GradientLearner(learns_from="examples", inner="a2c"), "--inner a2c learns values"),
        (lambda: EXAMPLES.build(ONE, CHOICE), "3 discrete; use --learns_from rewards"),
        (lambda: EXAMPLES.build(ObsSpec((4,), "planes"), PUSH), "planes have one"),
    ],
)
def test_impossible_settings_are_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ("--policy gradient_learner --num_gradient_steps 5 --step_episodes 2", 11),
        ("--policy hill_climber --num_trials 20 --trial_episodes 3", 64),
        ("--policy es_learner --num_es_steps 2 --queries 6", 13),
    ],
)
def test_a_lifetime_that_ends_before_all_is_learned_is_refused(options, least):
    given = f"--env meta/hidden_direction {options} --lifetime".split()
    parse([*given, str(least)]).check_lifetime()
    parse([*given, "2", "--counted", "all"]).check_lifetime()
    with pytest.raises(
        ValueError, match=rf"--lifetime must be at least {least} .* got {least - 1}"
    ):
        parse([*given, str(least - 1)]).check_lifetime()


@pytest.mark.parametrize(
    "options",
    ["--policy hill_climber --num_trials 0", "--policy gradient_learner --num_gradient_steps 0"],
)
def test_what_learns_nothing_needs_no_lifetime(options):
    parse([*f"--env meta/hidden_direction {options}".split()]).check_lifetime()


def test_a_run_refuses_a_short_lifetime_before_it_is_built():
    options = "--env meta/four_corners --policy hill_climber --lifetime 3"
    with pytest.raises(ValueError, match=r"--lifetime must be at least 22 .* got 3"):
        setup.build(parse([*options.split()]))


@pytest.mark.parametrize(
    ("settings", "env_id"),
    [
        (GradientLearner(), "meta/sines"),
        (HillClimber(), "meta/sines"),
        (ESLearner(), "meta/sines@unseen"),
        (QLearner(), "meta/sines"),
        (EXAMPLES, "meta/hidden_direction"),
    ],
)
def test_who_learns_of_what_is_not_told_is_refused(settings, env_id):
    """A right value is not a reward, nor a reward a right value: either would be nonsense."""
    env = envs.make(env_id, None, Wrappers(lifetime=3, frame_stack=2))
    told = "right values" if "sines" in env_id else "rewards"
    with pytest.raises(ValueError, match=f"{env_id} tells {told}.*, and {type(settings).__name__}"):
        contract.shown_to(settings, env)


def test_who_learns_of_what_is_told_is_let_through():
    lives = Wrappers(lifetime=3)
    for settings, env_id in (
        (EXAMPLES, "meta/sines"),
        (GradientLearner(), "meta/hidden_direction"),
        (HillClimber(), "meta/four_corners"),
        (MLP(), "meta/sines"),
        (QLearner(learns="nothing"), "meta/sines"),
    ):
        env = envs.make(env_id, None, lives)
        assert contract.shown_to(settings, env) == env


def test_a_run_refuses_it_too():
    options = "--env meta/sines --policy hill_climber --lifetime 22"
    with pytest.raises(ValueError, match="--policy gradient_learner with --learns_from examples"):
        setup.build(parse([*options.split()]))
