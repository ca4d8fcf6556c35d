"""Sparse training from scratch: exact sparsity, what is dropped and grown, moments, targets."""

import functools
import signal
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gradient_learners import SMALL
from hypothesis import given, settings, strategies as st
from marks import wide

from ternevo import run
from ternevo.arithmetic.ternary import tensors
from ternevo.learners.latents import latent_policy
from ternevo.learners.sparsity import (
    ALMOST_ZERO,
    POLICY,
    POLICY_AND_CRITIC,
    STACKED,
    as_pruned,
    erk,
    masks_of,
)
from ternevo.learners.topology import Rewiring, Sparse, moved_mask, rewired, started
from ternevo.machine.interruption import Stop
from ternevo.policies import policy_file
from ternevo.runs.sinks import read_jsonl
from ternevo.settings.command_line import parse
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES
from ternevo.strategies import from_settings
from ternevo.training import session
from ternevo.types import ActionSpec, ObsSpec

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SIZES = ((6, 8), (8,), (8, 3), (3,))
BETWEEN, LAST = 4, 12


class Learned(NamedTuple):
    latents: list[Any]
    other: Any
    critic: Any = ()


def drawn(key=0):
    keys = jax.random.split(jax.random.key(key), len(SIZES))
    return [jax.random.normal(key, size) for key, size in zip(keys, SIZES, strict=True)]


def policy_of(key=0):
    return Learned(started(drawn(key), 0.75, "layer"), jnp.ones(2))


def critics_of(key=0):
    """Two critics side by side, as `critics.Twins` has them."""
    two = [jnp.stack([a, b]) for a, b in zip(drawn(key), drawn(key + 1), strict=True)]
    return STACKED.put(two, started(STACKED.of(two), 0.75, "layer"))


def both_of(key=0):
    """A policy and its critic in one optimiser, as PPO has them."""
    critic = {"params": started(drawn(key + 2), 0.75, "layer")}
    return policy_of(key)._replace(critic=critic)


LEARNED = {
    "policy": (policy_of, POLICY),
    "critics": (critics_of, STACKED),
    "both": (both_of, POLICY_AND_CRITIC),
}


def numpy_mask(mask, size, rating, share):
    """Drop and grow with loops, as one would write it down (RLx2, algorithm 1)."""
    flat, size, rating = mask.ravel().copy(), size.ravel(), rating.ravel()
    there = [i for i in range(flat.size) if flat[i]]
    number = int(np.floor(np.float32(share) * np.float32(len(there))))
    for i in sorted(there, key=lambda i: size[i])[:number]:
        flat[i] = False
    absent = [i for i in range(flat.size) if not flat[i]]
    for i in sorted(absent, key=lambda i: -rating[i])[:number]:
        flat[i] = True
    return flat.reshape(mask.shape)


@given(st.integers(0, 99), st.floats(0, 1), st.floats(0.05, 0.95))
@settings(max_examples=30, deadline=None)
def test_smallest_are_dropped_and_best_rated_grow(seed, share, density):
    rng = np.random.default_rng(seed)
    mask = rng.random((7, 5)) < density
    size, rating = (rng.random((7, 5)).astype(np.float32) for _ in range(2))
    given = map(jnp.asarray, (mask, size, rating, np.float32(share)))
    found = np.asarray(moved_mask(*given))
    np.testing.assert_array_equal(found, numpy_mask(mask, size, rating, share))
    assert found.sum() == mask.sum()


def gradient_of(tree, count):
    """Return made-up gradients of about one, no two of them equal."""
    numbers = lambda x: np.arange(x.size, dtype=np.float32).reshape(x.shape)  # noqa: E731
    return jax.tree.map(lambda x: jnp.asarray(np.sin(37.0 * count + 10 * numbers(x))), tree)


