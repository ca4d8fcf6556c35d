"""Environment wrappers: options of a run, and a line in a policy file."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from ternevo.names import UnknownName, check
from ternevo.settings.flat import Part
from ternevo.settings.meaning import COUNT, FRACTION, option


@dataclasses.dataclass(frozen=True)
class Wrappers(Part):
    """Wrappers of an environment, applied in this order; by default there are none."""

    action_repeat: int = option(1, COUNT)
    """Number of steps for which each action is repeated."""
    sticky_actions: float = option(0.0, FRACTION)
    """Probability of repeating the previous action instead of taking the new one, 0 to 1."""
    frame_stack: int = option(1, COUNT)
    """Number of observations to stack, the newest last."""
    delayed_reward: int = option(1, COUNT)
    """Pay rewards in a lump sum every N steps, and the rest at the end of the episode."""
    lifetime: int = option(1, COUNT)
    """Number of consecutive episodes of one task; the policy keeps its memory through them."""
    counted: Literal["last", "all"] = "last"
    """Which episodes of a lifetime count for its return: last or all. Policies see all rewards."""

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        super().__post_init__()
        check("way to count a lifetime", self.counted, ("last", "all"))

    def to_text(self, episode_length: int) -> str:
        """Return the values that are not defaults as text, after the inner time limit; "" if none.

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
    """Return the inner time limit and the wrappers that `Wrappers.to_text` wrote.

    Raises:
      ValueError: the text is not one that it writes.

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
    except (KeyError, TypeError, ValueError, UnknownName) as error:
        raise ValueError(f"{text[:80]!r} is not a list of wrappers: {error}") from error
    if wrappers.to_text(length) != text or length < 1:
        raise ValueError(f"{text[:80]!r} is not a list of wrappers")
    return length, wrappers
