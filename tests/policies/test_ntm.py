"""Neural Turing machines with soft attention: heads by hand, gradients through time, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_entm import copier

from ternevo.arithmetic import observation
from ternevo.envs import memory
from ternevo.learners import sequence_imitation as imitation
from ternevo.learners.sequence_imitation import Sequences
from ternevo.policies import contract, ntm, policy_file
from ternevo.settings.policies import ENTM, NTM
from ternevo.types import PolicyParams

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
KEY = jax.random.key(0)
ENV = memory.copy(bits=2, longest=3)
SMALL = NTM(lstm_size=3, num_slots=4, slot_size=2)


def moved_by_hand(head, slots, before):
    """Equations 5 to 9 of Graves et al., in loops and float64."""
    cosines = [s @ head.key / (np.linalg.norm(s) * np.linalg.norm(head.key)) for s in slots]
    content = np.exp(head.strength * np.array(cosines))
    content /= content.sum()
    gated = head.gate * content + (1 - head.gate) * before
    count = len(slots)
    gated = np.asarray(gated, float)
    shifted = np.zeros(count)
    for i in range(count):
        for j, share in zip((-1, 0, 1), head.shift, strict=True):
            shifted[(i + j) % count] += gated[i] * share
    sharp = shifted**head.sharpness
    return sharp / sharp.sum()


def test_heads_move_as_in_the_paper():
    rng = np.random.default_rng(0)
    slots, before = rng.normal(size=(5, 3)), rng.dirichlet(np.ones(5))
    numbers = rng.normal(size=3), 2.5, 0.7, rng.dirichlet(np.ones(3)), 1.8
    head = ntm.Head(*map(jnp.float32, numbers))
    found = ntm.moved(head, jnp.float32(slots), jnp.float32(before))
    np.testing.assert_allclose(found, moved_by_hand(head, slots, before), rtol=1e-3)
    one = jnp.float32(1.0)
    keeps = head._replace(gate=one * 0, shift=jnp.eye(3)[2], sharpness=one)
    onwards = ntm.moved(keeps, jnp.float32(slots), jnp.eye(5)[4])
    np.testing.assert_allclose(onwards, np.eye(5)[0], atol=1e-4)  # right, and around the end


def test_what_is_written_replaces_what_is_erased():
    slots = jnp.array([[1.0, 2], [3, 4]])
    where, erase, add = jnp.array([1.0, 0]), jnp.array([1.0, 0]), jnp.array([7.0, 1])
    np.testing.assert_array_equal(ntm.written(slots, where, erase, add), [[7, 3], [3, 4]])


def copies(count=8) -> Sequences:
    episode = quick_jit(jax.vmap(lambda key: memory.copies(ENV, key)))
    return Sequences(*episode(jax.random.split(KEY, count)))


def test_a_machine_that_copies_makes_no_error():
    """The labels, told by the evolved machine that is right by hand, and by its opposite."""
    batch = copies()
    np.testing.assert_allclose(batch.weight.sum(1), 1, rtol=1e-6)
    policy = contract.build(ENTM(cell_size=3, num_cells=5), ENV.obs, ENV.action)
    errors = quick_jit(lambda batch: imitation.errors(policy, copier(2), batch))
    assert float(errors(batch)) == 0
    assert float(errors(batch._replace(target=-batch.target))) == 1


def test_gradients_go_through_the_memory():
    """Those of the loss equal differences, also of weights that only act through the slots."""
    policy, batch = contract.build(SMALL, ENV.obs, ENV.action), copies(2)
    params = quick_jit(policy.init)(KEY)
    silent = {**params, "output": params["output"]._replace(values=params["output"].values * 0)}

    def of(values):
        return imitation.loss(policy, imitation.with_values(params, values), batch)[0]

    loss = quick_jit(of)

    values = {name: tensor.values for name, tensor in params.items()}
    zero = {name: tensor.values for name, tensor in silent.items()}
    assert float(loss(zero)) == pytest.approx(np.log(2), rel=1e-5)
    slopes = quick_jit(jax.grad(of))(values)
    rng = np.random.default_rng(0)
    for name, slope in slopes.items():
        ahead = rng.normal(size=slope.shape).astype(np.float32)
        ahead /= np.linalg.norm(ahead)
        step = 1e-2
        beside = [{**values, name: values[name] + sign * step * ahead} for sign in (1, -1)]
        difference = (float(loss(beside[0])) - float(loss(beside[1]))) / (2 * step)
        assert difference == pytest.approx(float(np.sum(slope * ahead)), rel=0.05, abs=1e-3)


@pytest.mark.slow
def test_it_learns_to_copy_a_vector():
    env = memory.copy(bits=2, longest=1)
    policy, optimizer = contract.build(NTM(), env.obs, env.action), optax.adam(1e-2)

    @jax.jit
    def train(key):
        def one(learned, key):
            keys = jax.random.split(key, 16)
            batch = Sequences(*jax.vmap(lambda key: memory.copies(env, key))(keys))
            return imitation.step(policy, optimizer, learned, batch)[0], batch

        begun = imitation.begin(policy, optimizer, key)
        (params, _), batches = jax.lax.scan(one, begun, jax.random.split(key, 300))
        return imitation.errors(policy, params, jax.tree.map(lambda x: x[-1], batches))

    assert float(train(KEY)) == 0


def test_its_file_is_an_archive(tmp_path):
    policy = contract.build(SMALL, ENV.obs, ENV.action)
    params = PolicyParams(quick_jit(policy.init)(KEY), observation.empty(ENV.obs.size))
    path = tmp_path / "policy.npz"
    policy_file.save(path, ENV, "ntm", SMALL, params)
    found = policy_file.load(path)
    assert (found.policy_name, found.settings) == ("ntm", SMALL)
    for name, tensor in params.weights.items():
        np.testing.assert_array_equal(found.weights[name].values, tensor.values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NTM(weights="ternary"), "needs --weights float, got ternary.*--policy entm"),
        (lambda: NTM(num_slots=0), "num_slots must be at least 1"),
    ],
)
def test_impossible_machines_are_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()
