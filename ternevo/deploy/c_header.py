"""A policy as one C99 header: integers, no malloc, nothing of libc but <stdint.h>.

`to_c` writes the comment, the layers (`c_chain.py` a chain of dense ones, `c_layers.py` all others,
both with the tables of `c_tables.py`, and `c_life.py` policies that learn while they act), what
callers use, and the self test. The kernels are in c/runtime.h, and all of them compute the integers
of `integer.step`, bit for bit. Several headers can be included in one file.
"""

import hashlib
import importlib.resources
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ternevo import __version__
from ternevo.deploy import (
    adc,
    c_chain,
    c_comment,
    c_layers,
    c_life,
    c_sizes,
    c_tables,
    capabilities,
    integer,
    tvp,
)
from ternevo.deploy.c_tables import Matrix, Writer
from ternevo.deploy.record import PolicyRecord, Vectors

MAX_NAME = 40
MAX_QUANTISED = 6
"""Number of vectors that the self test also has as floats, before the quantiser."""

COUNTS_FAILED = 100
"""The self test returns minus this and the number of the example where counts fail."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)


def to_c(
    record: PolicyRecord,
    name: str = "policy",
    num_vectors: int = 16,
    counts: Sequence[adc.Line] | None = None,
    date: str | None = None,
) -> str:
    """Return the text of a header.

    Args:
      record: an integer policy.
      name: the beginning of every name that the header defines.
      num_vectors: examples for the self test; those of the record come first.
      counts: of each input, what a count of its converter stands for (`adc.parse`); the header then
        has a quantiser of counts.
      date: the day of the export, for the comment; none makes the same text on every day.

    Raises:
      UnsupportedError: it has layers, a skip or inputs that the export does not run.
      NotIntegerError: the policy computes with floats.
      PolicyFormatError: the record breaks a rule of the file format, so it has no identity.
      ValueError: the name is not a C identifier, num_vectors is below 1, or there are counts for a
        policy that takes integers.
    """
    capabilities.check_export(record, "c")
    if record.life is not None:
        c_life.check(record)
    net = c_life.net_of(record) if record.life is not None else integer.compile_integer(record)
    _check_name(name)
    if num_vectors < 1:
        raise ValueError(f"num_vectors must be at least 1, got {num_vectors}")
    identity = hashlib.sha256(tvp.encode(record.bare())).hexdigest()
    writer = Writer(record, net, name, identity, counts, date)
    quantiser = list(_tables(writer))
    network = _network_of(writer)(writer)
    body = [
        *network.runtime,
        "",
        *quantiser,
        *network.lines,
        *_entries(writer, network),
        *_selftest(writer, num_vectors),
    ]
    text = "\n".join([*_top(writer, network), *body, f"#endif /* {writer.guard} */"])
    return text.replace("@", name).replace(c_comment.AT, "@") + "\n"


def _check_name(name: str) -> None:
    good = _NAME.fullmatch(name) and len(name) <= MAX_NAME
    if not good or name.lower().startswith("ternevo"):
        raise ValueError(
            f"{name!r} cannot begin the names of a C header: a letter, then letters, digits and _, "
            f"at most {MAX_NAME}, and not ternevo, as what is shared begins with it"
        )


# ------------------------------------------------------------------------------------- network


class _Network(NamedTuple):
    """The layers in C.

    Attributes:
      lines: tables, and the function `@_forward`.
      runtime: the code that all policies share.
      parts: what there is to compile; of a policy that learns, the bytes of its memory.
      rows: of the comment, what the network is.
      sums: how many sums `@_forward` writes.
      is_chain: whether it takes a padded copy of its inputs.
    """

    lines: list[str]
    runtime: list[str]
    parts: c_sizes.Parts | int
    rows: list[tuple[str, str]]
    sums: int
    is_chain: bool


def _network_of(writer: Writer) -> Callable[[Writer], _Network]:
    """Return what writes the layers."""
    if writer.record.life is not None:
        return _life
    has_layers = tvp.needs_second(writer.record) or c_layers.is_needed(writer.net)
    return _layers if has_layers else _chain


def _life(writer: Writer) -> _Network:
    """Return a policy that learns while it acts."""
    code = c_life.code(writer)
    shared = [_shared("runtime.h"), _shared("life.h")]
    return _Network(code.lines, shared, code.memory, code.rows, code.widest, False)


def _chain(writer: Writer) -> _Network:
    """Return a policy of dense layers only."""
    layers = c_chain.layers_of(writer.record, writer.net)
    lines = [
        *c_chain.tables(writer, layers),
        *c_chain.additions(writer, layers),
        *c_chain.forward(writer, layers),
    ]
    activations = ", ".join(layer.activation for layer in layers[:-1]) or "none"
    rows = [("activations", activations), ("weights", _weights(layers))]
    parts = c_chain.parts_of(writer, layers)
    widest = max(layer.num_out for layer in layers)
    return _Network(lines, [_shared("runtime.h")], parts, rows, widest, True)


def _layers(writer: Writer) -> _Network:
    """Return a policy with layers of other types, with skips, or of pixels."""
    plan = c_layers.plan(writer.record, writer.net)
    lines = list(c_layers.code(writer, plan))
    weights = f"{_weights(plan.matrices)}; an evaluation takes {c_layers.products(plan):,}"
    rows = [*c_layers.described(plan), ("weights", weights)]
    shared = [_shared("runtime.h"), _shared("layers.h")]
    parts = c_layers.parts_of(writer, plan)
    return _Network(lines, shared, parts, rows, writer.record.num_outputs, False)


def _weights(layers: Sequence[Matrix]) -> str:
    count, size = (sum(getattr(layer, x) for layer in layers) for x in ("num_weights", "size"))
    return f"{count}, {size} not 0"


def _shared(name: str) -> str:
    files = importlib.resources.files("ternevo.deploy")
    return files.joinpath("c", name).read_text(encoding="utf-8").rstrip("\n")


# -------------------------------------------------------------------------------------- tables


def _tables(writer: Writer) -> Iterable[str]:
    yield f"/* {'-' * 85} policy */"
    if writer.record.input_kind == "f32":
        count = writer.record.obs_size
        size = f"TERNEVO_X86 ? {-(-count // 16) * 16} : {count}"
        scale = np.ldexp(np.float32(1), writer.record.exponent.astype(np.int32))
        yield "#ifndef TERNEVO_NO_FLOAT"
        yield writer.table("quantiser", "float", "@_mean", writer.record.mean, size)
        yield "#if !TERNEVO_SOFT_FLOAT || TERNEVO_X86"
        yield writer.table("quantiser", "float", "@_scale", scale, size)
        yield "#else"
        yield writer.table("soft", "int8_t", "@_scale", writer.record.exponent)
        yield "#endif"
        yield "#endif"
    if writer.fixed:
        yield writer.table("counts", "int16_t", "@_i16_multiplier", writer.fixed.multiplier)
        yield writer.table("counts", "int32_t", "@_i16_offset", writer.fixed.offset)
        yield writer.table("counts", "uint8_t", "@_i16_shift", writer.fixed.shift)


# ------------------------------------------------------------------------------------- entries


def _entries(writer: Writer, network: _Network) -> Iterable[str]:
    up, (into, with_, _) = writer.upper, _memory(writer)
    padded, copied, taken = "", "", "q"
    if network.is_chain:
        padded = f"  int8_t padded[TERNEVO_PADDED({up}_N_IN)] = {{0}};\n"
        copied, taken = f"  ternevo_copy(q, {up}_N_IN, padded);\n", "padded"
    yield f"""\
