"""Functions of outputs: what they give by hand, and the same integers in every backend, by ==."""

import dataclasses

import numpy as np
import pytest
from deep_records import check_functions, deep_record
from layered_records import recurrent
from policy_records import make_record, with_functions
from test_c_layers import compare, one_file
from test_deep_layers import BACKENDS, run_kernel
from test_numpy_layers import check as check_script

from ternevo.deploy import capabilities, functions, html, integer, runtime, tvp
from ternevo.policies import policy_file
from ternevo.settings.command_line import parse
from ternevo.settings.policies import Graph
from ternevo.settings.policies.settings import FUNCTIONS

BY_HAND = {
    "tanh": lambda x, full: x,
    "relu": lambda x, full: x if x > 0 else 0,
    "absolute": lambda x, full: -x if x < 0 else x,
    "sign": lambda x, full: full * ((x > 0) - (x < 0)),
    "hat": lambda x, full: full - (-x if x < 0 else x),
}


@pytest.mark.parametrize("activation", functions.GRIDS)
def test_each_function_gives_what_it_says_of_every_number_of_the_grid(activation):
    """And stays on the grid."""
    full = integer.GRIDS[activation][1]
    values = np.arange(-full, full + 1)
    for code, name in enumerate(FUNCTIONS):
        found = functions.shaped(np, np.array([code], np.int8), values[:, None], full)[:, 0]
        assert found.tolist() == [BY_HAND[name](int(x), full) for x in values]
        assert np.abs(found).max() <= full


def test_a_policy_by_hand():
    """Five nodes see half of a full scale from below; each has another function."""
    first = make_record((1, 5, 5), "int8", bias=False, inputs="i8", exponents=(0, 0))
    nodes, outputs = (
        dataclasses.replace(layer, weights=weights, exponent=0)
        for layer, weights in zip(
            first.layers, (np.full((5, 1), -1, np.int8), np.eye(5, dtype=np.int8)), strict=True
        )
    )
    nodes = dataclasses.replace(nodes, functions=np.arange(5, dtype=np.int8))
    record = dataclasses.replace(first, layers=(nodes, outputs))
    for policy in (runtime.Policy(record), runtime.Policy.from_bytes(tvp.encode(record))):
        assert policy.logits([60]).tolist() == [-60, 0, 60, -127, 67]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_runtime_gives_the_integers_of_the_reference(backend, monkeypatch):
    monkeypatch.setenv("TERNEVO_BACKEND", backend)
    check_functions(25)


@pytest.mark.skipif(runtime.native_module() is None, reason="the extension was not built")
@pytest.mark.parametrize("kernel", ["portable", "avx2", "avx512"])
def test_every_kernel_gives_the_integers_of_the_reference(kernel):
    run_kernel(kernel, "deep_records.check_functions(40)")


def some() -> list:
    """Return chains and cells on each grid, with all kinds of exponents."""
    kinds = [(types, name) for types in ("dense", "elman") for name in functions.GRIDS]
    return [
        with_functions(
            deep_record(seed, types=(types,), activations=(name,), shape=(9,), depth=2), seed
        )
        for seed, (types, name) in enumerate(kinds)
    ]


@pytest.mark.parametrize(
    ("kernel", "flags"),
    [("PORTABLE", ("-O1",)), ("VERTICAL", ("-O2", "-fsanitize=undefined")), ("AVX2", ("-O2",))],
)
def test_c_gives_the_integers_of_the_reference(tmp_path, kernel, flags):
    compare(one_file(tmp_path, some()), "gcc", kernel, *flags)


@pytest.mark.parametrize("place", range(6))
def test_the_script_gives_the_integers_of_the_reference(tmp_path, place):
    check_script(some()[place], tmp_path)


def test_floats_agree_with_the_integers_up_to_rounding():
    """The same weights as floats: NumPy's two routes, which share only the table of functions."""
    whole = with_functions(recurrent("elman", kind="ternary", bias=False), 3)
    layers = tuple(
        dataclasses.replace(
            layer,
            kind="float",
            weights=np.ldexp(layer.weights.astype(np.float32), -layer.exponents),
            exponent=0,
        )
        for layer in whole.layers
    )
    floats, q = dataclasses.replace(whole, layers=layers), np.arange(-60, 60).reshape(30, 4)
    own, others = runtime.Policy(whole), runtime.Policy(floats)
    net = integer.compile_integer(whole)
    memory, other = own.reset(30), others.reset(30)
    for _ in range(4):
        memory, logits = own.step_logits_q(memory, q.astype(np.int8))
        other, found = others.step_logits_q(other, q.astype(np.int8))
        np.testing.assert_array_equal(other, memory)
        np.testing.assert_allclose(found, np.ldexp(logits * 1.0, -net.output_exponent), rtol=1e-6)


def test_who_has_no_functions_says_so():
    record = with_functions(make_record((3, 4, 2), "int8"))
    with pytest.raises(capabilities.UnsupportedError, match=r"functions of nodes \(layer 0\)"):
        html.to_html(record)
    with pytest.raises(tvp.PolicyFormatError, match="which only --policy graph has"):
        policy_file.from_record(record)


def test_functions_are_told_apart_on_the_command_line(capsys):
    argv = ["--policy", "graph", "--node_functions"]
    assert parse([*argv, "relu", "hat"]).policy.node_functions == ("relu", "hat")
    with pytest.raises(SystemExit):
        parse([*argv, "tanh", "gaussian"])
    said = " ".join(capsys.readouterr().err.split())
    assert "each is tanh, relu, absolute, sign or hat, got 'gaussian'" in said


@pytest.mark.parametrize("names", [(), ("hat", "hat")])
def test_each_function_is_named_once(names):
    with pytest.raises(ValueError, match="node_functions must be one or more, each once, got"):
        Graph(node_functions=names)
