"""Counts of a converter: the formula against the line itself, and C against the formula."""

import dataclasses
import shutil
import subprocess
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st
from policy_records import make_record

from ternevo.deploy import adc, c_header, integer
from ternevo.deploy.record import PolicyRecord

ALL = np.arange(adc.LOWEST, adc.HIGHEST + 1).astype(np.int16)
"""Every count that there is."""


def quantiser(scale: float, offset: float, mean: float = 0.0, exponent: int = 0):
    """Return the policy of one input, its line, and its quantiser of counts."""
    record = dataclasses.replace(
        make_record((1, 2)),
        mean=np.array([mean], np.float32),
        exponent=np.array([exponent], np.int8),
    )
    lines = [(Fraction(scale), Fraction(offset))]
    return record, lines[0], adc.fixed_quantiser(record, lines)


def exact(record: PolicyRecord, line: adc.Line) -> np.ndarray:
    """Return what is rounded, of every count, in float64: far more digits than are needed."""
    power = Fraction(2) ** int(record.exponent[0])
    slope = line[0] * power
    centre = (Fraction(float(record.mean[0])) - line[1]) / line[0] if line[0] else Fraction(0)
    if not slope:
        return np.full(ALL.size, float((line[1] - Fraction(float(record.mean[0]))) * power))
    return (ALL - float(centre)) * float(slope)


def check(record: PolicyRecord, line: adc.Line, fixed: adc.FixedQuantiser) -> int:
    """Compare with the exact line; return how many counts are rounded otherwise."""
    found, value = adc.quantise(fixed, ALL[:, None])[:, 0].astype(int), exact(record, line)
    wanted = np.rint(np.clip(value, -127, 127)).astype(int)
    different = np.flatnonzero(found != wanted)
    assert np.all(np.abs(found - wanted) <= 1)
    from_tie = np.abs(np.abs(value[different] % 1) - 0.5)
    assert np.all(from_tie < adc.ERROR + 2.0 ** -int(fixed.shift[0]) + 1e-6)
    return different.size


@given(
    st.floats(1e-9, 1e9),
    st.sampled_from([-1, 1]),
    st.floats(-70_000, 70_000),
    st.floats(-1e6, 1e6, width=32),
    st.integers(-120, 120),
)
def test_the_formula_is_the_line_except_about_ties(size, sign, centre, mean, exponent):
    slope = sign * size
    scale = slope * 2.0**-exponent
    record, line, fixed = quantiser(scale, mean - centre * scale, mean, exponent)
    sums = fixed.multiplier.astype(np.int64) * ALL + fixed.offset
    assert np.abs(sums).max() < 2**31, "it fits into int32"
    assert np.abs(fixed.multiplier) <= adc.MAX_MULTIPLIER and 5 <= fixed.shift <= adc.MAX_SHIFT
    check(record, line, fixed)


def test_a_line_of_round_numbers_differs_at_ties_only():
    """A half is rounded up here, and to the even neighbour of floats."""
    record, line, fixed = quantiser(0.25, -128.0)
    assert check(record, line, fixed) > 0
    value = exact(record, line)
    found = adc.quantise(fixed, ALL[:, None])[:, 0]
    np.testing.assert_array_equal(found, np.floor(np.clip(value, -127, 127) + 0.5))


def test_the_usual_converter_agrees_with_the_quantiser_of_floats():
    """12 bits over the range: of 4,096 counts a few are rounded otherwise, by 1."""
    scale = 254 / 4096 / 2**5
    record, line, fixed = quantiser(scale, 0.3 - 2048 * scale, 0.3, 5)
    raw = np.arange(4096).astype(np.int16)[:, None]
    obs = (raw * scale + float(line[1])).astype(np.float32)
    different = adc.quantise(fixed, raw).astype(int) - integer.quantise(record, obs)
    assert np.abs(different).max() <= 1
    assert np.count_nonzero(different) < 4096 * 2 * adc.ERROR


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e12, -1e12])
@pytest.mark.parametrize("offset", [0.0, 5.0, -1e9])
def test_flat_and_steep_lines(scale, offset):
    check(*quantiser(scale, offset))


