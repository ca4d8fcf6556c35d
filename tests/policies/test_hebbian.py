"""Hebbian plasticity: the rule by hand, what ships by `==` over whole lives, files."""

import dataclasses
import functools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from ternevo import envs, problems, run
from ternevo.arithmetic import observation
from ternevo.deploy import hashing, hebbian as rules, integer, runtime, tvp
from ternevo.deploy.capabilities import UnsupportedError, check_export
from ternevo.deploy.tvp import PolicyFormatError
from ternevo.policies import contract, hebbian, policy_file
from ternevo.problems import Plan
from ternevo.settings.policies import Hebbian
from ternevo.types import (
    ActionSpec,
    Inputs,
    ObsSpec,
    PolicyParams,
    Population,
    Tensor,
)

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
KEY = jax.random.key(0)
OBS = ObsSpec((5,))
TWO, FOUR = ActionSpec("continuous", 2, (-1.0, 0.0), (1.0, 4.0)), ActionSpec("discrete", 4)
CASES: dict[str, tuple[Hebbian, ActionSpec]] = {
    "synapses": (Hebbian(), FOUR),
    "two layers": (Hebbian((7,), rate=2), TWO),
    "a rule for a layer": (Hebbian((6,), rules_per="layer", bound="rescale", rate=1), TWO),
    "a rule for an input": (Hebbian(rules_per="input", terms="A", babble_steps=9), TWO),
    "a rule for an output": (Hebbian((6,), rules_per="output", activation="sign"), FOUR),
    "groups": (Hebbian((6, 5), rules_per="group", group_size=4, activation="int4"), TWO),
    "evolved start": (Hebbian((6,), start="evolved", start_shift=0, activation="ternary"), TWO),
    "one rate": (Hebbian(evolve_rate=False, terms="AD", rate=0, gain=-3, start_shift=0), TWO),
    "high gain": (Hebbian(gain=8, observation_shift=8, babble_steps=3, dead_zone=14), FOUR),
    "acting as trits": (Hebbian((6,), fast="ternary", bound="clip", rate=3), TWO),
}
FLOATS = {
    "float rules": (Hebbian((6,), weights="float", fast="float", activation="tanh"), TWO),
    "float weights": (Hebbian((6,), fast="float", bound="rescale", start="evolved"), TWO),
    "float trits": (Hebbian(weights="float", fast="ternary", start="evolved", rate=2), TWO),
}
QUICK = ("two layers", "a rule for a layer")
each = pytest.mark.parametrize(
    ("settings", "action"),
    [
        pytest.param(*case, id=name, marks=[] if name in QUICK else pytest.mark.slow)
        for name, case in CASES.items()
    ],
)
WRITTEN = ("two layers", "a rule for an input", "groups", "evolved start", "float rules")
each_file = pytest.mark.parametrize(
    ("settings", "action"),
    [
        pytest.param(*case, id=name, marks=[] if name in WRITTEN else pytest.mark.slow)
        for name, case in [*CASES.items(), *FLOATS.items()]
    ],
)


def drawn(settings, action, seed=0) -> tuple:
    """Return a policy, and random params with exponents and moments."""
    policy = contract.build(settings, OBS, action)
    params, rng = quick_jit(policy.init)(jax.random.key(seed)), np.random.default_rng(seed)

    def other(tensor):
        if settings.weights == "float":
            return tensor
        return Tensor(
            jnp.asarray(rng.integers(-1, 2, tensor.values.shape), jnp.int8),
            jnp.int8(rng.integers(-1, 2)),
        )

    params = jax.tree.map(other, params, is_leaf=lambda x: isinstance(x, Tensor))
    return policy, PolicyParams(params, observation.of_all(rng.normal(size=(20, OBS.size))))


def lived(policy, params, q, seeds) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the last fast weights [lives, in, out] and all outputs [steps, lives, out]."""

    @quick_jit
    def live(q, key):
        def step(memory, row):
            return policy.apply(params, memory, Inputs(row, jnp.zeros(()), jnp.zeros((), bool)))

        memory, outputs = jax.lax.scan(step, policy.reset(params, key), q)
        return memory.fast, outputs

    fast, outputs = jax.vmap(live, (1, 0), (0, 1))(jnp.asarray(q, jnp.float32), seeds)
    return [np.asarray(x) for x in fast], np.asarray(outputs)


def lived_in_numpy(record, q, keys) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the same of the runtime, which is given the seeds that JAX draws."""
    shipping = runtime.Policy(record)
    seeds = np.asarray(jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32))(keys))
    memories, found = np.concatenate([shipping.reset(1, int(seed)) for seed in seeds]), []
    for row in q:
        memories, logits = shipping.step_logits_q(memories, row)
        found.append(logits)
    fast = [np.asarray(x) for _, x in rules.Runner(record)._fast(memories)]
    logits = np.stack(found)
    if logits.dtype == np.int32:
        exponent = rules.Runner(record).output_exponent
        logits = np.ldexp(logits.astype(np.float32), -exponent)
    return fast, logits


