"""What the settings of strategies and policies have in common: something is built from them."""

from typing import Any, ClassVar

from ternevo.names import lookup
from ternevo.settings.flat import Flat


class Built(Flat):
    """Abstract: settings, which are data, and the names of the functions that build from them."""

    built_by: ClassVar[str] = ""
    """What `build` calls, as "package.module:function": it is imported then, and not before."""

    def call(self, function: str, *arguments: Any) -> Any:
        """Return what a function makes of these settings.

        Args:
          function: its name, "package.module:function".
          *arguments: what it takes after the settings.
        """
        return lookup("function", function, {})(self, *arguments)