def test_what_is_parsed():
    half = Fraction(1, 2)
    assert adc.parse("0.5", 3) == [(half, Fraction(0))] * 3
    assert adc.parse(" 0.5,-1  1/3 ", 2) == [(half, Fraction(-1)), (Fraction(1, 3), Fraction(0))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "adc has 0 sensors, and the policy 4 inputs; give SCALE,OFFSET once for all"),
        ("1 2", "adc has 2 sensors, and the policy 4 inputs"),
        ("1,2,3", "adc has '1,2,3'; must be SCALE or SCALE,OFFSET, two numbers"),
        ("volts", "adc has 'volts'; must be"),
        ("nan", "adc has 'nan'; must be"),
        ("1e31", "adc has '1e31'; must be"),
        ("1/0", "adc has '1/0'; must be"),
        ("1,", "adc has '1,'; must be"),
    ],
)
def test_what_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        adc.parse(text, 4)


@pytest.mark.parametrize("inputs", ["i8", "bits"])
def test_a_policy_of_integers_has_nothing_to_quantise(inputs):
    record = make_record((4, 2), inputs=inputs)
    with pytest.raises(ValueError, match=f"this policy takes {inputs}: pass its integers"):
        c_header.to_c(record, counts=adc.parse("1", 4))


MAIN = r"""
#include <stdio.h>
#include "policy.h"
int main(void) {
  int16_t raw[POLICY_N_IN];
  int8_t q[POLICY_N_IN];
  long count;
  int i;
  if (policy_selftest()) return 1;
  for (count = -32768; count < 32768; count++) {
    for (i = 0; i < POLICY_N_IN; i++) raw[i] = (int16_t)count;
    policy_quantise_i16(raw, q);
    fwrite(q, 1, sizeof q, stdout);
  }
  return 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
@pytest.mark.parametrize("kernel", ["PORTABLE", "VERTICAL"])
def test_c_computes_the_formula_for_every_count(kernel, tmp_path):
    """Of all 65,536 counts and every input, under the sanitizer, without a float."""
    record = make_record((37, 5, 3), seed=3, reach=(-120, 120))
    rng = np.random.default_rng(0)
    slopes = rng.choice([-1, 1], 37) * 10.0 ** rng.uniform(-6, 4, 37)
    lines = [
        (Fraction(slope) / Fraction(2) ** exponent, Fraction(float(mean)) - Fraction(shift))
        for slope, exponent, mean, shift in zip(
            slopes, record.exponent.tolist(), record.mean, rng.normal(0, 9, 37), strict=True
        )
    ]
    (tmp_path / "policy.h").write_text(c_header.to_c(record, counts=lines))
    (tmp_path / "main.c").write_text(MAIN)
    flags = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic", "-DTERNEVO_NO_FLOAT")
    flags += ("-fsanitize=undefined", "-fno-sanitize-recover", f"-DTERNEVO_KERNEL=TERNEVO_{kernel}")
    program = tmp_path / "main"
    command = ["gcc", *flags, str(tmp_path / "main.c"), "-o", str(program)]
    subprocess.run(command, check=True)
    found = subprocess.run([program], check=True, capture_output=True).stdout
    fixed = adc.fixed_quantiser(record, lines)
    wanted = adc.quantise(fixed, np.repeat(ALL[:, None], 37, axis=1))
    assert found == wanted.tobytes()
    assert len(np.unique(wanted)) > 100


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_the_self_test_finds_a_changed_line(tmp_path):
    record = make_record((4, 2))
    text = c_header.to_c(record, counts=adc.parse("0.01,-2", 4))
    (tmp_path / "main.c").write_text(
        '#include "policy.h"\nint main(void) { return -policy_selftest(); }\n'
    )
    at = text.index("{\n  ", text.index("policy_i16_offset[")) + 4
    for changed, status in ((text, 0), (text[:at] + "9" + text[at:], 101)):
        (tmp_path / "policy.h").write_text(changed.replace("9-", "-9"))
        command = ["gcc", str(tmp_path / "main.c"), "-o", str(tmp_path / "main")]
        subprocess.run(command, check=True)
        assert subprocess.run([tmp_path / "main"]).returncode == status