/* Logits of a quantised observation: the integers that every ternevo backend gives. */
TERNEVO_FN void @_logits_q({into}const int8_t q[{up}_N_IN], int32_t out[{up}_N_OUT]) {{
{padded}  int32_t sums[TERNEVO_PADDED({up}_WIDTH)];
  int i;
{copied}  @_forward({with_}{taken}, sums);
  for (i = 0; i < {up}_N_OUT; i++) out[i] = sums[i];
}}
"""
    if writer.fixed:
        yield f"""\
/* The integers that the first layer takes, from counts of a converter; without a float. */
#define {up}_HAS_I16 1
TERNEVO_FN void @_quantise_i16(const int16_t raw[{up}_N_IN], int8_t q[{up}_N_IN]) {{
  ternevo_quantise_i16(raw, @_i16_multiplier, @_i16_offset, @_i16_shift, {up}_N_IN, q);
}}
"""
    if writer.record.input_kind == "pixels":
        yield f"""\
/* The integers that the first layer takes, from pixels of 0 to 255; without a float. */
TERNEVO_FN void @_quantise_u8(const uint8_t pixels[{up}_N_IN], int8_t q[{up}_N_IN]) {{
  ternevo_pixels_u8(pixels, {up}_N_IN, q);
}}
"""
    yield from _discrete(writer, network) if writer.is_discrete else _continuous(writer)


class _Passed(NamedTuple):
    """How functions take the memory, and what comes with it, and how they and callers pass it."""

    into: str
    with_: str
    of_test: str


def _memory(writer: Writer) -> _Passed:
    """Return how the memory is passed: first, where there is one."""
    if c_life.is_told(writer.record):
        into = "@_memory *memory, float feedback, int is_first, "
        return _Passed(into, "memory, feedback, is_first, ", f"&memory, {c_life.TESTED}")
    if writer.record.life is not None:
        return _Passed("@_memory *memory, ", "memory, ", "&memory, ")
    if not writer.record.memory_size:
        return _Passed("", "", "")
    return _Passed(f"int8_t memory[{writer.upper}_MEMORY], ", "memory, ", "memory, ")


def _quantise(writer: Writer) -> Iterable[str]:
    """Write the quantiser; the buffer of prepare is padded."""
    up = writer.upper
    call = {
        "f32": f"ternevo_quantise(obs, @_mean, @_scale, {up}_N_IN, q);",
        "i8": f"ternevo_integers(obs, {up}_N_IN, q);",
        "bits": f"ternevo_bits(obs, {up}_N_IN, q);",
        "pixels": f"ternevo_pixels(obs, {up}_N_IN, q);",
    }[writer.record.input_kind]
    yield f"""\
