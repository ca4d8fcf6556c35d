"""Graphs that push a cart with two poles, as C files: under 400 bytes of data, the same forces.

One of them balances the poles: examples/two_poles.tvp, see docs/how-to/evolve_a_topology.md.
"""

import re
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import wide
from policy_inputs import inputs
from test_c_header import STRICT, tool
from test_c_layers import compare, one_file

from ternevo import envs
from ternevo.arithmetic import observation
from ternevo.deploy import c_header, integer, pruning, runtime
from ternevo.policies import contract, policy_file
from ternevo.policies.acting import Actor, seen_after, seen_first
from ternevo.policies.graph import in_floats
from ternevo.policies.policy_file import SavedPolicy
from ternevo.settings.policies import Graph
from ternevo.training import ternarizing
from ternevo.types import PolicyParams, Tensor

CHAMPION = Path(__file__).parents[2] / "examples" / "two_poles.tvp"
MAIN = r"""
#include <stdio.h>
#include "policy.h"
int main(void) {
  float obs[POLICY_N_IN], action[POLICY_N_OUT];
  int8_t memory[POLICY_MEMORY];
  if (policy_selftest()) return 2;
  policy_reset(memory);
  while (fread(obs, sizeof obs, 1, stdin) == 1) {
    policy_act(memory, obs, action);
    fwrite(action, sizeof action, 1, stdout);
  }
  return 0;
}
"""


def random_graph(settings: Graph, env, seed: int) -> PolicyParams:
    """Return a graph of random links, a third of them, and gains; it moves the cart about."""
    rng = np.random.default_rng(seed)
    policy = contract.build(settings, env.obs, env.action)
    (layer,) = policy.init(jax.random.key(seed))
    weight, bias = layer["weight"], layer["bias"]
    trits = rng.choice([-1, 0, 0, 1], weight.values.shape)
    exponents = weight.exponent + rng.integers(2, 6, weight.exponent.shape)
    drawn = {
        "weight": Tensor(jnp.asarray(trits, jnp.int8), jnp.asarray(exponents, jnp.int8)),
        "bias": Tensor(
            jnp.asarray(rng.integers(-1, 2, bias.values.shape), jnp.int8), bias.exponent
        ),
    }
    return PolicyParams((drawn,), observation.empty(env.obs.size))


def saved_graph(folder, env, weights: str, update="recurrent") -> SavedPolicy:
    """Return a random graph from its file: of trits, or of floats that were rounded.

    Or the champion that balances the poles, rounded as well.
    """
    if weights == "champion":
        return policy_file.load(CHAMPION)
    path = folder / "policy.tvp"
    if weights == "ternary":
        settings = Graph(max_hidden=6, copies=4)
        policy_file.save(path, env, "graph", settings, random_graph(settings, env, 4))
        return policy_file.load(path)
    settings = Graph(max_hidden=6, copies=4, weights="float", update=update)
    policy = contract.build(settings, env.obs, env.action)
    assert policy.topology is not None
    size, rng = policy.topology.num_nodes, np.random.default_rng(4)
    links = 0.3 * rng.normal(size=(3 + 1 + size, size)) * (rng.random((3 + 1 + size, size)) < 0.5)
    zeros = jnp.zeros(size, jnp.int8)
    params = policy.topology.params(jnp.asarray(links, jnp.float32), zeros, zeros)
    there = PolicyParams(params, observation.empty(env.obs.size))
    policy_file.save(folder / "float.tvp", env, "graph", settings, there)
    ternarizing.ternarize(folder / "float.tvp", path, env, form=ternarizing.Form("int8", "layer"))
    return policy_file.load(path)


def played(env, settings: Graph, params: PolicyParams, steps: int):
    """Return observations, forces and whether poles fell, which are then set up again."""
    policy = contract.build(settings, env.obs, env.action)
    actor, key = Actor(policy, env.obs, env.action), jax.random.key(0)
    quantiser = observation.freeze(params.moments, env.obs.kind)
    begin = env.reset(key, env.draw_task(key))

    def one(carry, _):
        state, memory, seen = carry
        memory, action = actor.act(params.weights, quantiser, memory, seen)
        after, timestep = env.step(key, state, action)
        is_over = timestep.terminated | timestep.truncated
        start = begin[0], seen_first(begin[1])
        going_on = after, seen_after(timestep)._replace(is_first=jnp.asarray(False))
        state, now = jax.tree.map(lambda a, b: jnp.where(is_over, a, b), start, going_on)
        return (state, memory, now), (seen.obs, action, timestep.terminated)

    start = begin[0], policy.reset(params.weights, key), seen_first(begin[1])
    return jax.jit(lambda: jax.lax.scan(one, start, None, steps)[1])()


