"""`python -m ternevo.bench`: time the named cases; print ratios, write bench.json and bench.png."""

import dataclasses
import datetime
import sys
from pathlib import Path

import tyro

from ternevo.bench.cases import CASES, SUITES, chosen
from ternevo.bench.measure import CaseError, Record
from ternevo.machine import startup
from ternevo.names import UnknownName
from ternevo.settings.finite import check_finite


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """Time ternevo beside others, case by case, in one process."""

    suite: str = "cpu"
    """Which cases: cpu, gpu, quick or all."""
    case: tuple[str, ...] = ()
    """These cases by name, instead of a suite."""
    repeats: int = 5
    """Rounds of a case; in a round every contestant runs once."""
    max_seconds: float = 45.0
    """Begin no round of a case after this many seconds, once there are three."""
    out: Path = Path("runs/bench")
    """Where bench.json and bench.png go."""
    list: bool = False
    """List the cases and stop."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        check_finite(self)
        if self.repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {self.repeats}")
        if not self.max_seconds >= 0:
            raise ValueError(f"max_seconds must be 0 or more, got {self.max_seconds}")


def main(argv: list[str] | None = None) -> None:
    """Run what the command line says; exit 2 on bad input, 1 if a case failed."""
    try:
        config = tyro.cli(
            BenchConfig,
            args=argv,
            prog="python -m ternevo.bench",
            use_underscores=True,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
        names = chosen(config.suite, config.case)
    except (UnknownName, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    if config.list:
        print(list_text(names))
        return
    command = ["python", "-m", "ternevo.bench", *(sys.argv[1:] if argv is None else argv)]
    start_jax()
    cases = run(config, names, command)
    if any("error" in record for record in cases.values()):
        raise SystemExit(1)


def list_text(names: list[str]) -> str:
    """Return one paragraph for each case, after the suites."""
    suites = [f"{name:<8}{what}" for name, what in SUITES.items()]
    cases = [
        f"{name} ({', '.join(CASES[name].suites)})\n  {CASES[name].description}" for name in names
    ]
    return "\n".join([*suites, "", *cases])


def start_jax() -> None:
    """Make every core a device, and compile everything anew: compile times are measured."""
    startup.prepare()
    import jax

    from ternevo.machine import devices

    devices.use_cores()
    jax.config.update("jax_enable_compilation_cache", False)


def run(config: BenchConfig, names: list[str], command: list[str]) -> dict[str, Record]:
    """Time the cases of these names, print and write what they show; return their records.

    A case that fails is told of and leaves the others alone.
    """
    from ternevo.bench import report
    from ternevo.runs import provenance

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
    import jax

    from ternevo.bench import measure, report

    try:
        record = measure.run_case(CASES[name], config.repeats, config.max_seconds)
    except (CaseError, OSError, jax.errors.JaxRuntimeError) as error:
        print(f"  failed: {error}", file=sys.stderr, flush=True)
        return {"description": CASES[name].description, "error": str(error)}
    print(report.contestants_text(record), flush=True)
    return record


def machine_text(header: Record) -> str:
    """Return the machine and the versions in a few lines."""
    from ternevo.bench.measure import in_bytes

    machine, device = header["machine"], header["device"]
    versions = ", ".join(f"{package} {version}" for package, version in header["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, {in_bytes(machine['memory_bytes'])}; "
        f"{device['count']} x {device['kind']}\n{versions}\ncommit {header['commit']}"
    )


if __name__ == "__main__":
    main()