TERNEVO_INLINE void @_prepare(const float obs[{up}_N_IN], int8_t *q) {{
  {call}
}}

/* The integers that the first layer takes. */
TERNEVO_FN void @_quantise(const float obs[{up}_N_IN], int8_t q[{up}_N_IN]) {{
  int8_t padded[TERNEVO_PADDED({up}_N_IN)] = {{0}};
  @_prepare(obs, padded);
  ternevo_copy(padded, {up}_N_IN, q);
}}
"""


def _discrete(writer: Writer, network: _Network) -> Iterable[str]:
    up, (into, with_, _) = writer.upper, _memory(writer)
    is_small = network.is_chain and not np.any(writer.net.layers[-1].shift)
    argmax = "ternevo_argmax" if is_small else "ternevo_argmax_wide"
    yield f"""\
/* The action of a quantised observation. */
TERNEVO_FN int @_act_q({into}const int8_t q[{up}_N_IN]) {{
  int32_t logits[{up}_N_OUT];
  @_logits_q({with_}q, logits);
  return {argmax}(logits, {up}_N_OUT);
}}

#ifndef TERNEVO_NO_FLOAT"""
    yield from _quantise(writer)
    yield f"""\
/* The action of an observation. */
TERNEVO_FN int @_act({into}const float obs[{up}_N_IN]) {{
  {_obs_buffer(writer)}
  int32_t sums[TERNEVO_PADDED({up}_WIDTH)];
  @_prepare(obs, q);
  @_forward({with_}q, sums);
  return {argmax}(sums, {up}_N_OUT);
}}
#endif
"""


def _obs_buffer(writer: Writer) -> str:
    # The quantiser of floats fills whole vectors, the other ways to prepare do not.
    zeros = "" if writer.record.input_kind == "f32" else " = {0}"
    return f"int8_t q[TERNEVO_PADDED({writer.upper}_N_IN)]{zeros};"


