"""Imitation: losses against numbers by hand, and a teacher that the student can be exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ternevo.arithmetic import observation
from ternevo.arithmetic.observation import Quantiser
from ternevo.arithmetic.weights import kind_of
from ternevo.learners import imitation
from ternevo.learners.imitation import Labelled, Learned, Student
from ternevo.settings.policies import MLP
from ternevo.types import ActionSpec, ObsSpec

UNIT = Quantiser(jnp.zeros(2), jnp.full(2, 128.0))
"""Half a unit of an observation becomes 64 of 127."""


def student(action: ActionSpec, weights="float", hidden_sizes=()) -> Student:
    obs = ObsSpec((2,))
    settings = MLP(hidden_sizes, weights=weights, use_bias=weights == "float", observation_shift=0)
    policy = settings.build(obs, action)
    template = jax.eval_shape(policy.init, jax.random.key(0))
    return Student(policy, template, kind_of(weights), obs, action)


def linear(weight, bias, log_scale=0.0) -> Learned:
    return Learned([jnp.asarray(bias), jnp.asarray(weight)], jnp.asarray(log_scale))


def batch(obs, target) -> Labelled:
    return Labelled(jnp.asarray(obs, jnp.float32), jnp.asarray(target, jnp.float32))


def test_the_loss_of_discrete_actions_is_the_cross_entropy():
    """Outputs 1/2 and 0, twice as far apart by the scale: log odds of 1."""
    learned = linear([[1.0, 0.0], [0.0, 0.0]], [0.0, 0.0], np.log(2.0))
    one = student(ActionSpec("discrete", 2))
    for target in ([1.0, 0.0], [0.0, 1.0], [0.25, 0.75]):
        loss, metrics = one.loss(UNIT, learned, batch([[0.5, 0.0]], [target]))
        first = 1 / (1 + np.exp(-1.0))
        wanted = -(target[0] * np.log(first) + target[1] * np.log(1 - first))
        assert loss == pytest.approx(wanted, rel=1e-5)
        assert metrics["loss/imitation"] == loss


def test_the_loss_of_continuous_actions_is_the_squared_error_of_what_ships():
    """Outputs 2 and 1/2 are 1 and 1/2 once clipped."""
    learned = linear([[4.0, 1.0], [0.0, 0.0]], [0.0, 0.0])
    one = student(ActionSpec("continuous", 2, (-1.0, -1.0), (1.0, 1.0)))
    loss, _ = one.loss(UNIT, learned, batch([[0.5, 0.0]], [[0.5, -0.5]]))
    assert loss == pytest.approx((0.5**2 + 1.0**2) / 2)


def test_an_output_beyond_a_wanted_bound_stays_and_any_other_comes_back():
    action = ActionSpec("continuous", 1, (-1.0,), (1.0,))
    one, learned = student(action), linear([[4.0], [0.0]], [0.0])

    def slope(target: float):
        data = batch([[0.5, 0.0]], [[target]])
        gradient = jax.grad(lambda x: one.loss(UNIT, x, data)[0])(learned)
        return float(gradient.latents[1][0, 0])

    assert slope(1.0) == 0
    assert slope(0.5) == pytest.approx(2 * (1 - 0.5) * 0.5)


@pytest.mark.parametrize("weights", ["ternary", "binary"])
def test_a_student_becomes_a_teacher_of_its_own_kind(weights):
    """Signs of a difference: two outputs of two trits each, and the shipped params say so."""
    obs = np.random.default_rng(0).normal(size=(512, 2)).astype(np.float32)
    best = (obs[:, 0] < obs[:, 1]).astype(int)
    data = Labelled(jnp.asarray(obs), jnp.eye(2)[best])
    one = student(ActionSpec("discrete", 2), weights)
    quantiser = Quantiser(jnp.zeros(2), jnp.full(2, 32.0))
    rows = jnp.asarray(np.random.default_rng(1).integers(0, 512, (300, 64)))
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 300))
    learned, metrics = imitation.train(
        one, optimizer, quantiser, one.init(jax.random.key(0)), data, rows
    )
    shipped = one.shipped(learned)
    assert all(tensor["weight"].values.dtype == jnp.int8 for tensor in shipped)
    output = one.outputs(shipped, quantiser, data.obs)
    assert (output.argmax(1) == best).mean() > 0.99
    assert metrics["loss/imitation"] < 0.3
    assert metrics["loss/gradient_norm"] > 0


def test_moments_leave_out_what_is_not_finite():
    obs = np.array([[1.0, np.inf, np.nan], [3.0, 2.0, np.nan]])
    moments = observation.of_all(obs)
    np.testing.assert_array_equal(moments.count, [2, 1, 0])
    np.testing.assert_array_equal(moments.mean, [2, 2, 0])
    np.testing.assert_array_equal(moments.deviation, [1, 0, 0])
