"""Every built-in policy: what it sees, its file, the integers that ship, a run, clear errors."""

import dataclasses
import functools
from typing import Any, get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import wide
from policy_inputs import inputs

from ternevo import envs, run
from ternevo.arithmetic import observation
from ternevo.deploy import integer, runtime, tvp
from ternevo.names import WrongObject
from ternevo.policies import contract, graph, policy_file
from ternevo.policies.acting import seen_first
from ternevo.policies.policy_archive import OBS_KINDS
from ternevo.settings.policies import (
    MLP,
    POLICIES,
    Conv,
    Graph,
    HyperNEAT,
    PolicySettings,
    Recurrent,
    ResNet,
)
from ternevo.settings.policies.settings import FUNCTIONS
from ternevo.strategies import warm_start
from ternevo.types import ActionSpec, Inputs, ObsKind, ObsSpec, PolicyParams, Tensor

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
ACTION = ActionSpec("discrete", 4)
IMAGE, FLAT = (11, 10, 3), (9,)
CASES: dict[str, tuple[PolicySettings, ObsSpec]] = {
    "mlp": (MLP((12,)), ObsSpec(FLAT)),
    "mlp of bits": (
        MLP((12,), "sign", observation_moments=False, scales="output"),
        ObsSpec(IMAGE, "bits"),
    ),
    "conv": (Conv(hidden_sizes=(20,)), ObsSpec(IMAGE, "bits")),
    "conv without channels": (Conv(hidden_sizes=()), ObsSpec((8, 8), "integers")),
    "conv of pixels": (
        Conv(filters=((6, 4, 2), (5, 2, 1)), activation="sign", scales="output", weights="binary"),
        ObsSpec(IMAGE, "pixels"),
    ),
    "conv of few bits": (
        Conv(filters=((4, 3, 3),), activation="int4", observation_bits=3, observation_shift=1),
        ObsSpec(IMAGE),
    ),
    "conv of trits": (
        Conv(hidden_sizes=(7,), activation="ternary", use_bias=False, output_shift=2),
        ObsSpec(IMAGE, "bits"),
    ),
    "resnet": (ResNet(channels=(5,), hidden_sizes=(10,)), ObsSpec(IMAGE, "bits")),
    "resnet of pixels": (
        ResNet(channels=(4, 3), hidden_sizes=(), scales="output", activation="int4"),
        ObsSpec((22, 23, 2), "pixels"),
    ),
    "elman": (Recurrent(cell="elman", memory_size=6), ObsSpec(FLAT)),
    "gated": (Recurrent(memory_size=6, scales="output"), ObsSpec(FLAT)),
    "elman of signs": (
        Recurrent((7,), "sign", cell="elman", memory_size=6, weights="binary"),
        ObsSpec(FLAT, "pixels"),
    ),
    "gated of bits": (
        Recurrent((7,), memory_size=6, observation_moments=False),
        ObsSpec(IMAGE, "bits"),
    ),
    "gated of 4 bits": (Recurrent((7, 5), "int4", memory_size=6), ObsSpec(FLAT, "integers")),
    "gated of trits": (Recurrent((7,), "ternary", memory_size=6), ObsSpec(FLAT)),
    "graph": (Graph(max_hidden=5), ObsSpec(FLAT)),
    "graph without memory": (Graph(max_hidden=5, update="feed_forward"), ObsSpec(FLAT)),
    "graph of copies": (Graph(max_hidden=3, copies=2), ObsSpec((6,), "integers")),
    "graph of copies without memory": (
        Graph(max_hidden=3, update="feed_forward", max_depth=2, copies=4),
        ObsSpec((8,)),
    ),
    "graph of integers": (
        Graph(max_hidden=3, copies=4, weights="int8"),
        ObsSpec((8,), "integers"),
    ),
    "graph of integers without memory": (
        Graph(max_hidden=3, update="feed_forward", max_depth=3, weights="int8"),
        ObsSpec(FLAT),
    ),
    "graph of 4 bits": (
        Graph(max_hidden=3, update="feed_forward", max_depth=2, activation="int4"),
        ObsSpec(FLAT, "integers"),
    ),
    "graph of trits": (
        Graph(max_hidden=3, update="feed_forward", max_depth=3, activation="ternary"),
        ObsSpec(FLAT, "pixels"),
    ),
    "graph of functions": (Graph(max_hidden=5, node_functions=FUNCTIONS), ObsSpec(FLAT)),
    "graph of functions without memory": (
        Graph(max_hidden=5, update="feed_forward", max_depth=3, node_functions=FUNCTIONS, copies=2),
        ObsSpec((8,)),
    ),
    "graph of trits and functions": (
        Graph(max_hidden=5, activation="ternary", node_functions=FUNCTIONS),
        ObsSpec(FLAT),
    ),
}
FLOATS = {
    "mlp of bits": (
        MLP((6,), "tanh", observation_moments=False, weights="float"),
        ObsSpec(FLAT, "bits"),
    ),
    "conv": (Conv(activation="relu", weights="float"), ObsSpec(IMAGE, "bits")),
    "resnet": (ResNet(channels=(4,), activation="relu", weights="float"), ObsSpec(IMAGE, "pixels")),
    "elman": (Recurrent((6,), "tanh", cell="elman", weights="float"), ObsSpec(FLAT)),
    "gated": (Recurrent((6,), "tanh", weights="float"), ObsSpec(FLAT)),
    "graph": (Graph(max_hidden=3, weights="float"), ObsSpec(FLAT)),
    "graph of copies": (Graph(max_hidden=3, copies=4, weights="float"), ObsSpec((8,))),
    "graph without memory": (
        Graph(max_hidden=3, update="feed_forward", weights="float"),
        ObsSpec(FLAT),
    ),
}
ONE_OF_EACH = (
    *("mlp", "mlp of bits", "conv", "conv of pixels", "resnet", "elman of signs", "gated"),
    *("gated of bits", "gated of 4 bits"),
    *("graph", "graph of copies without memory", "graph of integers", "graph of trits"),
    *("graph of functions", "graph of functions without memory"),
    "graph of integers without memory",
)
"""Every policy, every cell and update, and every kind of activation and of input."""