@pytest.mark.parametrize(
    ("growth", "what"),
    wide(
        [
            ("static", "policy"),
            ("set", "critics"),
            ("rigl", "policy"),
            ("rigl", "critics"),
            ("rigl", "both"),
        ],
        keep=[("rigl", "both")],
    ),
)
def test_every_step_keeps_the_sparsity_and_pruned_weights_at_zero(growth, what):
    """Each step beside a second route in NumPy: masks, values, moments and an averaged copy."""
    make, layers = LEARNED[what]
    optimizer = rewired(optax.adam(0.1), Rewiring(growth, 0.5, BETWEEN, LAST), layers)
    learned = make()
    state, target = optimizer.init(learned), make(5)

    @quick_jit
    def step(gradient, state, learned, target):
        changes, state = optimizer.update(gradient, state, learned)
        learned = optax.apply_updates(learned, changes)
        target = as_pruned(optax.incremental_update(learned, target, 0.1), learned, layers)
        return learned, state, target

    first, num_grown = [np.asarray(x) for x in layers.of(learned)], 0
    for count in range(1, 16):
        gradient = gradient_of(learned, count)
        before = [np.asarray(x) for x in layers.of(learned)]
        learned, state, target = step(gradient, state, learned, target)
        moments: Any = state.inner[0]
        is_step = growth != "static" and count % BETWEEN == 0 and count <= LAST
        share = 0.25 * (1 + np.cos(np.pi * count / LAST))
        rows = zip(
            *(map(np.asarray, layers.of(x)) for x in (learned, target, moments.mu, gradient)),
            before,
            first,
            strict=True,
        )
        for now, copy, moment, slope, old, start in rows:
            if now.ndim == 1:
                assert np.all(now != 0)
                continue
            there, was = now != 0, old != 0
            assert there.sum() == round(0.25 * now.size)
            np.testing.assert_array_equal(copy != 0, there)
            assert np.all(moment[~there] == 0)
            if growth == "static":
                np.testing.assert_array_equal(there, start != 0)
            if not is_step:
                np.testing.assert_array_equal(there, was)
                continue
            if growth == "rigl":
                wanted = numpy_mask(was, np.abs(old), np.abs(slope), share)
                np.testing.assert_array_equal(there, wanted)
            assert np.all(now[there & ~was] == np.float32(ALMOST_ZERO))
            assert np.all(moment[there & ~was] == 0)
            np.testing.assert_array_equal(now[there & was], old[there & was])
            assert (there & ~was).sum() <= share * was.sum()
            num_grown += (there & ~was).sum()
    assert (num_grown > 0) == (growth != "static")


def test_set_grows_at_random_of_the_seed_and_rigl_does_not():
    def after(growth, key):
        optimizer = rewired(optax.sgd(0.0), Rewiring(growth, 0.5, 1, 9), POLICY)
        return np.asarray(quick_jit(lambda: switched(optimizer, key))())

    def switched(optimizer, key):
        learned = policy_of()
        state = optimizer.init(policy_of(key))
        changes, _ = optimizer.update(gradient_of(learned, 1), state, learned)
        return optax.apply_updates(learned, changes).latents[0] != 0

    assert not np.array_equal(after("set", 0), after("set", 1))
    np.testing.assert_array_equal(after("set", 0), after("set", 0))
    np.testing.assert_array_equal(after("rigl", 0), after("rigl", 1))


def test_no_step_of_the_optimiser_ends_on_zero():
    optimizer = rewired(optax.sgd(1.0), Rewiring("static", 0.5, 1, 9), POLICY)
    learned = policy_of()
    changes, _ = optimizer.update(learned, optimizer.init(learned), learned)
    after = optax.apply_updates(learned, changes)
    for old, new in zip(learned.latents, after.latents, strict=True):
        if old.ndim > 1:
            np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize(
    "weights",
    wide(["float", "ternary", pytest.param("int8", marks=pytest.mark.slow)], keep=["ternary"]),
)
def test_pruned_weights_have_gradients_and_change_no_output(weights):
    """The gradient of a pruned weight is that of a float of 0 in its place."""
    policy = MLP((5,), weights=weights).build(ObsSpec((4,)), ActionSpec("continuous", 2))
    own = Sparse(lambda latents: started(latents, 0.5, "layer"), True)
    latent = latent_policy(policy, weights, own)
    latents = quick_jit(latent.init)(jax.random.key(1))
    blind = latent._replace(sparse=own._replace(grows_by_gradient=False))
    masks = masks_of(latents)

    def value(latent, latents):
        values = [x.values for x in tensors(latent.differentiable(latents))]
        return sum(jnp.sum(jnp.sin(x + 1.0)) for x in values if x.ndim > 1)

    found = quick_jit(lambda x: [jax.value_and_grad(value, 1)(p, x) for p in (latent, blind)])
    felt, unfelt = found(latents)
    assert felt[0] == unfelt[0]
    exponents = [x.exponent for x in tensors(latent.differentiable(latents))]
    for mask, with_, without, exponent in zip(masks, felt[1], unfelt[1], exponents, strict=True):
        if mask is None:
            continue
        np.testing.assert_array_equal(with_[mask], without[mask])
        wanted = np.cos(1.0) * 2.0 ** float(exponent)
        np.testing.assert_allclose(with_[~mask], wanted, rtol=1e-6)
        if weights != "float":
            assert not np.any(without[~mask])