@pytest.mark.exact
@each
def test_what_ships_learns_what_was_trained(settings, action):
    """Weights and outputs of 200 steps of 20 lives, of JAX packed and plain and of NumPy, by ==."""
    policy, params = drawn(settings, action)
    record = policy_file.record_of(settings, OBS, action, params)
    q = np.random.default_rng(1).integers(-127, 128, (200, 20, OBS.size)).astype(np.int8)
    keys = jax.random.split(jax.random.key(1), 20)
    fast, outputs = lived_in_numpy(record, q, keys)
    packed = policy.packing(1).pack(params.weights)
    for ready in (params.weights, packed) if settings is CASES["two layers"][0] else (packed,):
        found_fast, found = lived(policy, ready, q, keys)
        np.testing.assert_array_equal(found, outputs)
        for x, y in zip(found_fast, fast, strict=True):
            np.testing.assert_array_equal(x, y)
    assert any(len(np.unique(x)) > 5 for x in fast)  # they did learn something


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "action"), FLOATS.values(), ids=FLOATS)
def test_floats_ship_within_rounding(settings, action):
    policy, params = drawn(settings, action)
    record = policy_file.record_of(settings, OBS, action, params)
    q = np.random.default_rng(1).integers(-127, 128, (6, 20, OBS.size)).astype(np.int8)
    keys = jax.random.split(jax.random.key(1), 20)
    fast, outputs = lived_in_numpy(record, q, keys)
    found_fast, found = lived(policy, params.weights, q, keys)
    np.testing.assert_allclose(found[0], outputs[0], rtol=1e-4, atol=1e-5)
    for x, y in zip(found_fast, fast, strict=True):
        assert np.mean(np.abs(x - y) > 1e-3 * rules.ONE) < 0.02


def by_hand(terms, rate, x, y):
    """Return by how much a weight moves, in float64: the formula of the docstring."""
    a, b, c, d = terms
    return 2.0**-rate * (a * x * y + b * x + c * y + d)


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.integers(-(2**14), 2**14),
    st.tuples(*[st.sampled_from([-1, 0, 1])] * 4),
    st.integers(0, 16),
    st.integers(-127, 127),
    st.integers(-127, 127),
)
def test_a_weight_moves_as_the_formula_says(w, terms, rate, x, y):
    """By the next integer, half to even."""
    plasticity = hebbian.plasticity_of(Hebbian())
    layer = hebbian.Packed(
        tuple(jnp.full((1, 1), term, jnp.int32) for term in terms), jnp.full((1, 1), rate), None
    )
    fast = jnp.full((1, 1), w, jnp.int16)
    pre, post = jnp.full(1, float(x)), jnp.full(1, float(y))
    moved = hebbian._moved(plasticity, layer, fast, pre, post)
    wanted = w + np.rint(by_hand(terms, rate, x / 2**7, y / 2**7) * 2**14)
    assert int(moved[0, 0]) == wanted
    bounded = hebbian._bounded(plasticity, moved)
    assert int(bounded[0, 0]) == np.clip(wanted, -(2**14), 2**14)


