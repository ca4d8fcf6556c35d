"""Evaluation of a deployed convolutional policy on one core, with each kernel of the runtime.

"C" is the kernel that the processor runs fastest, "C avx2" and "C portable" are the others, in
batches; all must give the actions of the NumPy reference before they are timed.
"""

import importlib.machinery
import importlib.util
import math
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ternevo.bench.cases import DeployedConv
from ternevo.bench.contest import CaseError, Contest, Contestant
from ternevo.bench.deploy import environment
from ternevo.deploy import integer, runtime, tvp
from ternevo.deploy.record import Layer, PolicyRecord, Shape, Window
from ternevo.deploy.runtime import Policy

KERNELS = {"C": None, "C avx2": "avx2", "C portable": "portable"}
SLOWER = {"C": 1, "C avx2": 1, "C portable": 8, "NumPy batch": 64, "Python call": 4}
"""How many times fewer evaluations a contestant makes in a run."""


def build(setting: DeployedConv) -> Contest:
    """Return the backends for a random policy of these sizes; C first.

    Raises:
      CaseError: one of them does not give the actions of the reference.
    """
    record = random_policy(setting)
    obs = random_observations(setting)
    net = integer.compile_integer(record)
    rows = min(len(obs), 64)
    logits = integer.logits(net, integer.quantise(record, obs[:rows]))
    expected = integer.actions(record, net.output_exponent, logits)
    contestants = []
    for name in SLOWER:
        act = _acting(name, record)
        if act is None:
            contestants.append(Contestant(name, lambda: None, skipped="it does not run here"))
            continue
        if not np.array_equal(act(obs[:rows]), expected):
            raise CaseError(f"{name} does not give the actions of the reference")
        times = max(1, setting.evaluations // SLOWER[name] // len(obs))
        run = _repeated(act, obs, times)
        contestants.append(Contestant(name, run, evaluations=times * len(obs)))
    notes = {
        "file_bytes": len(tvp.encode(record.bare())),
        "weights": sum(layer.weights.size for layer in record.layers),
    }
    return Contest(contestants, notes)


def random_policy(setting: DeployedConv) -> PolicyRecord:
    """Return a policy without biases and with a third of its weights 0."""
    random = np.random.default_rng(0)
    layers: list[Layer] = []
    shape: Shape = setting.shape
    for out, kernel, stride in setting.filters:
        window = Window(kernel, kernel, stride, 0)
        layer = _layer(random, out, kernel * kernel * shape[2], setting.activation, window)
        layers.append(layer)
        shape = layer.shape_after(shape)
    for out in setting.hidden_sizes:
        layers.append(_layer(random, out, math.prod(shape), setting.activation))
        shape = (out,)
    layers.append(_layer(random, setting.num_actions, math.prod(shape), "none"))
    none = np.zeros(0, np.float32)
    return PolicyRecord(
        input_kind=setting.input_kind,
        observation_bits=1 if setting.input_kind == "bits" else 8,
        observation_shift=0,
        output_shift=0,
        mean=none,
        exponent=np.zeros(0, np.int8),
        output_kind="discrete",
        low=none,
        high=none,
        layers=tuple(layers),
        obs_shape=setting.shape,
    )


def random_observations(setting: DeployedConv) -> np.ndarray:
    """Return float32 [n, size]: bits, or pixels."""
    high = 2 if setting.input_kind == "bits" else 256
    size = (setting.observations, math.prod(setting.shape))
    return np.random.default_rng(1).integers(0, high, size).astype(np.float32)


def _layer(random: Any, out: int, fan_in: int, activation: str, window: Any = None) -> Layer:
    weights = random.choice([-1, 0, 1], (out, fan_in)).astype(np.int8)
    exponent = round(np.log2(np.sqrt(fan_in)))
    type_ = "dense" if window is None else "convolution"
    return Layer(weights, None, "ternary", activation, exponent, 0, type_, window)


def _acting(name: str, record: PolicyRecord) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return what makes actions of a batch, or None if it does not run here."""
    if name == "NumPy batch":
        return _numpy_batch(record)
    if runtime.backend() != "native":
        return None
    if name == "Python call":
        act = Policy(record).act
        return lambda obs: np.array([act(row) for row in obs])
    module = _extension(KERNELS[name])
    if module is None:
        return None
    policy = module.Policy(tvp.encode(record))

    def act_batch(obs: np.ndarray) -> np.ndarray:
        actions = np.empty(len(obs), np.int32)
        policy.act_batch(obs, actions)
        return actions

    return act_batch


def _numpy_batch(record: PolicyRecord) -> Callable[[np.ndarray], np.ndarray]:
    with environment(runtime.BACKEND_VARIABLE, "numpy"):
        return Policy(record).act_batch


def _extension(kernel: str | None) -> ModuleType | None:
    """Return the extension with a kernel of its own, or None where the processor lacks it.

    It is loaded once more, from a copy, as it chooses its kernel when it is loaded.
    """
    module = runtime.native_module()
    if kernel is None or module is None:
        return module
    with environment("TERNEVO_KERNEL", kernel), tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / Path(str(module.__file__)).name
        shutil.copyfile(str(module.__file__), copy)
        loader = importlib.machinery.ExtensionFileLoader(module.__name__, str(copy))
        spec = importlib.util.spec_from_loader(module.__name__, loader)
        assert spec is not None
        try:
            return importlib.util.module_from_spec(spec)
        except ValueError:  # the processor has no such kernel
            return None


def _repeated(act: Callable[[np.ndarray], np.ndarray], obs: np.ndarray, times: int) -> Any:
    def run() -> np.ndarray:
        for _ in range(times - 1):
            act(obs)
        return act(obs)

    return run
