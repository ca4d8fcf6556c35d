"""The examples for boards compile, and the table of devices is measured where tools are."""

import dataclasses
import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest
from policy_records import make_record

from ternevo.deploy import adc, c_chain, c_header, c_sizes, c_tables, integer
from ternevo.deploy.record import PolicyRecord

EXAMPLES = Path(__file__).parents[2] / "examples" / "deploy"
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")
ARDUINO = r"""
#ifndef ARDUINO_H
#define ARDUINO_H
#include <stdint.h>
const int A0 = 0, A1 = 1, A2 = 2, A3 = 3, OUTPUT = 1;
int analogRead(int pin);
void analogWrite(int pin, int value);
void digitalWrite(int pin, int value);
void pinMode(int pin, int mode);
void delay(unsigned long ms);
const int LED_BUILTIN = 13;
struct S {
  void begin(long);
  void println(const char *);
  void println(int);
  void print(const char *);
};
extern S Serial;
#endif
"""
"""What the examples take of Arduino's own header."""


def _tool():
    """Import the command, which is no part of the package."""
    path = EXAMPLES / "measure_devices.py"
    spec = importlib.util.spec_from_file_location("measure_devices", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


measure_devices = _tool()


def policy(output: str = "discrete", activation: str = "int8") -> PolicyRecord:
    sizes = (4, 16, 2)
    return make_record(sizes, activation, output=output, exponents=[2, 3], bias_exponent=0)


def check_syntax(folder: Path, source: Path, *flags: str) -> None:
    """Compile for the computer, and for an AVR where there is a compiler."""
    (folder / "Arduino.h").write_text(ARDUINO)
    compilers = [("g++",), ("avr-g++", "-mmcu=atmega328p")]
    found = [compiler for compiler in compilers if shutil.which(compiler[0])]
    if not found:
        pytest.skip("g++ is not installed")
    for compiler in found:
        options = ("-std=c++11", "-x", "c++", *STRICT, f"-I{folder}", "-fsyntax-only", *flags)
        command = [*compiler, *options, "-include", "Arduino.h", str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("has_counts", [False, True])
def test_the_sketch_of_the_arduino_library_compiles(has_counts, tmp_path):
    counts = adc.parse("0.0049,-2.5", 4) if has_counts else None
    (tmp_path / "policy.h").write_text(c_header.to_c(policy(), counts=counts))
    library = EXAMPLES / "arduino"
    sketch = library / "examples" / "policy_sketch" / "policy_sketch.ino"
    check_syntax(tmp_path, sketch, f"-I{library / 'src'}")


def test_the_arduino_library_says_what_the_manager_wants():
    lines = (EXAMPLES / "arduino" / "library.properties").read_text().splitlines()
    told = dict(line.split("=", 1) for line in lines)
    wanted = "name version author maintainer sentence paragraph category url architectures includes"
    assert list(told) == wanted.split() and all(told.values())
    assert (EXAMPLES / "arduino" / "src" / told["includes"]).exists()


@pytest.mark.parametrize("output", ["discrete", "continuous"])
def test_the_program_for_platformio_compiles(output, tmp_path):
    header = c_header.to_c(policy(output), counts=adc.parse("0.0049,-2.5", 4))
    (tmp_path / "policy.h").write_text(header)
    check_syntax(tmp_path, EXAMPLES / "platformio" / "src" / "main.cpp", "-DTERNEVO_NO_FLOAT")


def test_the_program_for_platformio_says_what_it_needs(tmp_path):
    (tmp_path / "policy.h").write_text(c_header.to_c(policy()))
    with pytest.raises(AssertionError, match="export the policy with --adc"):
        check_syntax(tmp_path, EXAMPLES / "platformio" / "src" / "main.cpp")


def test_a_device_without_tools_is_left_out_and_named(monkeypatch):
    device = dataclasses.replace(measure_devices.DEVICES[0], compiler="no-such-gcc")
    monkeypatch.setattr(measure_devices, "DEVICES", (device,))
    record = policy()
    rows = list(measure_devices.table(record, measure_devices.usual_counts(record)))
    assert rows[2].startswith(f"| {device.name} | not measured: no no-such-gcc and no no-such-size")
    assert len(rows) == 3


@pytest.mark.parametrize("device", measure_devices.DEVICES, ids=lambda device: device.name)
@pytest.mark.parametrize("output", ["discrete", "continuous"])
def test_a_device_is_measured_and_computes_what_numpy_does(device, output):
    if device.missing:
        pytest.skip(f"no {' and no '.join(device.missing)}")
    record = policy(output)
    counts = measure_devices.usual_counts(record)
    found = {
        kind: measure_devices.measure(record, device, kind, counts)
        for kind in measure_devices.KINDS
    }
    floats, counted, integers = found.values()
    assert 0 < integers.flash < counted.flash < 4000 and integers.flash < floats.flash < 6000
    assert all(0 < figures.stack < 400 for figures in found.values())
    assert 0 < integers.time < counted.time
    assert integers.ram == counted.ram == floats.ram == 0
    parts, core = parts_of(record), CORES[device.name]
    for kind, figures in found.items():
        if kind != "counts":  # as few bytes as they take, 100 to 250, they are not estimated
            estimate = c_sizes.flash(parts, core, kind == "floats")
            assert abs(estimate - figures.flash) < max(150, 0.4 * figures.flash), kind
        assert figures.stack <= c_sizes.stack(parts), kind


CORES = {
    device.name: c_sizes.CORES[place]
    for device, place in zip(measure_devices.DEVICES, (0, 0, 1, 2), strict=True)
}
"""The estimated core of each device that is measured."""


def parts_of(record: PolicyRecord) -> c_sizes.Parts:
    net = integer.compile_integer(record)
    layers = c_chain.layers_of(record, net)
    writer = c_tables.Writer(record, net, "p", "", None, None)
    list(c_chain.tables(writer, layers))
    return c_chain.parts_of(writer, layers)


def test_estimates_grow_with_the_policy():
    sizes = [(4, 8, 2), (4, 16, 2), (8, 32, 32, 4), (27, 64, 64, 8)]
    for core in c_sizes.CORES:
        parts = [parts_of(make_record(size, "sign")) for size in sizes]
        found = [c_sizes.flash(part, core, has_floats=False) for part in parts]
        assert found == sorted(set(found))
        assert all(
            c_sizes.flash(part, core, has_floats=True) > size
            for part, size in zip(parts, found, strict=True)
        )
