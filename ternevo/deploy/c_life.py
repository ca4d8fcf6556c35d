"""Policies that learn while they act, in C: their memory, how it begins, and a step of it.

The functions are in c/life.h, and compute the integers of `hebbian.Runner`, `hill_climber.Runner`
and `entm.Runner`, bit for bit. A header has a type `@_memory` for what changes, `@_reset`, which
begins a life from a seed, and `@_forward`, which acts and learns. `@` stands for the policy's name.
"""

import textwrap
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from ternevo.deploy import entm, hebbian, hill_climber, integer, living
from ternevo.deploy.c_chain import SHIFTS
from ternevo.deploy.c_tables import Writer
from ternevo.deploy.integer import IntegerNet, NotIntegerError
from ternevo.deploy.life import LifeKind
from ternevo.deploy.record import PolicyRecord, Vectors

SEED = 7
"""The seed of the life of the self test."""
MAX_CELLS, MAX_GROUPS = 2**15, 2**16
"""Most cells of a tape in C, and most rules of a layer that are shared by groups of synapses."""
WIDTH = 93


def check(record: PolicyRecord) -> None:
    """Refuse a policy whose life needs floats or more than C counts.

    Raises:
      NotIntegerError: weights, fast weights or activations are floats.
      ValueError: a tape has too many cells, or a layer too many groups of synapses.
    """
    assert record.life is not None
    if not record.is_integer:
        raise NotIntegerError(
            "the policy learns with float weights or activations, and C does so with integers: "
            "train it with --weights ternary and an integer --activation"
        )
    if record.life.kind == "hebbian":
        fast = hebbian.from_options(record.life.options).fast
        if fast != "integer":
            raise NotIntegerError(
                f"the policy has the fast weights {fast}, which are floats; C learns with --fast "
                "integer"
            )
        plasticity = hebbian.from_options(record.life.options)
        shapes = [layer.coefficients.rate.shape for layer in hebbian.layers_of(record)]
        most = max(hebbian.num_rules(plasticity, shape) for shape in shapes)
        if plasticity.sharing == "group" and most > MAX_GROUPS:
            raise ValueError(f"{most:,} rules of a layer; C counts up to {MAX_GROUPS:,}")
    if record.life.kind == "entm":
        cells = entm.from_options(record.life.options).num_cells
        if cells > MAX_CELLS:
            raise ValueError(f"a tape of {cells:,} cells; C counts up to {MAX_CELLS:,}")


def net_of(record: PolicyRecord) -> IntegerNet:
    """Return what the rest of a header needs to know of the layers: the unit of logits."""
    return IntegerNet(0, (), living.runner(record).output_exponent)


def is_told(record: PolicyRecord) -> bool:
    """Return whether a step is told the reward, and whether an episode begins."""
    return record.life is not None and record.life.kind == "hill_climber"


class Code(NamedTuple):
    """A life in C.

    Attributes:
      lines: tables, the type, and the functions.
      rows: of the comment, how the policy learns.
      widest: most sums that `@_forward` writes.
      memory: bytes of `@_memory`.
    """

    lines: list[str]
    rows: list[tuple[str, str]]
    widest: int
    memory: int


def code(writer: Writer) -> Code:
    """Return the code of a policy that `check` accepts."""
    assert writer.record.life is not None
    return _KINDS[writer.record.life.kind](writer)


def sizes(memory: int, writer: Writer) -> Iterable[str]:
    """Yield the rows of the comment on what a device needs."""
    tables = writer.table_bytes.get("life", 0)
    yield from textwrap.wrap(
        f"MEMORY. RAM: {memory:,} bytes for all that changes in a life (@_memory), and the stack, "
        f"on which there are buffers of at most {_stack(writer):,} bytes. Flash: tables of "
        f"{tables:,} bytes, and the code; the self test adds tables of "
        f"{writer.table_bytes.get('selftest', 0):,} bytes.",
        WIDTH,
    )


def _stack(writer: Writer) -> int:
    """Return a bound of the bytes of buffers: of sums, values and activities of a layer."""
    record = writer.record
    widest = max(*record.sizes, 1)
    if record.life is not None and record.life.kind == "entm":
        hidden, cell_size, *_ = entm.from_options(record.life.options)
        widest = record.obs_size + 2 * cell_size + hidden + entm.SWITCHES
    return 10 * (widest + 8)


def vectors(record: PolicyRecord, inputs: np.ndarray) -> Vectors:
    """Return the logits of one life, which begins with `SEED`, of inputs int8 [steps, in]."""
    runner, found = living.runner(record), []
    memory = runner.begin(np.asarray([SEED], np.uint32))
    for i, row in enumerate(inputs):
        told = living.Told(np.asarray([i % 5 - 2], np.float32), np.asarray([i % 3 == 0]))
        memory, logits = runner.step(memory, row[None], told)
        found.append(logits[0])
    return Vectors(inputs, np.stack(found))


