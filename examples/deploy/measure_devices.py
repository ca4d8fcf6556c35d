"""Print what a policy takes of four microcontrollers: flash, RAM, stack and time, measured.

    python examples/deploy/measure_devices.py runs/gymnax/CartPole-v1/ternary_nes/seed0
    python examples/deploy/measure_devices.py hub:CartPole-v1 --adc "0.0049,-2.5"

The policy is exported as C, compiled for each device with -Os or another --level, and run in a
simulator: avr-gcc and simavr, arm-none-eabi-gcc and qemu-system-arm. A device whose tools are
missing is left out, and the output says so. Figures are those of a program with the policy, less
those of the same program without it, so start-up code does not count and what the compiler's own
library adds does. Times are cycles on an AVR and instructions on a Cortex-M, counted in the
simulator and not on a board.
"""

import argparse
import dataclasses
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from ternevo.deploy import adc, c_header, integer, tvp
from ternevo.deploy.record import PolicyRecord
from ternevo.runs import run_folder

HERE = Path(__file__).parent
SOURCE = HERE / "devices" / "measure.c"
SCRIPT = HERE / "bare_metal" / "mps2_an385.ld"
KINDS = {"floats": 1, "counts": 2, "integers": 3}
"""Inputs: float observations, int16 counts of a converter, and what the network takes itself."""
NOTHING = 0
CONVERTER_BITS = 10


@dataclasses.dataclass(frozen=True)
class Device:
    """A microcontroller as a compiler and a simulator know it."""

    name: str
    compiler: str
    flags: tuple[str, ...]
    simulator: tuple[str, ...]
    unit: str
    """What is counted: cycles or instructions."""
    megahertz: int
    """The usual clock, for evaluations a second where cycles are known."""

    @property
    def size(self) -> str:
        """The program that tells the sizes of sections."""
        return self.compiler.removesuffix("gcc") + "size"

    @property
    def missing(self) -> list[str]:
        """Programs that are not installed."""
        tools = (self.compiler, self.size, self.simulator[0])
        return [tool for tool in tools if shutil.which(tool) is None]


def _avr(name: str, mcu: str, megahertz: int) -> Device:
    flags = (f"-mmcu={mcu}", f"-DF_CPU={megahertz}000000UL", "-Wl,--gc-sections")
    flags += ("-Wl,--undefined=_mmcu,--section-start=.mmcu=0x910000",)
    simulator = ("simavr", "-m", mcu, "-f", f"{megahertz}000000")
    return Device(name, "avr-gcc", flags, simulator, "cycles", megahertz)


def _arm(name: str, cpu: tuple[str, ...], board: str, megahertz: int) -> Device:
    flags = ("-mthumb", *cpu, "-nostartfiles", "-T", str(SCRIPT), "-Wl,--gc-sections", "-lgcc")
    simulator = ("qemu-system-arm", "-M", board, "-nographic", "-monitor", "none")
    simulator += ("-semihosting-config", "enable=on,target=native", "-icount", "shift=0")
    simulator += ("-kernel",)
    return Device(name, "arm-none-eabi-gcc", flags, simulator, "instructions", megahertz)


FPU = ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
DEVICES = (
    _avr("Arduino Uno, ATmega328P", "atmega328p", 16),
    _avr("ATtiny85", "attiny85", 8),
    # QEMU has no board with an M0 whose timer counts instructions; an M3 runs its instructions.
    _arm("Cortex-M0", ("-mcpu=cortex-m0", "-mfloat-abi=soft"), "mps2-an385", 48),
    _arm("Cortex-M4 with FPU", FPU, "mps2-an386", 168),
)


@dataclasses.dataclass(frozen=True)
class Figures:
    """What a policy takes of a device: bytes of memory, and cycles or instructions."""

    flash: int
    ram: int
    stack: int
    time: int