def _continuous(writer: Writer) -> Iterable[str]:
    up, exponent, (into, with_, _) = writer.upper, writer.net.output_exponent, _memory(writer)
    yield f"""\
/* Actions without floats: action[i] / 2**{up}_ACTION_SHIFT is in [-1, 1], the whole range. */
#define {up}_ACTION_SHIFT {max(exponent, 0)}
TERNEVO_FN void @_act_fixed({into}const int8_t q[{up}_N_IN], int32_t action[{up}_N_OUT]) {{
  const int32_t one = (int32_t)1 << {min(max(exponent, 0), 30)};
  int i;
  @_logits_q({with_}q, action);
  for (i = 0; i < {up}_N_OUT; i++) {{
    action[i] = action[i] > one ? one : action[i] < -one ? -one : action[i];
  }}
}}

#ifndef TERNEVO_NO_FLOAT"""
    yield from _action_range(writer)
    yield from _quantise(writer)
    yield f"""\
/* The action of a quantised observation. */
TERNEVO_FN void @_act_q({into}const int8_t q[{up}_N_IN], float action[{up}_N_OUT]) {{
  int32_t logits[{up}_N_OUT];
  @_logits_q({with_}q, logits);
  @_in_range(logits, action);
}}

/* The action of an observation. */
TERNEVO_FN void @_act({into}const float obs[{up}_N_IN], float action[{up}_N_OUT]) {{
  {_obs_buffer(writer)}
  int32_t sums[TERNEVO_PADDED({up}_WIDTH)];
  @_prepare(obs, q);
  @_forward({with_}q, sums);
  @_in_range(sums, action);
}}
#endif
"""


def _action_range(writer: Writer) -> Iterable[str]:
    """Write clipped logits, mapped to [low, high] as `integer.in_range` does."""
    low, high = writer.record.low, writer.record.high
    centre, half = (low + high) / np.float32(2), (high - low) / np.float32(2)
    is_plain = bool(np.all(centre == 0) and np.all(half == 1))
    mapped = "    action[i] = unit;"
    if not is_plain:
        for name, values in (("low", low), ("high", high), ("centre", centre), ("half", half)):
            yield writer.table("range", "float", f"@_{name}", values)
        # Through memory, lest the two operations are fused into one that rounds once.
        mapped = """\
    {
      const float low = TERNEVO_F32(@_low + i), high = TERNEVO_F32(@_high + i);
      volatile float part = unit * TERNEVO_F32(@_half + i);
      TERNEVO_FLOAT sum = TERNEVO_F32(@_centre + i) + part;
      action[i] = sum > high ? high : sum < low ? low : sum;
    }"""
    yield f"""\
TERNEVO_INLINE void @_in_range(const int32_t *logits, float *action) {{
  int i;
  for (i = 0; i < {writer.upper}_N_OUT; i++) {{
    float unit = (float)logits[i] * {c_tables.float_literal(2.0**-writer.net.output_exponent)};
    unit = unit < 1.0f ? unit : 1.0f;
    unit = unit > -1.0f ? unit : -1.0f;
{mapped}
  }}
}}
"""


# ----------------------------------------------------------------------------------- self test


def _selftest(writer: Writer, num_vectors: int) -> Iterable[str]:
    up, with_ = writer.upper, _memory(writer).of_test
    vectors = _vectors(writer, num_vectors)
    count = len(vectors.inputs)
    yield "#ifndef TERNEVO_NO_SELFTEST"
    yield writer.table("selftest", "int8_t", "@_test_q", vectors.inputs)
    yield writer.table("selftest", "int32_t", "@_test_logits", vectors.logits)
    has_floats = writer.record.input_kind == "f32"
    if has_floats:
        yield from _quantiser_tables(writer, min(num_vectors, MAX_QUANTISED))
    if writer.fixed:
        yield from _count_tables(writer, min(num_vectors, MAX_QUANTISED))
    also = f", and -{COUNTS_FAILED} - n so are counts" if writer.fixed else ""
    memory = f"  int8_t memory[{up}_MEMORY];\n" if with_ else ""
    reset = "  @_reset(memory);\n" if with_ else ""
    if writer.record.life is not None:
        memory, reset = "  @_memory memory;\n", f"  @_reset(&memory, {c_life.SEED}u);\n"
    yield f"""\

/* 0: every vector gives its logits. n: vector n - 1 does not. -n: observation n - 1 is quantised
   to other integers{also}. */
TERNEVO_FN int @_selftest(void) {{
{memory}  int8_t q[{up}_N_IN];
  int32_t logits[{up}_N_OUT];
  int i, j;
{reset}  for (i = 0; i < {count}; i++) {{
    for (j = 0; j < {up}_N_IN; j++) {{
      q[j] = (int8_t)TERNEVO_U8(@_test_q + i * {up}_N_IN + j);
    }}
    @_logits_q({with_}q, logits);
    for (j = 0; j < {up}_N_OUT; j++) {{
      if (logits[j] != (int32_t)TERNEVO_U32(@_test_logits + i * {up}_N_OUT + j)) return i + 1;
    }}
  }}"""
    if has_floats:
        yield _quantiser_test(up, min(num_vectors, MAX_QUANTISED))
    if writer.fixed:
        yield _count_test(up, min(num_vectors, MAX_QUANTISED))
    yield "  return 0;"
    yield "}"
    yield "#endif"


