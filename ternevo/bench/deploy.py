"""Evaluation of a deployed policy on one core: C, Python, NumPy, JAX, onnxruntime.

All backends turn float observations into actions and see the same 4,096 observations, and
all must give the same actions before they are timed. A "ctypes call" is one call of the compiled
function for each evaluation, with pointers taken from NumPy arrays each time. This is the simplest
way to wrap C code, and roughly what a claim of 500,000 evaluations per second amounts to.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ternevo.bench.cases import Deployed
from ternevo.bench.contest import CaseError, Contest, Contestant
from ternevo.deploy import c_header, integer, onnx_graph, runtime, tvp
from ternevo.deploy.record import Layer, PolicyRecord
from ternevo.deploy.runtime import Policy
from ternevo.policies import policy_file
from ternevo.policies.acting import Actor, seen_first

NUM_OBSERVATIONS = 4096
SINGLE_CALLS = 20_000
"""Number of evaluations in a run that makes one call for each."""

FLAGS = {
    "C": ("-march=native",),
    "C avx2": ("-mavx2", "-DTERNEVO_KERNEL=TERNEVO_AVX2"),
    "C portable": (),
}
SOURCE = """
#include "policy.h"
#ifdef POLICY_ACTION_SHIFT
#define ACTION float
#define ACT(obs, action) policy_act(obs, action)
#define SIZE POLICY_N_OUT
#else
#define ACTION int32_t
#define ACT(obs, action) *(action) = policy_act(obs)
#define SIZE 1
#endif
int selftest(void) { return policy_selftest(); }
void act(const float *obs, ACTION *action) { ACT(obs, action); }
void act_many(const float *obs, int rows, int times, ACTION *actions) {
  int i, k;
  for (k = 0; k < times; k++)
    for (i = 0; i < rows; i++) ACT(obs + (long)i * POLICY_N_IN, actions + (long)i * SIZE);
}
"""


def build(setting: Deployed) -> Contest:
    """Return the backends for a random policy of these sizes; C first.

    Raises:
      CaseError: one of them does not give the actions of the reference.
    """
    record = random_policy(setting)
    obs = np.random.default_rng(1).normal(size=(NUM_OBSERVATIONS, record.obs_size))
    obs = obs.astype(np.float32)
    if record.input_kind == "bits":
        obs = (obs > 0).astype(np.float32)
    net = integer.compile_integer(record)
    logits = integer.logits(net, integer.quantise(record, obs))
    expected = integer.actions(record, net.output_exponent, logits)
    builders = dict.fromkeys(FLAGS, _compiled_c) | {
        "Python call": _python_call,
        "Python batch": _python_batch,
        "NumPy batch": _numpy_batch,
        "ctypes call": _ctypes_call,
        "JAX call": _jax_call,
        "JAX batch": _jax_batch,
        "onnxruntime call": _onnxruntime_call,
    }
    if record.input_kind == "bits":
        builders |= {
            "Python call, bools": _python_call_of_bools,
            "Python call, words": _python_call_of_words,
        }
    contestants = [
        _checked(name, build_one, record, obs, expected, setting)
        for name, build_one in builders.items()
    ]
    notes = {
        "file_bytes": len(tvp.encode(tvp.smallest(record.bare()))),
        "weights": sum(layer.weights.size for layer in record.layers),
    }
    return Contest(contestants, notes)


def random_policy(setting: Deployed) -> PolicyRecord:
    """Return a policy without biases, with weights of all values, of which `density` are kept."""
    random = np.random.default_rng(0)
    values = {"ternary": [-1, 0, 1], "binary": [-1, 1], "int8": range(-127, 128)}[setting.weights]
    size = max(np.abs(values))
    count = len(setting.sizes) - 1
    layers = []
    for i, (inputs, out) in enumerate(zip(setting.sizes, setting.sizes[1:], strict=False)):
        weights = random.choice(values, (out, inputs)).astype(np.int8)
        if setting.density < 1:
            weights[random.random(weights.shape) >= setting.density] = 0
        activation = setting.activation if i < count - 1 else "none"
        exponent = round(np.log2(size * np.sqrt(setting.density * inputs)))
        layers.append(Layer(weights, None, setting.weights, activation, exponent, 0))
    is_discrete = setting.output_kind == "discrete"
    bound = np.ones(0 if is_discrete else setting.sizes[-1], np.float32)
    inputs = setting.sizes[0] if setting.input_kind == "f32" else 0
    return PolicyRecord(
        input_kind=setting.input_kind,
        observation_bits=8 if setting.input_kind == "f32" else 1,
        observation_shift=0,
        output_shift=0,
        mean=np.zeros(inputs, np.float32),
        exponent=np.full(inputs, 5, np.int8),
        output_kind=setting.output_kind,
        low=-bound,
        high=bound,
        layers=tuple(layers),
    )


Way = tuple[Callable[[], Any], int]
"""A function that makes all evaluations of a run and returns the last actions, and their number."""


class Missing(Exception):
    """Why a backend cannot run here."""


def _checked(
    name: str,
    build_one: Callable[..., Way],
    record: PolicyRecord,
    obs: np.ndarray,
    expected: np.ndarray,
    setting: Deployed,
) -> Contestant:
    try:
        run, evaluations = build_one(name, record, obs, setting)
    except Missing as missing:
        return Contestant(name, lambda: None, skipped=str(missing))
    actions = np.asarray(run())
    if not np.array_equal(actions, expected[: len(actions)]):
        raise CaseError(f"{name} does not give the actions of the reference")
    return Contestant(name, run, evaluations=evaluations)


# --------------------------------------------------------------------------------------- the ways


def _compiled_c(name: str, record: PolicyRecord, obs: np.ndarray, setting: Deployed) -> Way:
    library = _library(record, FLAGS[name])
    actions = _empty_actions(record, len(obs))
    times = max(1, setting.evaluations // len(obs))
    arguments = (obs.ctypes.data, len(obs), times, actions.ctypes.data)

    def run() -> np.ndarray:
        library.act_many(*arguments)
        return actions

    return run, times * len(obs)


def _ctypes_call(name: str, record: PolicyRecord, obs: np.ndarray, setting: Deployed) -> Way:
    del name, setting
    act = _library(record, FLAGS["C"]).act
    act.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    actions = _empty_actions(record, len(obs))
    rows, places = list(obs), list(actions.reshape(len(obs), -1))

    def run() -> np.ndarray:
        for _ in range(SINGLE_CALLS // len(rows)):
            for row, action in zip(rows, places, strict=True):
                act(row.ctypes.data, action.ctypes.data)
        return actions

    return run, SINGLE_CALLS // len(rows) * len(rows)


def _python_call(name: str, record: PolicyRecord, obs: np.ndarray, setting: Deployed) -> Way:
    del name, setting
    if runtime.backend() != "native":
        raise Missing("the extension was not built")
    return _one_by_one(Policy(record).act, obs, 10 * SINGLE_CALLS)


def _python_call_of_bools(
    name: str, record: PolicyRecord, obs: np.ndarray, setting: Deployed
) -> Way:
    return _python_call(name, record, obs > 0, setting)


def _python_call_of_words(
    name: str, record: PolicyRecord, obs: np.ndarray, setting: Deployed
) -> Way:
    words = np.packbits(obs > 0, axis=1, bitorder="little").view("<u8").astype(np.uint64)
    return _python_call(name, record, words, setting)


def _python_batch(name: str, record: PolicyRecord, obs: np.ndarray, setting: Deployed) -> Way:
    del name
    if runtime.backend() != "native":
        raise Missing("the extension was not built")
    return _in_batches(Policy(record).act_batch, obs, setting.evaluations)


def _numpy_batch(name: str, record: PolicyRecord, obs: np.ndarray, setting: Deployed) -> Way:
    del name
    with environment(runtime.BACKEND_VARIABLE, "numpy"):
        policy = Policy(record)
    return _in_batches(policy.act_batch, obs, setting.evaluations // 100)


def _jax_call(name: str, record: PolicyRecord, obs: np.ndarray, setting: Deployed) -> Way:
    del name, setting
    act = _jitted(record)
    return _one_by_one(lambda row: np.asarray(act(row)), obs, NUM_OBSERVATIONS)


def _jax_batch(name: str, record: PolicyRecord, obs: np.ndarray, setting: Deployed) -> Way:
    del name
    act = jax.jit(jax.vmap(_jitted(record)))
    return _in_batches(lambda rows: np.asarray(act(rows)), obs, setting.evaluations // 100)


def _onnxruntime_call(name: str, record: PolicyRecord, obs: np.ndarray, setting: Deployed) -> Way:
    del name, setting
    try:
        session = onnx_graph.session(onnx_graph.to_bytes(record))
    except ImportError as error:
        raise Missing(str(error)) from error
    source = session.get_inputs()[0].name

    def act(row: np.ndarray) -> Any:
        actions: Any = session.run(["action"], {source: row[None]})[0]
        return actions[0]

    return _one_by_one(act, obs, NUM_OBSERVATIONS)


def _one_by_one(act: Callable[[np.ndarray], Any], obs: np.ndarray, evaluations: int) -> Way:
    rows = list(obs)
    times = max(1, evaluations // len(rows))

    def run() -> list:
        actions = []
        for _ in range(times):
            actions = [act(row) for row in rows]
        return actions

    return run, times * len(rows)


def _in_batches(act_batch: Callable[[np.ndarray], Any], obs: np.ndarray, evaluations: int) -> Way:
    times = max(1, evaluations // len(obs))

    def run() -> np.ndarray:
        for _ in range(times - 1):
            act_batch(obs)
        return act_batch(obs)

    return run, times * len(obs)


# ----------------------------------------------------------------------------------------- pieces


def _library(record: PolicyRecord, flags: tuple[str, ...]) -> ctypes.CDLL:
    """Compile the exported header, run its self-test, and return the library."""
    if "-mavx2" in flags and "avx2" not in _processor_flags():
        raise Missing("the processor has no AVX2")
    library = compiled_library({"policy.h": c_header.to_c(record), "policy.c": SOURCE}, *flags)
    if library.selftest():
        raise CaseError("the self-test of the C header fails")
    library.act_many.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
    return library


def compiled_library(files: dict[str, str], *flags: str) -> ctypes.CDLL:
    """Compile policy.c among these files and load it.

    Raises:
      Missing: there is no compiler.
      CaseError: it failed.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Missing("there is no C compiler")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text)
        out = Path(folder) / "policy.so"
        command = [compiler, "-std=c99", "-O2", "-shared", "-fPIC", "policy.c", "-o", out]
        made = subprocess.run([*command, *flags], cwd=folder, capture_output=True, text=True)
        if made.returncode:
            raise CaseError(f"the C compiler failed: {made.stderr[:500]}")
        return ctypes.CDLL(str(out))


def _processor_flags() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def _empty_actions(record: PolicyRecord, rows: int) -> np.ndarray:
    if record.output_kind == "discrete":
        return np.empty(rows, np.int32)
    return np.empty((rows, record.num_outputs), np.float32)


def _jitted(record: PolicyRecord) -> Callable[[Any], Any]:
    """Return the JAX policy used in training, from observation to action."""
    if record.input_kind != "f32":
        raise Missing("JAX policies take floats")
    saved = policy_file.from_record(record)
    actor = Actor(saved.policy, saved.obs, saved.action)

    @jax.jit
    def act(obs: Any) -> Any:
        return actor.act(saved.weights, saved.quantiser, saved.reset(), seen_first(obs))[1]

    return act


@contextlib.contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable meanwhile."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
