"""The options of `python -m ternevo.bench`."""

import dataclasses
from pathlib import Path

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
