"""The comment at the head of a C header: what an engineer who has never seen ternevo must know.

Where the policy comes from, what goes in, in which order and unit, what comes out, what it needs of
a device, and how to call it. Texts of the policy file may be anybody's, so `plain` lets none of
them end the comment. `@` stands for the name of the policy in C, as in c_header.py.
"""

import itertools
import re
import textwrap
from collections.abc import Iterable, Sequence

import numpy as np

from ternevo.deploy import adc
from ternevo.deploy.record import PolicyRecord

AT = "\0"
"""Stands for an @ that is not the policy's name."""
UNKNOWN = "The policy file does not say what they mean."
MAX_TEXT = 100
WIDTH = 96
MAX_EXACT = 20
"""Scales of 2**-20 to 2**20 are written as numbers."""


def plain(text: str) -> str:
    """Return a text that neither ends a comment nor begins one, in printable ASCII.

    Examples:
      >>> plain("brax/ant */ int x; /* ° ??/")
      'brax/ant * / int x; / * ? ? ?/'
    """
    text = re.sub(r"[^ -~]|\\", "?", text)[:MAX_TEXT]
    text = text.replace("*/", "* /").replace("/*", "/ *")
    return re.sub(r"\?(?=\?)", "? ", text).replace("@", AT)


def origin(record: PolicyRecord, date: str | None) -> list[tuple[str, str]]:
    """Return where the policy comes from: pairs of a word and a text."""
    told = {name: plain(text) for name, text in record.metadata.items()}
    env = told.get("env", "not in the policy file")
    if "episode_length" in told:
        env += f", episodes of at most {told['episode_length']} steps"
    pairs = [("environment", env)]
    if "wrappers" in told:
        pairs.append(("wrappers", told["wrappers"]))
    trained = [told["strategy"]] if "strategy" in told else []
    trained += [f"{word} {told[word]}" for word in ("seed", "generation") if word in told]
    if trained:
        pairs.append(("trained by", ", ".join(trained)))
    if "return" in told:
        pairs.append(("return", f"{_number(told['return'])}, mean of its test episodes"))
    if date:
        pairs.append(("exported", plain(date)))
    return pairs


def _number(text: str) -> str:
    try:
        return f"{float(text):.6g}"
    except ValueError:
        return text


# ------------------------------------------------------------------------------ what goes in


def observations(record: PolicyRecord) -> Iterable[str]:
    """Yield what an observation is: order, names, units, and the constants of the quantiser."""
    count, names = record.obs_size, record.obs_names
    said = "in this order and these units:" if names else f"in this order. {UNKNOWN}"
    yield from _wrapped(f"{_INPUTS[record.input_kind].format(count=count)}, {said}")
    if record.obs_shape:
        height, width, channels = record.obs_shape
        yield from _wrapped(
            f"It is an image of {height} rows, {width} columns and {channels} channels: input "
            f"(row * {width} + column) * {channels} + channel."
        )
    if 0 < len(names) < count:
        yield from _wrapped(f"Input i is channel i % {len(names)} of place i / {len(names)}:")
        yield from _rows((f"channel {i}", plain(name)) for i, name in enumerate(names))
    each = [plain(name) for name in names] if len(names) == count else [""] * count
    constants = [""] * count
    if record.input_kind == "f32":
        pairs = zip(record.mean.tolist(), record.exponent.tolist(), strict=True)
        constants = [f"mean {number(mean)}, scale {power(exponent)}" for mean, exponent in pairs]
    if any(each) or any(constants):
        name = "obs" if record.input_kind == "f32" else "q"
        yield from _rows(_merged(zip(each, constants, strict=True), name))
    if record.input_kind == "f32":
        yield from _wrapped(
            f"The network takes integers, int8_t q[{count}]: q = (obs - mean) * scale, rounded "
            "half to even, clipped to -127..127, 0 where obs is not a number. @_quantise does that."
        )
    if record.observation_bits < 8 and record.input_kind != "bits":
        yield f"Of q it takes the upper {record.observation_bits} bits."


_INPUTS = {
    "f32": "INPUT, float obs[{count}]",
    "i8": "INPUT, int8_t q[{count}], integers from -127 to 127",
    "bits": "INPUT, int8_t q[{count}], each 0 or 1",
    "pixels": (
        "INPUT, int8_t q[{count}], pixels of 0 to 255 less 128, -127 of 0 (@_quantise_u8 makes it)"
    ),
}


def counts(lines: Sequence[adc.Line]) -> Iterable[str]:
    """Yield what the counts of a converter stand for, as was said at the export."""
    yield from _wrapped(
        f"COUNTS of a converter, int16_t raw[{len(lines)}], from which @_quantise_i16 makes the "
        "same integers without a float. A count stands for this observation (--adc of the export):"
    )
    texts = [
        f"{float(scale):.9g} * raw {'-' if offset < 0 else '+'} {abs(float(offset)):.9g}"
        for scale, offset in lines
    ]
    yield from _rows(_merged(((text,) for text in texts), "obs"))