TESTED = "(float)(i % 5 - 2), i % 3 == 0, "
"""What the self test tells a policy at step i."""


def _widest(record: PolicyRecord) -> int:
    return max(layer.size for layer in record.layers)


def _activated(activation: str, shift: int) -> str:
    """Return the call that activates sum j, whose unit is 2**shift."""
    bits, limit = integer.GRIDS[activation]
    kind = {"sign": "TERNEVO_SIGN", "ternary": "TERNEVO_TERNARY"}.get(activation, "TERNEVO_GRID")
    shift -= bits
    if kind == "TERNEVO_GRID":
        shift = min(max(shift, SHIFTS[0]), SHIFTS[1])
    return f"ternevo_activated(sums[j], {kind}, {shift}, {limit})"


# ------------------------------------------------------------------------------------- Hebbian


def _hebbian(writer: Writer) -> Code:
    record = writer.record
    layers = hebbian.layers_of(record)
    sizes_ = [layer.coefficients.rate.size for layer in layers]
    places = np.cumsum([0, *sizes_]).tolist()
    memory = f"""\
/* What changes: weights in units of 2**-14, and the steps of the life. */
typedef struct {{
  int16_t fast[{places[-1]}];
  uint32_t seed;
  int32_t count;
}} @_memory;"""
    lines = [*_hebbian_tables(writer, layers), memory, *_hebbian_reset(record, layers, places)]
    widest = max(record.sizes)
    lines += [
        "",
        "TERNEVO_FN void @_forward(@_memory *memory, const int8_t *q, int32_t *sums) {",
        f"  int8_t values[{widest}];",
        f"  int16_t x[{widest}], y[{widest}];",
        "  int j;",
        f"  for (j = 0; j < {record.obs_size}; j++) x[j] = values[j] = q[j];",
    ]
    for i in range(len(layers)):
        lines += _hebbian_layer(record, layers, i, places[i])
    lines += ["  if (memory->count < 2147483647) memory->count++;", "}", ""]
    plasticity = hebbian.from_options(record.life.options if record.life else ())
    rules = sum(hebbian.num_rules(plasticity, x.coefficients.rate.shape) for x in layers)
    text = f"after every step, by {rules} Hebbian rules for {places[-1]} weights of 16 bits"
    return Code(lines, [("learns", text)], _widest(record), 2 * (places[-1] + places[-1] % 2) + 8)


def _hebbian_tables(writer: Writer, layers: tuple[hebbian.PlasticLayer, ...]) -> Iterable[str]:
    record = writer.record
    assert record.life is not None
    plasticity = hebbian.from_options(record.life.options)
    for i, layer in enumerate(layers):
        shape = layer.coefficients.rate.shape
        index = hebbian.rule_of_synapses(plasticity, shape)
        found, where = np.unique(index, return_index=True)
        count = hebbian.num_rules(plasticity, shape)
        rules, rates = np.zeros((4, count), np.int8), np.zeros(count, np.uint8)
        for row, terms in zip(rules, layer.coefficients.terms, strict=True):
            row[found] = terms.ravel()[where]
        rates[found] = layer.coefficients.rate.ravel()[where]
        yield writer.table("life", "int8_t", f"@_rules{i}", rules)
        yield writer.table("life", "uint8_t", f"@_rates{i}", rates)
        if plasticity.sharing == "group":
            yield writer.table("life", "uint16_t", f"@_of{i}", index)
        if layer.first is not None:
            yield writer.table("life", "int16_t", f"@_first{i}", layer.first)


def _hebbian_reset(
    record: PolicyRecord, layers: tuple[hebbian.PlasticLayer, ...], places: list[int]
) -> Iterable[str]:
    assert record.life is not None
    width = 15 - hebbian.from_options(record.life.options).start_shift
    yield ""
    yield "/* Begin a life; its random numbers are those of the seed. */"
    yield "TERNEVO_FN void @_reset(@_memory *memory, uint32_t seed) {"
    if any(layer.first is not None for layer in layers):
        yield "  int i;"
    yield "  memory->seed = seed;"
    yield "  memory->count = 0;"
    for i, layer in enumerate(layers):
        at, size = places[i], places[i + 1] - places[i]
        if layer.first is None:
            yield f"  ternevo_hebb_start(memory->fast + {at}, {size}, {at}u, seed, {width});"
        else:
            value = f"(int16_t)TERNEVO_U16(@_first{i} + i)"
            yield f"  for (i = 0; i < {size}; i++) memory->fast[{at} + i] = {value};"
    yield "}"