def _quantiser_test(up: str, count: int) -> str:
    return f"""\
#ifndef TERNEVO_NO_FLOAT
  for (i = 0; i < {count}; i++) {{
    float obs[{up}_N_IN];
    for (j = 0; j < {up}_N_IN; j++) {{
      union {{
        uint32_t bits;
        float value;
      }} cell;
      cell.bits = (uint32_t)TERNEVO_U32(@_test_obs + i * {up}_N_IN + j);
      obs[j] = cell.value;
    }}
    @_quantise(obs, q);
    for (j = 0; j < {up}_N_IN; j++) {{
      if (q[j] != (int8_t)TERNEVO_U8(@_test_quantised + i * {up}_N_IN + j)) return -i - 1;
    }}
  }}
#endif"""


def _count_test(up: str, count: int) -> str:
    return f"""\
  for (i = 0; i < {count}; i++) {{
    int16_t raw[{up}_N_IN];
    for (j = 0; j < {up}_N_IN; j++) {{
      raw[j] = (int16_t)TERNEVO_U16(@_test_raw + i * {up}_N_IN + j);
    }}
    @_quantise_i16(raw, q);
    for (j = 0; j < {up}_N_IN; j++) {{
      if (q[j] != (int8_t)TERNEVO_U8(@_test_counts + i * {up}_N_IN + j)) {{
        return -{COUNTS_FAILED} - i - 1;
      }}
    }}
  }}"""


def _count_tables(writer: Writer, count: int) -> Iterable[str]:
    """Write counts, some at the ends of int16, others where they are not clipped."""
    fixed = writer.fixed
    assert fixed is not None
    rng = np.random.default_rng(int(writer.identity[32:48], 16))
    shape = (count, writer.record.obs_size)
    slope = np.where(fixed.multiplier == 0, 1, fixed.multiplier) / np.ldexp(1.0, fixed.shift)
    near = (rng.uniform(-140, 140, shape) - np.ldexp(fixed.offset, -fixed.shift)) / slope
    ends = rng.choice([adc.LOWEST, adc.HIGHEST], shape)
    raw = np.where(rng.random(shape) < 0.1, ends, np.clip(near, adc.LOWEST, adc.HIGHEST))
    raw = raw.astype(np.int16)
    yield writer.table("selftest", "int16_t", "@_test_raw", raw)
    yield writer.table("selftest", "int8_t", "@_test_counts", adc.quantise(fixed, raw))


def _vectors(writer: Writer, count: int) -> Vectors:
    """Return the record's vectors, and random ones, zeros and extremes first: one episode."""
    record = writer.record
    size = record.obs_size
    low, high = (0, 1) if record.input_kind == "bits" else (-127, 127)
    rng = np.random.default_rng(int(writer.identity[:16], 16))
    own = np.zeros((0, size), np.int8) if record.vectors is None else record.vectors.inputs
    wide = rng.integers(low, high + 1, (count, size))
    scale = rng.choice([1, 8, 64], (count, 1))  # small observations are the usual ones
    random = wide if low == 0 else np.trunc(wide / scale).astype(int)
    extreme = rng.choice([low, high], (1, size))
    inputs = np.concatenate([own, np.zeros((1, size), int), extreme, random])[:count]
    inputs = inputs.astype(np.int8)
    if record.life is not None:
        return c_life.vectors(record, inputs)
    return Vectors(inputs, integer.episode(writer.net, inputs))


