"""Policies that learn in C: whole lives by == with NumPy and with JAX, and what C refuses."""

import dataclasses
import functools
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ternevo.arithmetic import observation
from ternevo.deploy import c_header, living, tvp
from ternevo.deploy.capabilities import UnsupportedError
from ternevo.deploy.integer import NotIntegerError
from ternevo.policies import contract, policy_file
from ternevo.settings.export import ExportConfig
from ternevo.settings.policies import ENTM, Hebbian, HillClimber
from ternevo.training import exporting
from ternevo.types import ActionSpec, Inputs, ObsSpec, PolicyParams, Tensor

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
OBS = ObsSpec((5,))
TWO, FOUR = ActionSpec("continuous", 2, (-1.0, 0.0), (1.0, 4.0)), ActionSpec("discrete", 4)
LEARNERS = {
    "hebb": (Hebbian(), FOUR),
    "hebb_layers": (Hebbian((7,), rate=2), TWO),
    "hebb_rescaled": (Hebbian((6,), rules_per="layer", bound="rescale", rate=1), TWO),
    "hebb_babbles": (Hebbian(rules_per="input", terms="A", babble_steps=9), TWO),
    "hebb_sign": (Hebbian((6,), rules_per="output", activation="sign"), FOUR),
    "hebb_groups": (Hebbian((6, 5), rules_per="group", group_size=4, activation="int4"), TWO),
    "hebb_evolved": (Hebbian((6,), start="evolved", start_shift=0, activation="ternary"), TWO),
    "hebb_one_rate": (Hebbian(evolve_rate=False, terms="AD", rate=0, gain=-3, start_shift=0), TWO),
    "hebb_gain": (Hebbian(gain=8, observation_shift=8, babble_steps=3, dead_zone=14), FOUR),
    "climb": (HillClimber(num_trials=5), TWO),
    "climb_averaged": (HillClimber((6,), num_trials=4, trial_episodes=3, flip_rate=1), FOUR),
    "climb_all": (HillClimber((6,), "int4", evolve_mask=False, use_bias=False), TWO),
    "climb_random": (HillClimber((4, 3), "sign", start="random", flip_rate=0), TWO),
    "climb_trits": (HillClimber((4,), "ternary", observation_shift=0), FOUR),
    "climb_steep": (HillClimber((6,), num_trials=5, observation_shift=2), TWO),
    "tape": (ENTM(cell_size=3, num_cells=5), TWO),
    "tape_hidden": (ENTM(hidden_size=4, cell_size=2, num_cells=7), FOUR),
    "tape_expands": (ENTM(hidden_size=3, cell_size=4, num_cells=6, expand=True), TWO),
    "tape_of_one": (ENTM(cell_size=1, num_cells=1, expand=True), FOUR),
}
IN_JAX = ("hebb_layers", "climb_averaged", "tape_expands")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1")
STEPS, KEY = 150, jax.random.key(0)
SEED = int(jax.random.bits(KEY, (), jnp.uint32))
"""The seed that JAX draws from the key of a life."""

HARNESS = r"""
#include <stdio.h>
#include <stdlib.h>
static void get(void *to, size_t size) {
  if (fread(to, 1, size, stdin) != size) exit(3);
}
#define NONE
#define TOLD reward, begins,
#define LOOP(NAME, UP, GIVEN)                          \
  static void NAME##_loop(uint32_t seed) {             \
    NAME##_memory memory;                              \
    int8_t q[UP##_N_IN];                               \
    int32_t logits[UP##_N_OUT], bad = NAME##_selftest(); \
    float reward;                                      \
    int32_t begins;                                    \
    int i;                                             \
    fwrite(&bad, 4, 1, stdout);                        \
    NAME##_reset(&memory, seed);                       \
    for (i = 0; i < %d; i++) {                         \
      get(q, sizeof q);                                \
      get(&reward, 4);                                 \
      get(&begins, 4);                                 \
      NAME##_logits_q(&memory, GIVEN q, logits);       \
      fwrite(logits, sizeof logits, 1, stdout);        \
    }                                                  \
  }
"""


def drawn(settings, action) -> PolicyParams:
    """Return random trits, so that lives differ, and moments."""
    rng = np.random.default_rng(5)
    shapes = jax.eval_shape(contract.build(settings, OBS, action).init, jax.random.key(0))

    def of(tensor):
        values = jnp.asarray(rng.integers(-1, 2, tensor.values.shape), jnp.int8)
        return Tensor(values, jnp.zeros(tensor.exponent.shape, jnp.int8))

    params = jax.tree.map(of, shapes, is_leaf=lambda x: isinstance(x, Tensor))
    return PolicyParams(params, observation.of_all(rng.normal(size=(20, OBS.size))))


def record_of(settings, action, exponent: int = 0):
    """Return the record of a random policy; `exponent` is that of its first weights."""
    params = drawn(settings, action)
    if exponent:
        first, *rest = params.weights
        weight = first["weight"]._replace(exponent=jnp.int8(exponent))
        params = params._replace(weights=({**first, "weight": weight}, *rest))
    return policy_file.record_of(settings, OBS, action, params)