def _hebbian_layer(
    record: PolicyRecord, layers: tuple[hebbian.PlasticLayer, ...], i: int, at: int
) -> Iterable[str]:
    """Yield the code of a layer: sums, what follows, and the rule."""
    assert record.life is not None
    plasticity, layer = hebbian.from_options(record.life.options), layers[i]
    num_in, out = layer.coefficients.rate.shape
    fast = f"memory->fast + {at}, {num_in}, {out}"
    yield f"  ternevo_hebb_sums({fast}, {plasticity.dead_zone}, values, sums);"
    if layer.activation == "none":
        yield from _hebbian_outputs(plasticity, layer, out)
    else:
        scale = 2 ** (hebbian.ACTIVITY_BITS - integer.GRIDS[layer.activation][0])
        yield f"  for (j = 0; j < {out}; j++) {{"
        yield f"    values[j] = {_activated(layer.activation, layer.shift)};"
        yield f"    y[j] = (int16_t)(values[j] * {scale});"
        yield "  }"
    count = hebbian.num_rules(plasticity, (num_in, out))
    steps = {"synapse": (out, 1), "input": (1, 0), "output": (0, 1)}
    by_in, by_out = steps.get(plasticity.sharing, (0, 0))
    of = f"@_of{i}" if plasticity.sharing == "group" else "(const uint16_t *)0"
    rescales = int(plasticity.bound == "rescale")
    yield f"  ternevo_hebb_learn({fast}, @_rules{i}, {count}, @_rates{i}, {of},"
    yield f"                     {by_in}, {by_out}, {rescales}, x, y);"
    if layer.activation != "none":
        yield f"  for (j = 0; j < {out}; j++) x[j] = y[j];"


def _hebbian_outputs(
    plasticity: hebbian.Plasticity, layer: hebbian.PlasticLayer, out: int
) -> Iterable[str]:
    """Yield the code of outputs, in units of 2**-exponent, and their activities."""
    exponent = max(layer.shift, 0)
    if layer.shift < 0:
        yield f"  for (j = 0; j < {out}; j++) sums[j] *= (int32_t)1 << {-layer.shift};"
    if plasticity.babble_steps and plasticity.babble_units:
        change = f"memory->count / {plasticity.babble_hold}"
        size = f"(int32_t){plasticity.babble_units} << {exponent}"
        yield f"  if (memory->count < {plasticity.babble_steps}) {{"
        yield f"    ternevo_babble(sums, {out}, memory->seed, {change}, {size});"
        yield "  }"
    shift = exponent - hebbian.ACTIVITY_BITS
    yield f"  for (j = 0; j < {out}; j++) y[j] = (int16_t)ternevo_round(sums[j], {shift}, 127);"


# ------------------------------------------------------------------------------- hill climbing


def _hill_climber(writer: Writer) -> Code:
    record, runner = writer.record, hill_climber.Runner(writer.record)
    climbing, size = runner.climbing, runner.start.size
    lines = [writer.table("life", "uint8_t", "@_rates", runner.rate.astype(np.uint8))]
    if climbing.start == "evolved":
        lines.append(writer.table("life", "int8_t", "@_start", runner.start.astype(np.int8)))
    drawn = "ternevo_trit(ternevo_hash(seed, TERNEVO_START, (uint32_t)i))"
    given = "(int8_t)TERNEVO_U8(@_start + i)"
    lines.append(f"""\
/* What changes: the best weights so far, those of the trial, and what both were paid. */
typedef struct {{
  int8_t best[{size}];
  int8_t trial[{size}];
  float most, score;
  int32_t episodes;
  uint32_t seed;
}} @_memory;

/* Begin a life; its random numbers are those of the seed. */
TERNEVO_FN void @_reset(@_memory *memory, uint32_t seed) {{
  int i;
  for (i = 0; i < {size}; i++) {{
    memory->best[i] = memory->trial[i] = {drawn if climbing.start == "random" else given};
  }}
  memory->most = memory->score = 0.0f;
  memory->episodes = 0;
  memory->seed = seed;
}}

/* Judge a trial that is over, and begin the next one. */
TERNEVO_FN void @_judge(@_memory *memory, float feedback, int is_first) {{
  const int32_t number = memory->episodes / {climbing.trial_episodes} - 1;
  volatile float score = memory->score + feedback;
  int i;
  if (is_first && memory->episodes > 0 && memory->episodes % {climbing.trial_episodes} == 0) {{
    if (number <= {climbing.num_trials} && (number == 0 || score > memory->most)) {{
      for (i = 0; i < {size}; i++) memory->best[i] = memory->trial[i];
      memory->most = score;
    }}
    if (number < {climbing.num_trials}) {{
      ternevo_flip(memory->best, memory->trial, {size}, @_rates, (uint32_t)number * {size}u,
                   memory->seed);
    }} else {{
      for (i = 0; i < {size}; i++) memory->trial[i] = memory->best[i];
    }}
    score = 0.0f;
  }}
  memory->score = score;
  if (is_first && memory->episodes < 2147483647) memory->episodes++;
}}
""")
    lines += _climbing_forward(runner)
    text = f"by {climbing.num_trials} trials of {climbing.trial_episodes} episodes in a life"
    return Code(lines, [("learns", text)], _widest(record), 2 * size + -2 * size % 4 + 16)