KEPT = ("mlp", "conv", "gated", "graph of integers")
"""Of these, one for each way to step: by default."""


def of_each(cases, quick):
    """Return the mark for a test of all cases, of which some are slow, and most others wide."""
    rows = [
        pytest.param(*case, id=name, marks=() if name in quick else pytest.mark.slow)
        for name, case in cases
    ]
    return pytest.mark.parametrize(("settings", "obs"), wide(rows, keep=KEPT))


each = of_each(CASES.items(), ONE_OF_EACH)
floats = pytest.mark.parametrize(
    ("settings", "obs"),
    wide([pytest.param(*case, id=name) for name, case in FLOATS.items()], keep=["conv", "gated"]),
)


def test_all_policies_are_here():
    """But those that draw their layers, and those that learn while they live: see their tests."""
    found = {type(settings) for settings, _ in CASES.values()}
    assert found == {own for own in POLICIES.values() if not own.learns_in_life} - {HyperNEAT}


def shipped(settings: PolicySettings, obs: ObsSpec, seed: int = 0) -> tuple[Any, PolicyParams]:
    """Return a policy and random params, biases and moments among them."""
    rng = np.random.default_rng(seed)
    policy = contract.build(settings, obs, ACTION)
    params = policy.init(jax.random.key(seed))
    if settings.weights == "ternary":
        params = tuple(
            {
                name: Tensor(drawn(rng, name, x.values.shape), x.exponent)
                for name, x in layer.items()
            }
            for layer in params
        )
    draws = rng.normal(size=(20, obs.size))
    moments = observation.of_all(draws) if observation.summed_size(obs) else None
    return policy, PolicyParams(params, moments or observation.empty(obs.size))


def drawn(rng, name: str, shape: tuple[int, ...]) -> jax.Array:
    """Return random trits, or a function for each node as a column with a single 1."""
    if name != "function":
        return jnp.asarray(rng.integers(-1, 2, shape), jnp.int8)
    return graph.one_hot(jnp.asarray(rng.integers(0, *shape)), shape[0], jnp.int8).values


def integers(rng, obs: ObsSpec, shape) -> np.ndarray:
    """Return quantised observations [*shape, obs] as the quantiser of this kind gives them."""
    low, high = (0, 2) if obs.kind == "planes" else (-127, 128)
    return rng.integers(low, high, (*shape, obs.size)).astype(np.int8)


