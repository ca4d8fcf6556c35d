"""The base of strategy and policy settings: something is built from both."""

from typing import Any, ClassVar

from ternevo.names import lookup
from ternevo.settings.flat import Flat


class Built(Flat):
    """Abstract: settings as plain data, plus the name of the function that builds from them."""

    built_by: ClassVar[str] = ""
    """What `build` calls, as "package.module:function". It is imported only when called."""

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function with these settings and return its result.

        Args:
          function: its name, as "package.module:function".
          *arguments: its arguments after the settings.
        """
        return lookup("function", function, {})(self, *arguments)
