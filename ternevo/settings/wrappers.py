"""What can be put around an environment: options of a run, and a line in a policy file."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from ternevo.names import check
from ternevo.settings.flat import Part
from ternevo.settings.meaning import COUNT, FRACTION, option


@dataclasses.dataclass(frozen=True)
class Wrappers(Part):
    """Wrappers of an environment, applied in this order; the defaults are none at all."""

    action_repeat: int = option(1, COUNT)
    """Number of steps for which each action is repeated."""
    sticky_actions: float = option(0.0, FRACTION)
    """Probability of repeating the previous action instead of taking the new one, 0 to 1."""
    frame_stack: int = option(1, COUNT)
    """Number of observations that are shown together, the newest last."""
    delayed_reward: int = option(1, COUNT)
    """Pay the rewards of this number of steps together, and what is left at the end."""
    lifetime: int = option(1, COUNT)
    """Number of episodes of the same task in a row, through which a policy keeps its memory."""
    counted: Literal["last", "all"] = "last"
    """Which episodes of a lifetime make its return: the last or all; policies see all rewards."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        super().__post_init__()
        check("way to count a lifetime", self.counted, ("last", "all"))

    def to_text(self, episode_length: int) -> str:
        """Return what is not the default as text, after the time limit inside; "" if all is.

        Examples:
          >>> Wrappers(action_repeat=4, lifetime=2).to_text(500)
          'episode_length=500,action_repeat=4,lifetime=2'
        """
        changed = [
            f"{field.name}={getattr(self, field.name)}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        return ",".join([f"episode_length={episode_length}", *changed]) if changed else ""


def from_text(text: str) -> tuple[int | None, Wrappers]:
    """Return the time limit inside and the wrappers that `Wrappers.to_text` wrote.

    Raises:
      ValueError: it did not write this.

    Examples:
      >>> from_text("episode_length=500,action_repeat=4")[1].action_repeat
      4
    """
    if not text:
        return None, Wrappers()
    types: dict[str, Callable[[str], Any]] = {"sticky_actions": float, "counted": str}
    found = [pair.partition("=") for pair in text.split(",")]
    try:
        values = {name: types.get(name, int)(value) for name, _, value in found}
        length = values.pop("episode_length")
        wrappers = Wrappers(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{text[:80]!r} names no wrappers: {error}") from error
    if wrappers.to_text(length) != text or length < 1:
        raise ValueError(f"{text[:80]!r} names no wrappers")
    return length, wrappers
