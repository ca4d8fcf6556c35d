"""C headers of images, pools, cells and skips against `integer`, with ==: kernels, compilers."""

import dataclasses
import itertools
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from deep_records import ACTIVATIONS, deep_record
from policy_records import make_layer, make_record, observations, random_integers
from test_c_header import (
    AVR_MAIN,
    KERNELS,
    NEEDED,
    NEON,
    SANITIZERS,
    STRICT,
    TABLES,
    check_32_bits,
    cpu_flags,
    run,
    tool,
)

from ternevo.deploy import c_header, c_layers, integer
from ternevo.deploy.record import PolicyRecord, Window

COUNT = 12
"""Steps of each policy, which are one episode."""

Files = tuple[Path, bytes, bytes]

HARNESS = r"""
#include <stdio.h>
#include <stdlib.h>
static void get(void *to, size_t size) {
  if (fread(to, 1, size, stdin) != size) exit(3);
}
static void put(const void *from, size_t size) {
  if (fwrite(from, 1, size, stdout) != size) exit(4);
}
"""
LOOP = r"""
#include "NAME.h"
static void NAME_loop(int count) {
  float obs[UP_N_IN];
  int8_t q[UP_N_IN];
  int32_t logits[UP_N_OUT];
  TYPE action[SIZE];
  int32_t result = NAME_selftest();
  int i;
  MEMORIES
  put(&result, 4);
  for (i = 0; i < count; i++) {
    get(obs, sizeof obs);
    NAME_quantise(obs, q);
    put(q, sizeof q);
    ACT
    put(action, sizeof action);
    get(q, sizeof q);
    NAME_logits_q(WITHb q, logits);
    put(logits, sizeof logits);
    ACT_Q
    put(action, sizeof action);
    FIXED
    LAST
  }
}
"""


def loop(name: str, record: PolicyRecord) -> str:
    """Return a function that runs every entry of a header, each with a memory of its own."""
    is_discrete, size = record.output_kind == "discrete", record.memory_size
    texts = {
        "MEMORIES": "",
        "ACT_Q": "action[0] = (int32_t)NAME_act_q(WITHc q);",
        "ACT": "action[0] = (int32_t)NAME_act(WITHa obs);",
        "FIXED": "",
        "LAST": "put(b, sizeof b);" if size else "",
        "TYPE": "int32_t" if is_discrete else "float",
        "SIZE": "1" if is_discrete else "UP_N_OUT",
    }
    if not is_discrete:
        texts["ACT_Q"] = "NAME_act_q(WITHc q, action);"
        texts["ACT"] = "NAME_act(WITHa obs, action);"
        texts["FIXED"] = "NAME_act_fixed(WITHd q, logits); put(logits, sizeof logits);"
    if size:
        used = "abc" if is_discrete else "abcd"
        texts["MEMORIES"] = f"int8_t {', '.join(f'{x}[UP_MEMORY]' for x in used)};\n  "
        texts["MEMORIES"] += " ".join(f"NAME_reset({x});" for x in used)
    text = LOOP
    for key, value in texts.items():
        text = re.sub(rf"\b{key}\b", value, text)
    text = re.sub(r"WITH(\w) ", r"\1, " if size else "", text)
    return text.replace("NAME", name).replace("UP", name.upper())


def one_file(folder: Path, records: list[PolicyRecord], count: int = COUNT) -> Files:
    """Write one C file with many policies; return what goes into it, and what must come out."""
    text, calls, stdin, expected = HARNESS, "", b"", b""
    rng = np.random.default_rng(0)
    for i, record in enumerate(records):
        (folder / f"p{i}.h").write_text(c_header.to_c(record, f"p{i}", num_vectors=4))
        text += loop(f"p{i}", record)
        calls += f"  p{i}_loop({count});\n"
        obs, q = observations(record, rng, count), random_integers(record, rng, count)
        stdin += b"".join(each.tobytes() for pair in zip(obs, q, strict=True) for each in pair)
        expected += answers(record, obs, q)
    text += f"int main(void) {{\n{calls}  return 0;\n}}\n"
    (folder / "all.c").write_text(text)
    return folder, stdin, expected