def measure(
    record: PolicyRecord, device: Device, kind: str, counts: list[adc.Line], level: str = "-Os"
) -> Figures:
    """Return the figures of a policy with a kind of input, measured.

    Raises:
      RuntimeError: a tool fails, or the device computes another action than NumPy.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "policy.h").write_text(c_header.to_c(record, counts=counts))
        text, answer = _inputs(record, kind, counts)
        (folder / "inputs.h").write_text(text)
        with_policy = _program(folder, device, KINDS[kind], level)
        without = _program(folder, device, NOTHING, level)
    if with_policy["answer"] != answer:
        raise RuntimeError(f"{device.name}: {with_policy['answer']} instead of {answer}")
    spent = {key: with_policy[key] - without[key] for key in ("flash", "ram", "ticks")}
    time = round(spent["ticks"] / with_policy["evaluations"])
    return Figures(spent["flash"], spent["ram"], with_policy["stack"], time)


def usual_counts(record: PolicyRecord) -> list[adc.Line]:
    """Return sensors of 10 bits that cover what the quantiser tells apart."""
    half = 2 ** (CONVERTER_BITS - 1)
    lines = []
    for mean, exponent in zip(record.mean, record.exponent.tolist(), strict=True):
        scale = Fraction(adc.LIMIT, half) / Fraction(2) ** exponent
        lines.append((scale, Fraction(float(mean)) - half * scale))
    return lines


def _inputs(record: PolicyRecord, kind: str, counts: list[adc.Line]) -> tuple[str, int]:
    """Return inputs.h, and the answer to it."""
    random = np.random.default_rng(0)
    net = integer.compile_integer(record)
    obs = record.mean + random.normal(0, 32, record.obs_size) * np.ldexp(1.0, -record.exponent)
    obs = obs.astype(np.float32)
    raw = random.integers(0, 2**CONVERTER_BITS, record.obs_size).astype(np.int16)
    q = integer.quantise(record, obs)
    taken = adc.quantise(adc.fixed_quantiser(record, counts), raw) if kind == "counts" else q
    logits = integer.logits(net, taken[None])
    action = integer.actions(record, net.output_exponent, logits)[0]
    if record.output_kind == "discrete":
        answer = int(action)
    elif kind == "floats":
        answer = int(np.float32(action[0]).view(np.uint32))
    else:
        one = 2 ** max(net.output_exponent, 0)
        answer = int(np.clip(logits[0, 0], -one, one)) % 2**32
    arrays = {
        "float measure_obs": [float(x).hex() for x in obs],
        "int16_t measure_raw": raw.tolist(),
        "int8_t measure_q": q.tolist(),
    }
    lines = [f"{name}[] = {{{', '.join(map(str, values))}}};" for name, values in arrays.items()]
    return "\n".join(lines) + "\n", answer


def _program(folder: Path, device: Device, kind: int, level: str) -> dict[str, int]:
    """Compile and run it; return what it says, and its sizes."""
    program = folder / "program.elf"
    options = [level, "-std=c99", "-ffunction-sections", "-fdata-sections", "-Wall", "-Wextra"]
    options += [f"-I{folder}", "-DTERNEVO_NO_SELFTEST", f"-DMEASURE={kind}"]
    link = [flag for flag in device.flags if flag == "-lgcc"]
    flags = [flag for flag in device.flags if flag != "-lgcc"]
    _run(device.compiler, *options, *flags, str(SOURCE), *link, "-o", str(program))
    said = _run(*device.simulator, str(program))
    found = {name: int(value) for name, value in re.findall(r"(\w+) (\d+)", said)}
    sizes = _run(device.size, str(program)).splitlines()[1].split()
    text, data, bss = map(int, sizes[:3])
    return {**found, "flash": text + data, "ram": data + bss}


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def table(record: PolicyRecord, counts: list[adc.Line], level: str = "-Os") -> Iterable[str]:
    """Yield the rows of the table, in Markdown."""
    kinds = [kind for kind in KINDS if record.input_kind == "f32" or kind == "integers"]
    yield "| device | input | flash, bytes | RAM, bytes | stack, bytes | time |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for device in DEVICES:
        if device.missing:
            yield f"| {device.name} | not measured: no {' and no '.join(device.missing)} | | | | |"
            continue
        for kind in kinds:
            found = measure(record, device, kind, counts, level)
            numbers = f"{found.flash:,} | {found.ram:,} | {found.stack:,} | {found.time:,}"
            yield f"| {device.name} | {kind} | {numbers} {device.unit} |"


def main(argv: list[str] | None = None) -> None:
    """Print the table of a policy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("policy", type=Path, help="a policy file, or the folder of a run")
    parser.add_argument("--adc", help="SCALE,OFFSET of the converter, as for ternevo.export")
    parser.add_argument("--level", default="-Os", help="such as -O2, of the compilers")
    options = parser.parse_args(argv)
    record = tvp.load(run_folder.policy_of(options.policy, "best"))
    counts = usual_counts(record)
    if options.adc is not None:
        counts = adc.parse(options.adc, record.obs_size)
    for row in table(record, counts, options.level):
        print(row, flush=True)


if __name__ == "__main__":
    sys.exit(main())