def _quantiser_tables(writer: Writer, count: int) -> Iterable[str]:
    """Write observations as bits: usual ones, ties, and what is not a number."""
    record = writer.record
    rng = np.random.default_rng(int(writer.identity[16:32], 16))
    scale = np.ldexp(1.0, -record.exponent.astype(int))
    halves = rng.integers(-300, 301, (count, record.obs_size)) / 2
    with np.errstate(over="ignore"):
        obs = (record.mean + halves * scale).astype(np.float32)
    special = np.asarray([np.nan, np.inf, -np.inf, -0.0, 1e38, -1e-40], np.float32)
    is_special = rng.random(obs.shape) < 0.2
    obs[is_special] = rng.choice(special, int(is_special.sum()))
    quantised = integer.quantise(record, obs)
    yield "#ifndef TERNEVO_NO_FLOAT"
    yield writer.table("selftest", "uint32_t", "@_test_obs", obs.view(np.uint32))
    yield writer.table("selftest", "int8_t", "@_test_quantised", quantised)
    yield "#endif"


# ----------------------------------------------------------------------------------------- top


def _top(writer: Writer, network: _Network) -> Iterable[str]:
    """Write the beginning, once the bytes of all tables are known."""
    up, record = writer.upper, writer.record
    lines = (f"   {line}".rstrip() for line in _comment(writer, network))
    said = "the widest layer" if network.is_chain else "sums of the last layer"
    yield "/*" + "\n".join(lines)[2:] + " */"
    yield f"""\
#ifndef {writer.guard}
#define {writer.guard}

#include <stdint.h>

#define {up}_N_IN {record.obs_size}
#define {up}_N_OUT {record.num_outputs}
#define {up}_WIDTH {network.sums} /* {said} */"""
    if record.memory_size and record.life is None:
        yield f"#define {up}_MEMORY {record.memory_size} /* numbers kept from step to step */"
    yield ""


def _comment(writer: Writer, network: _Network) -> Iterable[str]:
    """Yield the lines of the comment that says what the policy is and how it is used."""
    up, record = writer.upper, writer.record
    pairs = [*c_comment.origin(record, writer.date), *_identity(writer), *network.rows]
    parts = [
        [f"{word:<12} {text}" for word, text in pairs],
        c_comment.observations(record),
        c_comment.counts(writer.counts) if writer.counts else [],
        c_comment.actions(record, up),
        c_comment.calls(record, up, bool(writer.counts)),
        _sizes(writer, network),
        _macros(record, network).splitlines(),
    ]
    yield f"A policy with weights in {{-1, 0, +1}}, written by ternevo {__version__}."
    for part in map(list, parts):
        if part:
            yield ""
            yield from part


def _sizes(writer: Writer, network: _Network) -> Iterable[str]:
    if isinstance(network.parts, int):
        return c_life.sizes(network.parts, writer)
    return c_sizes.lines(network.parts, writer.table_bytes.get("selftest", 0))


def _identity(writer: Writer) -> list[tuple[str, str]]:
    return [
        ("identity", writer.identity),
        ("", "(SHA-256 of the policy file without metadata and vectors)"),
        ("widths", "-".join(map(str, writer.record.sizes))),
    ]


def _macros(record: PolicyRecord, network: _Network) -> str:
    text = _MACROS
    if not network.is_chain and record.life is None:
        text = text.replace("Files that include", _MAPS + "\nFiles that include")
    if record.memory_size:
        given = c_comment.passed(record)
        text = text.replace("@_logits_q(q, out)", f"@_logits_q({given}q, out)")
    return text


_MAPS = """\
    TERNEVO_MAPS static   values between layers in RAM instead of on the stack: one thread only"""
_MACROS = """\
Nothing is allocated, and all is bit for bit what ternevo computes in Python. C99 or C++11.
Before the include, or with -D, you can define
    TERNEVO_NO_FLOAT      leave out all that takes floats
    TERNEVO_NO_SELFTEST   leave out the examples
    TERNEVO_KERNEL        choose how it computes, see below
    TERNEVO_GENERATED 0   no additions in place of tables: often slower, smaller
    TERNEVO_SOFT_FLOAT 1  quantise with integers, as where floats are computed in software
Files that include several policies define them alike. @_logits_q(q, out) gives the int32_t
logits; @_selftest() is 0 if the examples below give exactly what they must."""