@pytest.mark.exact
@pytest.mark.parametrize(
    ("episodes", "matmuls"),
    [
        (100, ("auto",)),
        pytest.param(5000, ("float32", "planes", "bfloat16", "int8"), marks=pytest.mark.slow),
    ],
)
@each
def test_what_ships_is_what_was_trained(settings, obs, episodes, matmuls):
    """Outputs of steps of many episodes at once are the integers of NumPy, by ==.

    The slow ones are 20,000 inputs for each policy: more than 10^5 for each type of layer.
    """
    obs, num_steps = settings.sees(obs), 4
    policy, params = shipped(settings, obs)
    record = policy_file.record_of(settings, obs, ACTION, params)
    net = integer.compile_integer(record)
    q = integers(np.random.default_rng(1), obs, (num_steps, episodes))
    memory, wanted = np.tile(net.memory, (episodes, 1)), []
    for step in range(num_steps):
        memory, logits = integer.step(net, memory, q[step])
        wanted.append(np.ldexp(logits.astype(np.float32), -net.output_exponent))
    for matmul in matmuls:
        own = dataclasses.replace(settings, matmul=matmul).build(obs, ACTION)
        packed = own.packing(1).pack(params.weights)
        found_memory, found = played(own, packed, obs, q)
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_array_equal(found_memory, memory)
    if episodes == 100:  # plain params, and what runs on devices
        if settings in (Conv(hidden_sizes=(20,)), CASES["gated"][0]):
            np.testing.assert_array_equal(played(policy, params.weights, obs, q)[1], wanted)
        shipping = runtime.Policy(record)
        memories = shipping.reset(episodes)
        for step in range(num_steps):
            memories, logits = shipping.step_logits_q(memories, q[step])
        np.testing.assert_array_equal(memories, memory)


def played(policy, params, obs: ObsSpec, q) -> tuple[np.ndarray, np.ndarray]:
    """Return the last memories [episodes, memory] and the outputs of all steps and episodes."""

    @quick_jit
    def episode(q):
        def step(memory, q):
            told = jnp.zeros(()), jnp.zeros((), bool)
            return policy.apply(params, memory, Inputs(q.reshape(obs.shape), *told))

        return jax.lax.scan(step, policy.reset(params, jax.random.key(0)), q)

    memory, outputs = jax.vmap(episode, 1, (0, 1))(jnp.asarray(q, jnp.float32))
    return np.concatenate([np.zeros((q.shape[1], 0)), *memory], -1), np.asarray(outputs)


def env_of(obs: ObsSpec) -> Any:
    """Return an environment that only has this interface."""
    return envs.make("probe/corridor", 9)._replace(id="", obs=obs, action=ACTION, obs_names=())


@of_each([*CASES.items(), *FLOATS.items()], (*ONE_OF_EACH, "graph of copies"))
def test_a_policy_comes_back_from_its_file(settings, obs, tmp_path):
    env = contract.shown_to(settings, env_of(obs))
    _, params = shipped(settings, env.obs)
    name = {class_: name for name, class_ in POLICIES.items()}[type(settings)]
    path = tmp_path / "policy.tvp"
    policy_file.save(path, env, name, settings, params)
    found = policy_file.load(path)
    assert (found.policy_name, found.settings, found.action) == (name, settings, ACTION)
    chex.assert_trees_all_equal(found.weights, params.weights, strict=True)
    chex.assert_trees_all_equal(found.quantiser, observation.freeze(params.moments, env.obs.kind))
    if settings in (Conv(hidden_sizes=(20,)), CASES["gated"][0]):
        seen = np.random.default_rng(2).integers(0, 2, obs.size).astype(np.float32)
        shipping = runtime.load(path)
        wanted = shipping.step(shipping.reset(), seen)[1]
        assert int(found.step(found.reset(), seen)[1]) == int(wanted)
    with pytest.raises(tvp.PolicyFormatError, match=r"none of the policies|layers differ"):
        *others, last = found.record.layers
        ones = np.ones_like(last.weights, np.int8)
        kind = "ternary" if settings.weights == "binary" else "binary"
        odd = dataclasses.replace(last, kind=kind, weights=ones, bias=None, bias_exponent=0)
        policy_file.from_record(dataclasses.replace(found.record, layers=(*others, odd)))


@floats
def test_float_twins_learn_through_all_layers(settings, obs):
    obs = settings.sees(obs)
    policy, params = shipped(settings, obs)
    q = jnp.asarray(integers(np.random.default_rng(3), obs, (3,)), jnp.float32)

    def loss(values):
        own = tuple({name: Tensor(x, jnp.int8(0)) for name, x in layer.items()} for layer in values)
        memory, total = policy.reset(own, jax.random.key(0)), 0.0
        for row in q:
            seen = Inputs(row.reshape(obs.shape), jnp.zeros(()), jnp.zeros((), bool))
            memory, output = policy.apply(own, memory, seen)
            total = total + jnp.sum(output**2)
        return total

    values = [{name: x.values for name, x in layer.items()} for layer in params.weights]
    assert all(
        float(jnp.abs(x).max()) > 0 for x in jax.tree.leaves(quick_jit(jax.grad(loss))(values))
    )