@pytest.mark.parametrize(
    ("weights", "steps"),
    [
        ("ternary", 2_000),
        pytest.param("int8", 2_000, marks=pytest.mark.slow),  # so are those of the champion
        pytest.param("champion", 100_000, marks=pytest.mark.wide),
        pytest.param("ternary", 100_000, marks=pytest.mark.slow),
    ],
)
def test_c_gives_the_forces_of_jax(tmp_path, weights, steps):
    env = envs.make("control/double_pole_no_velocity", steps)
    saved = saved_graph(tmp_path, env, weights)
    assert saved.settings.weights == ("int8" if weights == "champion" else weights)
    params = PolicyParams(saved.weights, observation.empty(env.obs.size))
    obs, forces, fell = map(np.asarray, played(env, saved.settings, params, steps))
    assert np.unique(forces).size > 10  # it is no constant
    assert fell.any() == (weights != "champion")
    assert saved.record is not None
    record = pruning.pruned(saved.record)
    assert record.layers[0].size <= 7
    header = c_header.to_c(record, "policy", 4, None, "2026-01-01")
    (tmp_path / "policy.h").write_text(header)
    (tmp_path / "main.c").write_text(MAIN)
    program = tmp_path / "main"
    subprocess.run(
        [tool("gcc"), "-std=c99", "-O2", *STRICT, tmp_path / "main.c", "-o", program, "-lm"],
        check=True,
    )
    done = subprocess.run(
        [program], input=obs.astype(np.float32).tobytes(), capture_output=True, check=True
    )
    found = np.frombuffer(done.stdout, np.float32).reshape(forces.shape)
    np.testing.assert_array_equal(found, forces)


@pytest.mark.parametrize(
    "weights", wide(["ternary", "int8", "champion"], keep=("ternary", "champion"))
)
def test_the_data_of_a_graph_take_less_than_400_bytes(tmp_path, weights):
    """All constants of the object file, without the self test."""
    env = envs.make("control/double_pole_no_velocity")
    saved = saved_graph(tmp_path, env, weights)
    assert saved.record is not None
    record = pruning.pruned(saved.record)
    (tmp_path / "policy.h").write_text(c_header.to_c(record, "policy", 4, None, "2026-01-01"))
    source = tmp_path / "data.c"
    source.write_text('#include "policy.h"\nvoid f(int8_t *m, const float *o, float *a)'
                      '{ policy_act(m, o, a); }\n')  # fmt: skip
    flags = ("-std=c99", "-Os", "-DTERNEVO_NO_SELFTEST", "-c")
    subprocess.run([tool("gcc"), *flags, source, "-o", tmp_path / "data.o"], check=True)
    text = subprocess.run(
        [tool("objdump"), "-h", tmp_path / "data.o"], capture_output=True, check=True, text=True
    ).stdout
    sections = re.findall(r"\s(\.(?:rodata|data|bss)\S*)\s+([0-9a-f]+)", text)
    assert 0 < sum(int(size, 16) for _, size in sections) < 400


def test_rounding_moves_each_link_by_half_a_step_at_most_and_keeps_its_copies(tmp_path):
    env = envs.make("control/double_pole_no_velocity")
    saved = saved_graph(tmp_path, env, "int8")
    floats = policy_file.load(tmp_path / "float.tvp")
    assert floats.policy.topology is not None and floats.record is not None
    whole = floats.policy.topology.links(floats.weights)[0][:3]  # shared out among four copies
    assert (whole == 4 * floats.record.layers[0].weights[:, :12:4].T).all()
    (there,), (own,) = floats.weights, saved.weights
    for name, (values, exponent) in own.items():
        step = np.ldexp(1.0, -np.asarray(exponent, np.int32))
        assert (np.abs(values * step - there[name].values) <= step / 2).all()
    assert saved.record is not None
    rows = saved.record.layers[0].weights
    assert (rows[:, :12].reshape(-1, 3, 4) == rows[:, :12:4, None]).all()
    with pytest.raises(ValueError, match="--scales output: --policy graph has no such option"):
        form = ternarizing.Form("int8", "output")
        ternarizing.ternarize(tmp_path / "float.tvp", tmp_path / "other.tvp", env, form=form)


def test_a_graph_without_memory_of_floats_is_rounded_and_runs_in_c(tmp_path):
    """What passes observations on has large weights, as exponents of outputs must be alike.

    In floats its links give the same numbers; only a bias has a size that is rounded.
    """
    env = envs.make("control/double_pole_no_velocity")
    saved = saved_graph(tmp_path, env, "int8", "feed_forward")
    (layer,) = saved.weights
    bias = layer["bias"]._replace(values=jnp.zeros_like(layer["bias"].values))
    links = PolicyParams(({**layer, "bias": bias},), saved.moments)
    record = policy_file.record_of(saved.settings, saved.obs, saved.action, links)
    passed = record.layers[0].weights[: env.obs.size]
    np.testing.assert_array_equal(passed, np.eye(*passed.shape) * passed.max())
    assert passed.max() > 1
    compare(one_file(tmp_path, [pruning.pruned(record), saved.record]), "gcc", "PORTABLE", "-O1")
    q = np.random.default_rng(0).integers(-127, 128, (500, env.obs.size)).astype(np.int8)
    settings, weights = in_floats(saved.settings, links.weights)
    floats = contract.build(settings, saved.obs, saved.action)
    outputs = jax.vmap(lambda x: floats.apply(weights, (), inputs(x))[1])(jnp.float32(q))
    exponent = integer.compile_integer(record).output_exponent
    found = np.ldexp(runtime.Policy(record).logits_q(q).astype(np.float32), -exponent)
    assert np.unique(found).size > 50
    np.testing.assert_array_equal(found, outputs)
