"""Run the cases of `python -m ternevo.bench`, and print and write the results."""

import datetime
import sys

import jax

from ternevo.bench import measure, report
from ternevo.bench.cases import CASES
from ternevo.bench.config import BenchConfig
from ternevo.bench.contest import CaseError, Record
from ternevo.bench.measure import in_bytes
from ternevo.machine import devices
from ternevo.runs import provenance


def start_jax() -> None:
    """Make every core a device, and disable the compilation cache to measure compile times."""
    devices.use_cores()
    jax.config.update("jax_enable_compilation_cache", False)


def run(config: BenchConfig, names: list[str], command: list[str]) -> dict[str, Record]:
    """Time the named cases, print and write the results, and return their records.

    A failing case is reported and does not stop the others.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    header = {"date": now, "command": command, **provenance.describe()}
    print(machine_text(header), flush=True)
    cases: dict[str, Record] = {}
    for count, name in enumerate(names, 1):
        print(f"[{count}/{len(names)}] {name}: {CASES[name].description}", flush=True)
        cases[name] = run_one(name, config)
        report.write(config.out, header, cases)
    print(f"\n{report.LEGEND}\n\n{report.table(cases)}\n")
    print(f"{config.out / 'bench.json'}\n{config.out / 'bench.png'}", flush=True)
    return cases


def run_one(name: str, config: BenchConfig) -> Record:
    """Return the record of a case, or {"error": ...}."""
    try:
        record = measure.run_case(CASES[name], config.repeats, config.max_seconds)
    except (CaseError, OSError, jax.errors.JaxRuntimeError) as error:
        print(f"  failed: {error}", file=sys.stderr, flush=True)
        return {"description": CASES[name].description, "error": str(error)}
    print(report.contestants_text(record), flush=True)
    return record


def machine_text(header: Record) -> str:
    """Return the machine and the versions in a few lines."""
    machine, device = header["machine"], header["device"]
    versions = ", ".join(f"{package} {version}" for package, version in header["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {in_bytes(machine['memory_bytes'])}; "
        f"{device['count']} x {device['kind']}\n{versions}\ncommit {header['commit']}"
    )