@pytest.mark.parametrize(
    ("kind", "mlp", "conv"),
    [
        ("floats", "floats", "floats"),
        ("integers", "integers", "integers"),
        ("bits", "bits", "planes"),
        ("pixels", "pixels", "pixels"),
    ],
)
def test_convolutions_see_bits_as_bits(kind: ObsKind, mlp, conv):
    env = env_of(ObsSpec(IMAGE, kind))
    for settings, wanted in ((MLP(), mlp), (Recurrent(), mlp), (Conv(), conv), (ResNet(), conv)):
        assert contract.shown_to(settings, env).obs == ObsSpec(IMAGE, wanted)
    for class_ in (MLP, Recurrent):
        settings = class_(observation_moments=False)
        if kind == "bits":
            assert contract.shown_to(settings, env).obs == ObsSpec(IMAGE, conv)
            continue
        with pytest.raises(ValueError, match=f"is for bits, and these observations are {kind}"):
            contract.shown_to(settings, env)


def test_planes_and_pixels_have_no_moments():
    shown = jnp.array([0.0, 1.0, 127.4, 127.5, 128.5, 255.0, jnp.nan])
    for kind, wanted in (
        ("planes", [0, 1, 127, 127, 127, 127, 0]),
        ("pixels", [-127, -127, -1, 0, 0, 127, 0]),
    ):
        spec = ObsSpec((7,), kind)
        assert observation.summed_size(spec) == 0
        quantiser = observation.freeze(observation.empty(7), kind)
        np.testing.assert_array_equal(observation.quantise(quantiser, shown), wanted)


def test_a_policy_may_only_change_the_kind_of_what_it_sees():
    @dataclasses.dataclass(frozen=True)
    class Flattening(MLP):
        """It flattens images."""

        def sees(self, obs):
            return ObsSpec((obs.size,))

    message = r"Flattening.sees returns must have the shape \(11, 10, 3\), not \(330,\)"
    with pytest.raises(WrongObject, match=message):
        contract.shown_to(Flattening(), env_of(ObsSpec(IMAGE)))

    @dataclasses.dataclass(frozen=True)
    class Misspelt(MLP):
        """It names a kind that does not exist."""

        def sees(self, obs):
            return obs._replace(kind="plane")

    with pytest.raises(WrongObject, match=r"must be of the kind .*not 'plane'"):
        contract.shown_to(Misspelt(), env_of(ObsSpec(IMAGE)))


@pytest.mark.parametrize("name", ["mlp of bits", "gated of bits"])
def test_without_moments_bits_and_packed_bits_give_the_actions_of_training(name):
    settings, obs = CASES[name]
    obs = settings.sees(obs)
    _, params = shipped(settings, obs)
    record = policy_file.record_of(settings, obs, ACTION, params)
    assert (record.input_kind, record.mean.size, record.observation_bits) == ("bits", 0, 1)
    trained, ships = policy_file.from_record(record), runtime.Policy(record)
    memory, own = trained.reset(), ships.reset()
    for bits in np.random.default_rng(5).integers(0, 2, (20, obs.size)).astype(bool):
        memory, wanted = trained.step(memory, bits)
        found = ships.step(own, np.packbits(bits, bitorder="little"))[1]
        own, again = ships.step(own, bits)
        assert int(wanted) == found == again