def test_rescaling_divides_a_layer_by_its_largest_weight():
    plasticity = hebbian.plasticity_of(Hebbian(bound="rescale"))
    moved = jnp.array([[30000, -15000], [81920, 3]], jnp.int32)
    found = hebbian._bounded(plasticity, moved)
    np.testing.assert_array_equal(found, [[6000, -3000], [16384, 0]])
    np.testing.assert_array_equal(hebbian._bounded(plasticity, moved // 8), moved // 8)


@pytest.mark.parametrize("sharing", rules.SHARINGS)
def test_rules_are_shared_as_asked(sharing):
    plasticity = hebbian.plasticity_of(Hebbian(rules_per=sharing, group_size=5))
    index = rules.rule_of_synapses(plasticity, (4, 3))
    count = rules.num_rules(plasticity, (4, 3))
    wanted = {
        "synapse": np.arange(12).reshape(4, 3),
        "input": np.repeat(np.arange(4)[:, None], 3, 1),
        "output": np.repeat(np.arange(3)[None], 4, 0),
        "layer": np.zeros((4, 3)),
    }
    if sharing == "group":
        assert count == 3 and set(index.ravel()) <= {0, 1, 2} and len(set(index.ravel())) > 1
    else:
        np.testing.assert_array_equal(index, wanted[sharing])
        assert count == len(np.unique(index))


def test_a_life_begins_at_random_small_weights_that_its_seed_tells():
    policy, params = drawn(Hebbian((9,), start_shift=2), FOUR)
    reset = jax.jit(lambda key: policy.reset(params.weights, key))
    first, again, other = (reset(jax.random.key(seed)) for seed in (1, 1, 2))
    chex.assert_trees_all_equal(first, again)
    assert not np.array_equal(first.fast[0], other.fast[0])
    lives = jax.vmap(reset)(jax.random.split(KEY, 200))
    values = np.concatenate([np.ravel(x) for x in lives.fast]) / 2**14
    assert -0.25 <= values.min() < -0.249 and 0.249 < values.max() < 0.25
    assert abs(values.mean()) < 0.005 and abs(values.std() - 0.25 / 3**0.5) < 0.003


def test_babbling_pushes_outputs_for_as_long_as_it_says():
    policy, params = drawn(Hebbian(babble_steps=8, babble_hold=4, babble_units=3, terms="A"), TWO)
    _, outputs = lived(policy, params.weights, np.zeros((12, 1, 5), np.int8), KEY[None])
    outputs = outputs[:, 0]
    assert set(np.abs(outputs[:8]).ravel()) == {3} and not outputs[8:].any()
    np.testing.assert_array_equal(outputs[0:3], outputs[1:4])


def test_random_numbers_are_even_and_the_same_in_jax():
    seed, counter = np.array([5], np.uint32), np.arange(20000, dtype=np.uint32)
    found = hashing.bits(seed, hashing.START, counter)
    same = hashing.bits(jnp.asarray(seed), hashing.START, jnp.asarray(counter))
    np.testing.assert_array_equal(found, same)
    shares = [(found >> np.uint32(bit) & np.uint32(1)).mean() for bit in range(32)]
    assert np.abs(np.array(shares) - 0.5).max() < 0.02
    other = hashing.bits(seed, hashing.FLIP, counter)
    assert abs(np.corrcoef(found.astype(float), other.astype(float))[0, 1]) < 0.03
    assert len(np.unique(found)) > 19990


@pytest.mark.wide  # as those of test_built_in_policies.py
@each_file
def test_a_policy_comes_back_from_its_file(settings, action, tmp_path):
    env = envs.make("probe/corridor", 9)._replace(id="", obs=OBS, action=action)
    env = env._replace(obs_names=(), action_names=())
    _, params = drawn(settings, action)
    path = tmp_path / "policy.tvp"
    policy_file.save(path, env, "hebbian", settings, params)
    found = policy_file.load(path)
    if not settings.hidden_sizes:  # nothing in the file depends on it
        settings = dataclasses.replace(settings, activation="int8")
    assert (found.policy_name, found.settings, found.action) == ("hebbian", settings, action)
    chex.assert_trees_all_equal(found.weights, params.weights, strict=True)
    if settings is not CASES["two layers"][0]:
        return
    memory = found.reset(jax.random.key(4))
    shipping = runtime.load(path)
    begun = shipping.reset(seed=int(jax.random.bits(jax.random.key(4), (), jnp.uint32)))
    seen = np.random.default_rng(2).normal(size=OBS.size).astype(np.float32)
    for _ in range(3):
        memory, wanted = found.step(memory, seen)
        begun, done = shipping.step(begun, seen)
        np.testing.assert_allclose(np.asarray(done), wanted, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="has a memory"):
        shipping.act(seen)


def test_only_files_and_c_hold_a_policy_that_learns():
    _, params = drawn(*CASES["synapses"])
    record = policy_file.record_of(CASES["synapses"][0], OBS, FOUR, params)
    wanted = r"learning while it acts \(hebbian\).*--to tvp, c"
    for name in ("onnx", "html", "numpy"):
        with pytest.raises(UnsupportedError, match=wanted):
            check_export(record, name)
    with pytest.raises(integer.NotIntegerError, match="learns while it acts"):
        integer.compile_integer(record)
    bare = tvp.decode(tvp.encode(record.bare()))
    assert bare.life is not None and runtime.Policy(bare).info()["bytes"] < 200


def test_a_damaged_life_is_refused_or_another_life():
    """Every byte of the part, changed: what is read is what the bytes say, or nothing."""
    _, params = drawn(*CASES["a rule for a layer"])
    record = policy_file.record_of(CASES["a rule for a layer"][0], OBS, TWO, params)
    data = tvp.encode(record.bare())
    start = data.index(b"LIFE")
    refused = 0
    for at in range(start, len(data) - 4):
        for change in (1, 0x80):
            damaged = bytearray(data)
            damaged[at] ^= change
            damaged[-4:] = tvp.struct.pack("<I", tvp.zlib.crc32(bytes(damaged[:-4])))
            try:
                found = tvp.decode(bytes(damaged))
            except PolicyFormatError:
                refused += 1
            else:
                assert tvp.encode(found) == bytes(damaged)
    assert refused > 20


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Hebbian(weights="float"), "--fast integer needs --weights ternary .*--fast float"),
        (lambda: Hebbian((4,), "tanh"), "--fast integer needs .* an integer --activation"),
        (lambda: Hebbian(weights="binary"), "use --weights ternary or float, not binary"),
        (lambda: Hebbian(rate=17), "rate must be 0 to 16, got 17"),
        (lambda: Hebbian(dead_zone=-1), "dead_zone must be 1 to 14"),
        (lambda: Hebbian((0,)), "hidden_sizes must be positive"),
        (lambda: Hebbian(babble_hold=0), "babble_hold must be at least 1"),
        (lambda: Hebbian().build(ObsSpec((4,), "planes"), FOUR), "planes have one"),
        (lambda: Hebbian((5000,)).build(OBS, FOUR), "do not fit .*; change --hidden_sizes"),
    ],
)
def test_impossible_settings_are_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