def script(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the observations, rewards and beginnings of a life."""
    rng = np.random.default_rng(seed)
    q = rng.integers(-127, 128, (STEPS, OBS.size)).astype(np.int8)
    rewards, begins = rng.normal(size=STEPS).astype(np.float32), rng.random(STEPS) < 0.2
    rewards[0], begins[0] = 0, True
    return q, rewards, begins


def lived(record, told) -> np.ndarray:
    """Return the logits [steps, out] of a life in NumPy."""
    runner, found = living.runner(record), []
    memory = runner.begin(np.asarray([SEED], np.uint32))
    for q, reward, begins in zip(*told, strict=True):
        now = living.Told(np.asarray([reward]), np.asarray([begins]))
        memory, logits = runner.step(memory, q[None], now)
        found.append(logits[0])
    return np.stack(found)


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    """One C file with all policies, what they are told, and what NumPy makes of it."""
    folder = tmp_path_factory.mktemp("lives")
    body, calls, stdin, wanted = [HARNESS % STEPS], [], b"", {}
    for i, (name, (settings, action)) in enumerate(LEARNERS.items()):
        exponent = -24 if name == "climb_steep" else 0
        record, told = record_of(settings, action, exponent), script(i)
        (folder / f"{name}.h").write_text(c_header.to_c(record, name, num_vectors=40))
        given = "TOLD" if isinstance(settings, HillClimber) else "NONE"
        body.append(f'#include "{name}.h"\nLOOP({name}, {name.upper()}, {given})')
        calls.append(f"  {name}_loop({SEED}u);")
        rows = zip(*told, strict=True)
        stdin += b"".join(q.tobytes() + r.tobytes() + np.int32(b).tobytes() for q, r, b in rows)
        wanted[name] = lived(record, told)
    main = "\n".join(["int main(void) {", *calls, "  return 0;", "}", ""])
    (folder / "all.c").write_text("\n".join([*body, main]))
    return folder, stdin, wanted


def compiled(lives, *flags: str) -> dict[str, np.ndarray]:
    """Return the logits of all lives in C, after a self test that is good."""
    folder, stdin, wanted = lives
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    command = ["gcc", *STRICT, *flags, folder / "all.c", "-o", folder / "program"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    done = subprocess.run([folder / "program"], input=stdin, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    words, at, found = np.frombuffer(done.stdout, np.int32), 0, {}
    for name, logits in wanted.items():
        assert words[at] == 0, f"{name}: self test {words[at]}"
        found[name] = words[at + 1 : at + 1 + logits.size].reshape(logits.shape)
        at += 1 + logits.size
    assert at == len(words)
    return found


@pytest.fixture(scope="module")
def in_c(lives):
    """The logits of all lives, as C usually is compiled."""
    return compiled(lives, "-O1")


def compare(found, lives) -> None:
    for name, logits in found.items():
        np.testing.assert_array_equal(logits, lives[2][name], err_msg=name)
        assert len(np.unique(logits, axis=0)) > (1 if name.startswith("tape") else 3), name


def test_c_lives_as_numpy_does(lives, in_c):
    """Logits of 150 steps of every kind of life; the headers of all of them in one file."""
    compare(in_c, lives)


@pytest.mark.wide  # of layers in test_c_layers.py
@pytest.mark.parametrize(
    "flags",
    [
        SANITIZED,
        pytest.param(
            ("-Os", "-DTERNEVO_NO_FLOAT", "-DTERNEVO_KERNEL=TERNEVO_VERTICAL"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_levels_agree_and_nothing_is_undefined(lives, flags):
    compare(compiled(lives, *flags), lives)


@pytest.mark.exact
@pytest.mark.parametrize("name", IN_JAX)
def test_c_lives_as_jax_does(lives, in_c, name):
    """Step by step, with the seed that JAX draws."""
    settings, action = LEARNERS[name]
    policy, params = contract.build(settings, OBS, action), drawn(settings, action).weights
    q, rewards, begins = script(list(LEARNERS).index(name))

    @quick_jit
    def live(key, told):
        step = lambda memory, now: policy.apply(params, memory, Inputs(*now))  # noqa: E731
        return jax.lax.scan(step, policy.reset(params, key), told)[1]

    told = jnp.asarray(q, jnp.float32), jnp.asarray(rewards), jnp.asarray(begins)
    exponent = living.runner(record_of(settings, action)).output_exponent
    logits = np.ldexp(in_c[name].astype(np.float32), -exponent)
    np.testing.assert_array_equal(logits, live(KEY, told))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Hebbian(fast="float"), "has the fast weights float"),
        (Hebbian(fast="ternary"), "has the fast weights ternary"),
        (HillClimber(weights="float"), "learns with float weights"),
        (ENTM(weights="float"), "learns with float weights"),
    ],
)
def test_floats_do_not_learn_in_c(settings, message):
    record = record_of(settings, TWO)
    if settings.weights == "float":
        layers = [
            dataclasses.replace(x, weights=x.weights.astype(np.float32)) for x in record.layers
        ]
        record = dataclasses.replace(record, layers=tuple(layers))
    with pytest.raises(NotIntegerError, match=message):
        c_header.to_c(record)


def test_the_comment_says_how_a_life_is_lived():
    text = c_header.to_c(record_of(*LEARNERS["climb"]), "robot")
    for line in (
        "robot_memory memory;",
        "robot_reset(&memory, 3);",
        "robot_act(&memory, reward, begins, obs, action);",
        "by 5 trials of 1 episodes in a life",
        "RAM: 40 bytes for all that changes in a life (robot_memory)",
    ):
        assert line in text, line


@pytest.mark.parametrize("name", ["hebb_layers", "climb", "tape_hidden"])
def test_the_command_exports_lives(name):
    """As files for a device, and as C; what does not learn refuses."""
    record = record_of(*LEARNERS[name])
    small = tvp.decode(exporting.converted(record, ExportConfig(Path("x"), "tvp")))
    assert tvp.encode(small.bare()) == tvp.encode(record.bare())
    told = script(0)
    np.testing.assert_array_equal(lived(small, told), lived(record, told))
    header = exporting.converted(record, ExportConfig(Path("x"), "c")).decode()
    assert "learns" in header and "policy_forward(policy_memory *memory" in header
    with pytest.raises(UnsupportedError, match="learning while it acts"):
        exporting.converted(record, ExportConfig(Path("x"), "html"))