@pytest.mark.parametrize(
    ("settings", "obs", "message"),
    [
        (Conv(), FLAT, "9 numbers without height and width; use --policy mlp"),
        (ResNet(), FLAT, "--policy resnet sees images"),
        (
            Conv(filters=((4, 12, 1),)),
            IMAGE,
            "a convolution: a window of 12 x 12 does not",
        ),
        (ResNet(), IMAGE, "11 x 10 is too small for 3 stages, and at most 1 fit"),
        (ResNet((8,), channels=(2,)), (4, 4, 1), "at most 0 fit"),
        (Recurrent(activation="sign"), FLAT, "of 8 bits are not as a memory of --activation sign"),
        (Recurrent(activation="tanh"), FLAT, "numbers of the same size.* such as --hidden_sizes 3"),
        (Recurrent(memory_size=2049), FLAT, "must be at most 2,048 with --cell gated.* got 2,049"),
        (Recurrent(memory_size=4097, cell="elman"), FLAT, "must be at most 4,096 with --cell elm"),
        (Recurrent(observation_bits=4), FLAT, "of 4 bits .* or .* with --observation_bits 8$"),
        (Conv(hidden_sizes=(4097,)), IMAGE, "4,097 outputs of a layer do not fit into a policy"),
        (Conv(hidden_sizes=(4,) * 48), IMAGE, "50 layers do not fit .* at most 48; change --filt"),
        (Conv(filters=((1024, 1, 1), (1024, 3, 3))), IMAGE, "weights do not fit"),
        (Conv(filters=((3000, 1, 1), (8, 3, 1))), IMAGE, "330,000 values between two layers"),
        (Conv(filters=((4000, 1, 1),)), IMAGE, "440,000 inputs of a layer's output do not fit"),
        (Conv(filters=((4, 16, 16),)), (300, 300, 3), "270,000 observations do not fit"),
        (Conv(weights="float", matmul="planes"), IMAGE, "--matmul planes needs integers"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(settings, obs, message):
    with pytest.raises(ValueError, match=message):
        settings.build(ObsSpec(obs, "pixels"), ACTION)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv(filters=()), "use --policy mlp"),
        (lambda: Conv(filters=((4, 3, 0),)), r"got \(4, 3, 0\)"),
        (lambda: Conv(filters=((4, 17, 1),)), "kernel size of 1 to 16"),
        (lambda: Conv(hidden_sizes=(0,)), "hidden_sizes must be positive"),
        (lambda: ResNet(channels=()), "channels must be one or more"),
        (lambda: ResNet(activation="sign"), "use int8, int4, tanh or relu"),
        (lambda: Recurrent(memory_size=0), "memory_size must be at least 1, got 0"),
        (lambda: Conv(weights="float", scales="output"), "float weights have no scale"),
    ],
)
def test_impossible_settings_are_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(
            "--policy conv --filters ((3,3,2),) --hidden_sizes 8 --env gymnax/Breakout-MinAtar",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "--policy recurrent --memory_size 4 --hidden_sizes 5 --env probe/corridor",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["conv", "recurrent"],
)
def test_evolution_trains_them_and_ships_them(arguments, tmp_path):
    """PPO trains a convolution in test_ppo_sees.py too, evolution a memory in test_memory.py."""
    run.main(
        [
            *arguments.split(),
            *("--episode_length", "6", "--population_size", "4", "--num_episodes", "1"),
            *("--num_generations", "2", "--num_eval_episodes", "2", "--num_final_episodes", "2"),
            *("--render", "False", "--runs_dir", str(tmp_path), "--num_devices", "1"),
        ]
    )
    (path,) = tmp_path.rglob("best_policy.tvp")
    saved = policy_file.load(path)
    assert saved.record is not None and saved.record.is_integer
    env = contract.shown_to(saved.settings, envs.make(saved.env_id, 6))
    assert saved.obs.kind == env.obs.kind and saved.obs.size == env.obs.size
    assert isinstance(runtime.load(path).reset(), np.ndarray)
    assert seen_first(jnp.zeros(env.obs.size)).obs.shape == (saved.obs.size,)


def test_a_start_with_other_windows_is_refused(tmp_path):
    """The weights have the same shapes: 8 filters of 2 x 2 and 8 of 2 x 2, other strides."""
    env = contract.shown_to(Conv(), envs.make("gymnax/Breakout-MinAtar"))
    there = Conv(filters=((8, 2, 1), (8, 2, 2)), hidden_sizes=(4,))
    here = Conv(filters=((8, 2, 2), (8, 2, 1)), hidden_sizes=(4,))
    policy = there.build(env.obs, env.action)
    params = PolicyParams(policy.init(jax.random.key(0)), observation.empty(env.obs.size))
    policy_file.save(tmp_path / "p.tvp", env, "conv", there, params)
    start = warm_start.load(tmp_path / "p.tvp", env, policy, "ternary")
    warm_start.check_windows(start, there.windows)
    with pytest.raises(ValueError, match=r"the filters .*give it the same --filters"):
        warm_start.check_windows(start, here.windows)


def test_an_archive_knows_all_kinds_of_observations():
    """It cannot import them, as it must load without JAX."""
    assert get_args(ObsKind) == OBS_KINDS


def test_a_float_graph_starts_alike_however_many_copies_an_observation_has():
    """Links are shared out among copies, so that each is a fraction of the link there would be."""
    shown = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)

    def outputs(copies: int) -> jax.Array:
        settings = Graph(max_hidden=3, copies=copies, weights="float")
        policy = contract.build(settings, ObsSpec((2 * copies,)), ACTION)
        params, key = policy.init(jax.random.key(1)), jax.random.key(0)
        rows = jnp.asarray(np.repeat(shown, copies, axis=1))

        @quick_jit
        def outputs_of(rows):
            memory = policy.reset(params, key)
            return jax.vmap(lambda x: policy.apply(params, memory, inputs(x))[1])(rows)

        return outputs_of(rows)

    assert np.unique(outputs(1)).size > 10
    np.testing.assert_allclose(outputs(4), outputs(1), rtol=1e-6)