MOTOR = Hebbian(rules_per="input", rate=3, babble_steps=24)
"""Rules of the motor channels are A alone; the constant does not learn."""


@pytest.mark.parametrize(
    "fast", ["integer", *(pytest.param(x, marks=pytest.mark.slow) for x in ("ternary", "float"))]
)
def test_one_rule_by_hand_learns_every_body(fast):
    """Correlate what was done with what was felt: solved without any evolution, on all bodies."""
    settings = dataclasses.replace(MOTOR, fast=fast)
    env = envs.make("meta/babble_and_reach@unseen")
    policy = contract.build(settings, env.obs, env.action)
    rule = jnp.zeros((4, 3), jnp.int8).at[0, :2].set(1)
    params = ({"rule": Tensor(rule, jnp.int8(0)), "rate": Tensor(rule[1:3], jnp.int8(0))},)
    problem = problems.of(policy, env, Plan(40))
    population = Population(jax.tree.map(lambda x: x[None], params))
    evaluate = quick_jit(
        lambda: problem.evaluate(KEY, population, observation.empty(3), jnp.int32(0)).returns
    )
    assert float(evaluate().mean()) > 0.85


@pytest.mark.slow
def test_a_run_evolves_a_rule_resumes_exactly_and_is_tested_on_other_bodies(tmp_path, capsys):
    """Four generations at once are two and two more; the policy then lives in Python alone."""
    asked = [
        *("--env", "meta/babble_and_reach", "--policy", "hebbian", "--babble_steps", "24"),
        *("--strategy", "ternary_ga", "--population_size", "8", "--num_final_episodes", "4"),
        *("--render", "False", "--num_devices", "1", "--num_eval_episodes", "2"),
        *("--eval_env", "meta/babble_and_reach@swapped", "--checkpoint_every", "2"),
    ]
    for name, parts in {"whole": ("4",), "parts": ("2", "4")}.items():
        for number, count in enumerate(parts):
            own = ["--runs_dir", str(tmp_path), "--name", name, "--num_generations", count]
            run.main([*asked, *own, *(["--resume"] if number else [])])
    assert "eval_env    meta/babble_and_reach@swapped  return" in capsys.readouterr().out
    folder = tmp_path / "meta/babble_and_reach/ternary_ga"
    whole, parts = (tvp.load(folder / name / "policy.tvp") for name in ("whole", "parts"))
    assert tvp.encode(whole.bare()) == tvp.encode(parts.bare())
    result = json.loads((folder / "whole" / "result.json").read_text())
    assert result["eval_env"]["episodes"] == 4
    with pytest.raises(SystemExit):
        run.main([*asked, "--eval_env", "probe/sign", "--runs_dir", str(tmp_path)])
    assert "has other observations or actions" in capsys.readouterr().err