def _climbing_forward(runner: hill_climber.Runner) -> Iterable[str]:
    record, widest = runner.record, max(runner.record.sizes)
    yield "TERNEVO_FN void @_forward(@_memory *memory, float feedback, int is_first,"
    yield "                          const int8_t *q, int32_t *sums) {"
    yield f"  int8_t x[{widest}];"
    yield "  int j;"
    yield f"  for (j = 0; j < {record.obs_size}; j++) x[j] = q[j];"
    yield "  @_judge(memory, feedback, is_first);"
    at = 0
    for layer, (bits, full_scale) in zip(record.layers, runner.grids, strict=True):
        out, num_in = layer.weights.shape
        bias = 0
        if layer.bias is not None:
            bias = integer.bias_size(full_scale, layer.exponents - layer.bias_exponent)
        yield f"  ternevo_trit_sums(memory->trial + {at}, {num_in}, {out}, {bias}, x, sums);"
        if layer.activation != "none":
            call = _activated(layer.activation, int(layer.exponents) + bits)
            yield f"  for (j = 0; j < {out}; j++) x[j] = {call};"
        at += layer.weights.size + (0 if layer.bias is None else layer.bias.size)
    yield "}"
    yield ""


# ----------------------------------------------------------------------------- Turing machines


def _entm(writer: Writer) -> Code:
    record = writer.record
    assert record.life is not None
    machine, links = entm.from_options(record.life.options), entm.links_of(record)
    hidden, size, count, expand = machine
    seen, num_actions = record.obs_size + machine.seen, record.num_outputs
    orders = size + entm.SWITCHES
    lines = [writer.table("life", "int8_t", "@_actions", links.actions)]
    lines.append(writer.table("life", "int8_t", "@_orders", links.orders))
    if hidden:
        lines.append(writer.table("life", "int8_t", "@_hidden", links.hidden))
        think = f"  ternevo_switch(@_hidden, {seen}, {hidden}, x, x + {seen});"
    lines.append(f"""\
/* What changes: bits of cells, which of them are there, and where the head is. */
typedef struct {{
  uint8_t cells[{count * size}];
  uint8_t exists[{count}];
  uint16_t head;
}} @_memory;

/* Begin a life with a blank tape; no seed makes another one. */
TERNEVO_FN void @_reset(@_memory *memory, uint32_t seed) {{
  int i;
  (void)seed;
  for (i = 0; i < {count * size}; i++) memory->cells[i] = 0;
  for (i = 0; i < {count}; i++) memory->exists[i] = i == 0;
  memory->head = 0;
}}

TERNEVO_FN void @_forward(@_memory *memory, const int8_t *q, int32_t *sums) {{
  uint8_t x[{seen + hidden}], on[{max(orders, num_actions)}];
  int i;
  for (i = 0; i < {record.obs_size}; i++) x[i] = q[i] > 0;
  for (i = 0; i < {size}; i++) {{
    x[{record.obs_size} + i] = memory->cells[memory->head * {size} + i];
  }}
  x[{seen - 1}] = 1;
{think if hidden else "  /* Without hidden units. */"}
  ternevo_switch(@_actions, {seen + hidden}, {num_actions}, x, on);
  for (i = 0; i < {num_actions}; i++) sums[i] = 2 * on[i] - 1;
  ternevo_switch(@_orders, {seen + hidden}, {orders}, x, on);
  memory->head = ternevo_tape(memory->cells, memory->exists, {count}, {size}, {int(expand)},
                              memory->head, on);
}}
""")
    text = f"by a tape of up to {count} cells of {size} bits, each in a byte"
    total = count * (size + 1)
    return Code(lines, [("learns", text)], num_actions, total + total % 2 + 2)


_KINDS: dict[LifeKind, Callable[[Writer], Code]] = {
    "hebbian": _hebbian,
    "hill_climber": _hill_climber,
    "entm": _entm,
}