# ----------------------------------------------------------------------------- what comes out


def actions(record: PolicyRecord, upper: str) -> Iterable[str]:
    """Yield what an action is: the names of numbers, or the ranges of outputs."""
    count, names = record.num_outputs, record.action_names
    unknown = "" if names else f" {UNKNOWN}"
    each = [plain(name) for name in names] or [""] * count
    if record.output_kind == "discrete":
        yield from _wrapped(f"OUTPUT, the number that @_act returns, 0 to {count - 1}.{unknown}")
        yield from _rows((str(i), name) for i, name in enumerate(each) if name)
        return
    yield from _wrapped(
        f"OUTPUT, float action[{count}], in this order and these ranges. @_act_fixed gives the "
        f"place in the range without floats: action[i] / 2**{upper}_ACTION_SHIFT is -1 at the "
        f"lower end and +1 at the upper one.{unknown}"
    )
    ranges = [
        f"{number(low)} to {number(high)}"
        for low, high in zip(record.low.tolist(), record.high.tolist(), strict=True)
    ]
    yield from _rows(_merged(zip(each, ranges, strict=True), "action"))


# ---------------------------------------------------------------------------------- how to call


def calls(record: PolicyRecord, upper: str, has_counts: bool) -> Iterable[str]:
    """Yield the lines of C that use the policy."""
    is_discrete = record.output_kind == "discrete"
    memory = passed(record)
    yield "USE with floats:"
    yield '    #include "@.h"  this file'
    yield "    if (@_selftest() != 0) stop();"
    yield from _memory(record, upper)
    yield f"    float obs[{upper}_N_IN] = {{...}};"
    if is_discrete:
        yield f"    int action = @_act({memory}obs);"
    else:
        yield f"    float action[{upper}_N_OUT];"
        yield f"    @_act({memory}obs, action);"
    yield "or without a float:"
    yield "    #define TERNEVO_NO_FLOAT"
    yield '    #include "@.h"'
    yield f"    int8_t q[{upper}_N_IN];"
    if has_counts:
        yield f"    @_quantise_i16(raw, q);  with int16_t raw[{upper}_N_IN] from the converter"
    elif record.input_kind == "pixels":
        yield f"    @_quantise_u8(pixels, q);  with uint8_t pixels[{upper}_N_IN]"
    elif record.input_kind == "f32":
        yield "    ... fill q by the formula above; export with --adc to have it done from counts"
    if is_discrete:
        yield f"    int action = @_act_q({memory}q);"
    else:
        yield f"    int32_t action[{upper}_N_OUT];"
        yield f"    @_act_fixed({memory}q, action);"


def passed(record: PolicyRecord) -> str:
    """Return what callers pass first: the memory, and what a policy that learns is told."""
    if record.life is None:
        return "memory, " if record.memory_size else ""
    return "&memory, reward, begins, " if record.life.kind == "hill_climber" else "&memory, "


def _memory(record: PolicyRecord, upper: str) -> Iterable[str]:
    """Yield the lines that begin with a memory, if there is one."""
    if record.life is not None:
        yield "    @_memory memory;"
        yield "    @_reset(&memory, 3);  once in a life, with a seed"
    elif record.memory_size:
        yield f"    int8_t memory[{upper}_MEMORY];"
        yield "    @_reset(memory);  once, and whenever an episode begins"
    if record.life is not None and record.life.kind == "hill_climber":
        yield "    float reward = 0;  that of the step before"
        yield "    int begins = 1;    whether an episode begins, of which a life has several"


# --------------------------------------------------------------------------------------- layout


def number(value: float) -> str:
    """Return the shortest text that gives a float32 back."""
    return f"{np.float32(value)!s}".removesuffix(".0")


def power(exponent: int) -> str:
    """Return 2**exponent: a number where it is short."""
    if abs(exponent) > MAX_EXACT:
        return f"2**{exponent}"
    return str(2**exponent) if exponent >= 0 else f"1/{2**-exponent}"


def _merged(rows: Iterable[tuple[str, ...]], what: str) -> Iterable[tuple[str, ...]]:
    """Put indices in front of rows; rows that are equal become one."""
    first = 0
    for row, same in itertools.groupby(rows):
        last = first + sum(1 for _ in same) - 1
        index = str(first) if last == first else f"{first}..{last}"
        yield (f"{what}[{index}]", *row)
        first = last + 1


def _rows(rows: Iterable[tuple[str, ...]]) -> Iterable[str]:
    """Yield rows as columns of text, without those that are empty everywhere."""
    table = list(rows)
    columns = [column for column in zip(*table, strict=True) if any(column)]
    widths = [max(map(len, column)) for column in columns]
    for row in zip(*columns, strict=True):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"    {'  '.join(cells)}".rstrip()


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - 3)