def test_the_start_keeps_the_largest_with_erdos_renyi_shares():
    latents = drawn()
    kept = started(latents, 0.6, "erk")
    masks = [np.asarray(x != 0) for x in kept if x.ndim > 1]
    total = sum(mask.size for mask in masks)
    assert abs(sum(mask.sum() for mask in masks) - 0.4 * total) <= 1
    assert masks[0].mean() < masks[1].mean()  # the smaller layer is denser
    size = np.abs(np.asarray(latents[0]))
    assert size[~masks[0]].max() < size[masks[0]].min()


def rewiring(num_updates, **options):
    pruning = STRATEGIES["td3"].of(**{"sparsity": 0.5, "sparse_training": "set", **options}).pruning
    return from_settings._rewiring(pruning, num_updates)


@given(st.integers(1, 300), st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_topology_steps_replace_at_most_a_tenth_of_the_updates(num_updates, num_events):
    try:
        plan = rewiring(num_updates, prune_events=num_events)
    except ValueError as error:
        assert f"--prune_events {num_events} is too many" in str(error)
        assert f"has {num_updates} updates" in str(error)
        assert round(0.8 * num_updates) <= 9 * num_events
    else:
        assert plan.between >= 10 and plan.last // plan.between <= num_events


def test_short_runs_with_the_default_number_of_topology_steps_are_refused():
    """100 of them in 100 updates left no step of Adam before `prune_end`; a static mask may."""
    with pytest.raises(ValueError, match=r"--prune_events 100 is too many .* 100 updates, 80 of"):
        rewiring(100)
    assert rewiring(100, sparse_training="static").growth == "static"
    assert rewiring(19_000).between == 152


def test_an_end_of_pruning_needs_no_start_from_scratch():
    assert rewiring(1000, prune_end=0.1, prune_events=5).last == 100
    with pytest.raises(ValueError, match=r"prune_end must be above prune_start = 0\.2, got 0\.1"):
        rewiring(1000, prune_end=0.1, sparse_training="gradual")


@pytest.mark.parametrize("strategy", ["sac", "ppo"])
def test_critics_alone_may_be_sparse_from_scratch(strategy):
    settings = STRATEGIES[strategy].of(critic_sparsity=0.5, sparse_training="rigl")
    assert settings.pruning.sparsity == 0
    assert settings.is_stretched
    with pytest.raises(ValueError, match="rigl does nothing where all is dense"):
        STRATEGIES[strategy].of(sparse_training="rigl")


# --- runs -----------------------------------------------------------------------------------------

SPARSE = {"sparsity": 0.75, "sparsity_allocation": "erk", "prune_events": 2}
CRITICS = {**SPARSE, "critic_sparsity": 0.5}
RLX2 = {**CRITICS, "n_step": 3, "n_step_start": 0.5, "buffer_distance": 0.01}
ARMS = [
    ("td3", "rigl", "float", RLX2),
    *(
        pytest.param(*arm, marks=pytest.mark.slow)
        for arm in (
            ("sac", "set", "ternary", RLX2),
            ("ddpg", "gradual", "float", CRITICS),
            ("dqn", "static", "int8", SPARSE),
            ("ppo", "rigl", "float", CRITICS),
            ("ppo", "set", "ternary", SPARSE),
        )
    ),
]
SMALL_RUN = {"hidden_sizes": "(12,)", "num_generations": 5, "eval_every": 5, "render": False}
SMALL_RUN |= {"num_eval_episodes": 2, "num_final_episodes": 2}


def argv(folder, strategy, mode, weights, more):
    env = "probe/sign" if strategy in ("ppo", "dqn") else "probe/double_integrator"
    own = {"env": env, "strategy": strategy, "sparse_training": mode, "weights": weights}
    given = {**SMALL_RUN, **own, **SMALL[strategy], **more, "runs_dir": folder}
    return [f"--{name}={str(value).replace(' ', '')}" for name, value in given.items()]


def zeros_of(path):
    """Return the number of zeros of each layer of a policy file."""
    tensors = policy_file.named_tensors(policy_file.load(path).weights)
    return [int((x.values == 0).sum()) for name, x in tensors.items() if x.values.ndim > 1]


def wanted_zeros(path):
    tensors = policy_file.named_tensors(policy_file.load(path).weights)
    shapes = [x.values.shape for x in tensors.values() if x.values.ndim > 1]
    shares = erk(shapes, 0.75)
    return [round(float(a) * np.prod(b)) for a, b in zip(shares, shapes, strict=True)]


@pytest.mark.wide  # PPO does in test_sparsity.py
@pytest.mark.parametrize(("strategy", "mode", "weights", "more"), ARMS)
def test_every_learner_ships_a_policy_that_is_sparse_from_the_first_generation(
    strategy, mode, weights, more, tmp_path
):
    """The best of a run may be the first; two seeds in one program, each with masks of its own."""
    run.main([*argv(tmp_path, strategy, mode, weights, more), "--num_seeds=2"])
    files = sorted(tmp_path.rglob("*policy.tvp"))
    assert len(files) == 4
    for path in files:
        found, wanted = zeros_of(path), wanted_zeros(path)
        if weights == "float":
            assert found == wanted
        else:  # what is left may be cut to 0 too
            assert all(a >= b for a, b in zip(found, wanted, strict=True))
    one, other = (policy_file.load(path).weights for path in files[1::2])
    assert not all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other)))
    if "buffer_distance" in more:
        rows = read_jsonl(next(tmp_path.rglob("metrics.jsonl")))
        used = [row["replay/used"] for row in rows]
        assert max(used) <= 64 and min(used[2:]) < 64  # it forgot some of the steps
        assert any(row["replay/distance"] > 0.01 for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arm", [("td3", "set", "float", RLX2), ("ppo", "gradual", "float", CRITICS)]
)
def test_a_sparse_run_that_was_stopped_goes_on_to_the_bit(arm, tmp_path):
    arguments = {n: argv(tmp_path / n, *arm) for n in ("whole", "cut")}
    run.main([*arguments["whole"], "--num_generations=6", "--chunk_size=2"])
    with pytest.raises(SystemExit):
        stopped = parse([*arguments["cut"], "--num_generations=6", "--chunk_size=2"])
        at = StopAt(4)
        session.run(stopped, at.stop, sinks=[at])
    run.main([*arguments["cut"], "--num_generations=6", "--chunk_size=2", "--resume"])
    whole, cut = (next((tmp_path / n).rglob("policy.tvp")).read_bytes() for n in arguments)
    assert whole == cut


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ppo", "td3"])
def test_devices_share_one_mask(strategy, tmp_path):
    """Gradients differ from device to device, and are averaged before masks move."""
    more = RLX2 if strategy == "td3" else SPARSE
    arguments = argv(tmp_path, strategy, "rigl", "float", more)
    command = [sys.executable, "-m", "ternevo.run", *arguments, "--num_devices=2"]
    subprocess.run(command, check=True, capture_output=True)
    path = next(tmp_path.rglob("policy.tvp"))
    assert zeros_of(path) == wanted_zeros(path)


class StopAt:
    """A sink that stops a run as Ctrl-C does, after a generation."""

    def __init__(self, generation):
        self.generation, self.stop = generation, Stop()

    def write(self, rows):
        if rows[-1]["generation"] >= self.generation:
            self.stop.because_of(signal.SIGINT)

    def close(self):
        pass