def answers(record: PolicyRecord, obs: np.ndarray, q: np.ndarray) -> bytes:
    """Return what a loop says, by the NumPy reference."""
    net, own = integer.compile_integer(record), integer.quantise(record, obs)
    memories, logits = both_episodes(net, np.stack([own, q], 1))
    actions = integer.actions(record, net.output_exponent, logits) + 0
    parts = [own, actions[:, 0], logits[:, 1], actions[:, 1]]
    if record.output_kind == "continuous":
        one = 2 ** max(net.output_exponent, 0)
        parts.append(np.clip(logits[:, 1].astype(np.int64), -one, one).astype(np.int32))
    rows = zip(*parts, memories[:, 1], strict=True)
    return np.int32(0).tobytes() + b"".join(part.tobytes() for row in rows for part in row)


def both_episodes(net: integer.IntegerNet, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return memories [n, 2, memory] and logits [n, 2, out] of two episodes side by side."""
    if not net.memory.size:
        return integer.step(net, np.zeros((*q.shape[:2], 0), np.int8), q)
    memory, found = np.tile(net.memory, (2, 1)), []
    for rows in q:
        found.append(integer.step(net, memory, rows))
        memory = found[-1][0]
    return np.stack([x for x, _ in found]), np.stack([x for _, x in found])


def of_layer(seed: int, type_: str, activation: str, inputs: str, depth: int = 2) -> PolicyRecord:
    """Return a policy whose hidden layers are of one type."""
    shape = (6, 5, 3) if type_ in ("convolution", "max_pool") else (9,)
    return deep_record(
        seed, types=(type_,), activations=(activation,), shape=shape, inputs=inputs, depth=depth
    )


def each_type() -> list[PolicyRecord]:
    """Every type of layer with every activation, and all kinds of inputs in turn."""
    kinds = itertools.product(("convolution", "max_pool", "elman", "gated", "dense"), ACTIVATIONS)
    inputs = itertools.cycle(("pixels", "f32", "bits", "i8", "bits"))
    return [of_layer(i, *kind, next(inputs)) for i, kind in enumerate(kinds)]


def special() -> list[PolicyRecord]:
    """Return policies at limits of the kernels."""
    wide = make_record((5000, 9, 2), "ternary", inputs="pixels", exponents=(5, 1))
    only_bits = deep_record(5, types=("convolution",), shape=(12, 12, 4), inputs="bits", depth=3)
    layers = make_record((9,) * 18, "ternary", exponents=(1,) * 17, seed=4)
    signs = of_layer(7, "convolution", "sign", "bits", 3)
    many = deep_record(11, types=("gated", "elman"), activations=("sign", "ternary"), depth=5)
    return [wide, only_bits, layers, signs, many]


@pytest.fixture(scope="module")
def some(tmp_path_factory):
    """One C file with policies of all types, activations and kinds of inputs."""
    return one_file(tmp_path_factory.mktemp("some"), each_type()[::2] + special())


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """The same with fewer, as compiling takes most of the time."""
    return one_file(tmp_path_factory.mktemp("few"), each_type()[1::5] + special()[3:])


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """The same with many, and a row of more inputs than kernels of signs can count."""
    folder = tmp_path_factory.mktemp("everything")
    long = make_record((40_000, 9, 2), inputs="bits", output="continuous")
    return one_file(folder, each_type() + special() + [long, *map(deep_record, range(100))])


def compare(files, compiler: str, kernel: str, *flags: str) -> None:
    """Compile everything, run it, and compare what it says."""
    folder, stdin, expected = files
    if not NEEDED.get(kernel, set()) <= cpu_flags():
        pytest.skip(f"this processor has no {kernel}")
    language = ("-std=c++11", "-x", "c++") if "++" in compiler else ("-std=c99",)
    chosen = (*KERNELS.get(kernel, ()), f"-DTERNEVO_KERNEL=TERNEVO_{kernel}")
    program = folder / "program"
    options = (*language, *STRICT, *chosen, *flags)
    run(tool(compiler), *options, folder / "all.c", "-o", program)
    found = run(program, input=stdin).stdout
    assert len(found) == len(expected)
    different = np.flatnonzero(np.frombuffer(found, np.uint8) != np.frombuffer(expected, np.uint8))
    assert not different.size, f"{different.size} bytes differ, the first is byte {different[0]}"


@pytest.mark.parametrize(
    "compiler, kernel, flags",
    [
        ("gcc", "PORTABLE", ("-O1",)),
        pytest.param("g++", "AVX2", ("-O1", "-DTERNEVO_MAPS=static"), marks=pytest.mark.wide),
    ],
)
def test_c_computes_what_python_does(some, compiler, kernel, flags):
    compare(some, compiler, kernel, *flags)


@pytest.mark.parametrize(
    "kernel, flags",
    [("VERTICAL", SANITIZERS), ("AVX512", ("-O2", TABLES))],
)
def test_levels_agree_and_nothing_is_undefined(few, kernel, flags):
    compare(few, "gcc", kernel, *flags)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("compiler", ["gcc", "g++", "clang"])
@pytest.mark.parametrize("flags", [("-O3",), ("-Os", TABLES), SANITIZERS])
def test_compilers_agree(everything, compiler, kernel, flags):
    compare(everything, compiler, kernel, *flags)


@pytest.mark.slow
def test_a_hundred_thousand_inputs_of_each_type(tmp_path):
    files = one_file(tmp_path, each_type(), 25_000)  # with each of four activations
    compare(files, "gcc", "PORTABLE", "-O2")
    compare(files, "gcc", "AVX2", "-O2")


@pytest.mark.slow
def test_neon_in_plain_c(everything, tmp_path):
    (tmp_path / "arm_neon.h").write_text(NEON)
    compare(everything, "gcc", "NEON", "-O1", TABLES, f"-I{tmp_path}")


@pytest.mark.slow
def test_32_bits(everything, tmp_path):
    check_32_bits(tmp_path)
    compare(everything, "gcc", "VERTICAL", "-m32", "-O2", "-DTERNEVO_SOFT_FLOAT=1")


# ---------------------------------------------------------------------------------- the plan


def test_values_that_are_needed_at_the_same_time_share_no_place():
    """Interpret the plan: what a layer takes or adds is what the layer before it has written."""
    for seed in range(200):
        record = deep_record(seed, depth=6)
        net = integer.compile_integer(record)
        plan = c_layers.plan(record, net)
        owner = np.full(plan.map_size, -2)
        if plan.steps[0].source != "q":
            owner[span(plan.steps[0].source, record.sizes[0])] = -1
        for i, step in enumerate(plan.steps):
            for number, where in ((i, step.source), (i - step.layer.skip + 1, step.added)):
                if where.startswith("maps"):
                    assert (owner[span(where, record.sizes[number])] == number - 1).all()
            if step.target.startswith("maps"):
                owner[span(step.target, record.sizes[i + 1])] = i
        assert plan.map_size <= sum(record.sizes[:-1])


def span(place: str, size: int) -> slice:
    start = int(place.partition(" + ")[2] or 0)
    return slice(start, start + size)


def test_a_chain_of_layers_needs_the_place_of_two():
    window = Window(3, 3, 1, 1)
    record = deep_record(0, types=("convolution",), shape=(6, 6, 4), inputs="bits", depth=1)
    layer = dataclasses.replace(
        make_layer(np.random.default_rng(0), 36, 4, "ternary", True, "int8"),
        type="convolution",
        window=window,
    )
    last = make_layer(np.random.default_rng(0), 144, 2, "ternary", True, "none")
    chain = (layer,) * 5 + (last,)
    skips = (layer,) * 2 + (dataclasses.replace(layer, skip=2),) * 2 + (last,)
    for layers, count in ((chain, 2), (skips, 3)):
        deep = dataclasses.replace(record, layers=layers)
        assert c_layers.plan(deep, integer.compile_integer(deep)).map_size == count * 144


# -------------------------------------------------------------------------------- the header


def recurrent(**how) -> PolicyRecord:
    return deep_record(1, types=("gated",), activations=("int8",), shape=(4,), depth=1, **how)


def test_the_self_test_is_an_episode_and_finds_a_changed_weight(tmp_path):
    text = c_header.to_c(recurrent(inputs="i8"))
    main = '#include "policy.h"\nint main(void) { return policy_selftest() != 0; }\n'
    (tmp_path / "main.c").write_text(main)
    flags = ("-std=c99", "-O1", TABLES, "-DTERNEVO_KERNEL=TERNEVO_VERTICAL")
    command = (tool("gcc"), *flags, tmp_path / "main.c", "-o", tmp_path / "main")
    begin = "i++) memory[i] = 0;"
    for wrong, right in ((text, 0), (text.replace(begin, begin.replace("0", "9")), 1)):
        (tmp_path / "policy.h").write_text(wrong)
        run(*command)
        assert subprocess.run([tmp_path / "main"]).returncode == right


def test_the_comment_says_what_an_image_and_a_memory_are():
    image = deep_record(
        0, types=("convolution",), shape=(6, 5, 3), inputs="pixels", depth=1, activations=("int8",)
    )
    text = c_header.to_c(image)
    comment = text[: text.index("*/")]
    assert "image of 6 rows, 5 columns and 3 channels: input (row * 5 + column) * 3" in comment
    assert "policy_quantise_u8(pixels, q);" in comment
    assert "layers       0 convolution " in comment and "1 dense, " in comment
    assert "policy_reset" not in text and "MEMORY]" not in text
    text = c_header.to_c(recurrent(inputs="f32"))
    comment = text[: text.index("*/")]
    assert "int8_t memory[POLICY_MEMORY];" in comment
    assert "policy_reset(memory);  once, and whenever an episode begins" in comment
    assert "policy_act(memory, obs" in comment and "policy_logits_q(memory, q, out)" in comment


def test_pixels_of_a_byte_are_those_of_a_float(tmp_path):
    record = deep_record(0, types=("dense",), shape=(256,), inputs="pixels", depth=1)
    (tmp_path / "policy.h").write_text(c_header.to_c(record, num_vectors=1))
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "policy.h"\nint main(void) {\n  uint8_t p[256];\n'
        "  float f[256];\n  int8_t q[512];\n  int i;\n"
        "  for (i = 0; i < 256; i++) f[i] = p[i] = (uint8_t)i;\n"
        "  policy_quantise_u8(p, q);\n  policy_quantise(f, q + 256);\n"
        "  return fwrite(q, 1, 512, stdout) != 512;\n}\n"
    )
    run(tool("gcc"), "-std=c99", *STRICT, tmp_path / "main.c", "-o", tmp_path / "main")
    found = np.frombuffer(run(tmp_path / "main").stdout, np.int8).reshape(2, 256)
    wanted = integer.quantise(record, np.arange(256, dtype=np.float32))
    np.testing.assert_array_equal(found, [wanted, wanted])


def test_cores_of_16_bits_refuse_what_their_ints_cannot_count():
    small = c_header.to_c(recurrent())
    wide = make_record((40_000, 1), inputs="bits")
    assert "too many for 16 bits" not in small
    assert "has 40000 values in a layer" in c_header.to_c(wide, num_vectors=1)


@pytest.mark.parametrize("type_", ["convolution", "gated"])
def test_avr(tmp_path, type_):
    """The tables stay in flash there, which instructions of their own read."""
    if type_ == "gated":
        record = deep_record(18, types=("gated",), shape=(4,), inputs="i8", depth=1)
        main = AVR_MAIN.replace("act_q(q)", "act_q(memory, q)")
        main = main.replace("  uint8_t i;\n", "  uint8_t i;\n  int8_t memory[POLICY_MEMORY];\n")
        main = main.replace("  UCSR0B =", "  policy_reset(memory);\n  UCSR0B =")
    else:
        record = deep_record(10, types=("convolution",), shape=(5, 5, 2), inputs="bits", depth=2)
        main = AVR_MAIN
    discrete = dataclasses.replace(
        record, output_kind="discrete", low=record.low[:0], high=record.high[:0]
    )
    (tmp_path / "policy.h").write_text(c_header.to_c(discrete, num_vectors=8))
    (tmp_path / "main.c").write_text(main)
    program = tmp_path / "policy.elf"
    # Not -Os: simavr skips two instructions for one in its `i / 32` of a negative i.
    flags = ("-mmcu=atmega328p", "-DF_CPU=16000000UL", "-std=c99", "-O2", *STRICT)
    run(tool("avr-gcc"), *flags, tmp_path / "main.c", "-o", program)
    done = run(tool("simavr"), "-m", "atmega328p", "-f", "16000000", program, timeout=60)
    numbers = re.findall(r"(\d+)\.\n", (done.stdout + done.stderr).decode())
    assert numbers[0] == "1000", "what the self test returned, and 1000"
