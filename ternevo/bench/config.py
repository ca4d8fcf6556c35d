"""The options of `python -m ternevo.bench`."""

import dataclasses
from pathlib import Path

from ternevo.settings.finite import check_finite


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """Time ternevo against others, case by case, in one process."""

    suite: str = "cpu"
    """Suite of cases to run: cpu, gpu, deploy, systems, quick or all."""
    case: tuple[str, ...] = ()
    """Names of cases to run instead of a suite."""
    repeats: int = 5
    """Number of rounds of a case, at least 1; every contestant runs once in a round."""
    max_seconds: float = 45.0
    """Seconds after which a case starts no new round, 0 or more; the first three always run."""
    out: Path = Path("runs/bench")
    """Folder for bench.json and bench.png."""
    list: bool = False
    """List the cases and exit."""

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        check_finite(self)
        if self.repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {self.repeats}")
        if not self.max_seconds >= 0:
            raise ValueError(f"max_seconds must be 0 or more, got {self.max_seconds}")
