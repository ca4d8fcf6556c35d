"""From which return on a seed counts as a success."""

from collections.abc import Mapping

Threshold = float | int | Mapping[str, float | int] | None
"""One for all environments, or of each by its full id; None for none."""
