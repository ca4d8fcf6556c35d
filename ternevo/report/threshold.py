"""The return at which a seed counts as a success."""

from collections.abc import Mapping

Threshold = float | int | Mapping[str, float | int] | None
"""One for all environments, or one for each full environment id; None for the default ones."""
