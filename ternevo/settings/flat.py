"""Settings are made of parts, but flat on a command line, in a page and in config.json.

A part is a few options that belong together, such as a learning rate and its schedule. A strategy
has it as a field, with its own defaults: `rate: Rate = Rate(lr=0.5)`. The part's options become
options of the strategy.
"""

import copy
import dataclasses
from typing import Any, NamedTuple, TypeVar

from ternevo.names import check as check_name
from ternevo.settings.finite import check_number
from ternevo.settings.meaning import check as check_limit, meaning_of

HELP = "help"

Made = TypeVar("Made")


class Option(NamedTuple):
    """An option: its field, the class that declares it, and help that replaces its docstring."""

    field: dataclasses.Field
    owner: type
    help: str | None = None


@dataclasses.dataclass(frozen=True)
class Part:
    """Abstract: a group of options that belong together."""

    def __post_init__(self) -> None:
        """Refuse invalid numbers."""
        check(self)

    def check_in(self, settings: Any) -> None:
        """Refuse values that conflict with the other settings.

        Raises:
          ValueError: a value conflicts.
        """


def part(default: Part, **help: str) -> Any:
    """Return the field of a part, with more specific help for some of its options.

    Args:
      default: its default value.
      **help: help by option name; it replaces the docstring.
    """
    return dataclasses.field(default=default, metadata={HELP: help})


def flat(settings: Any) -> dict[str, Any]:
    """Return all option values of settings, by name."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        found |= flat(value) if isinstance(value, Part) else {field.name: value}
    return found


def options_of(settings: Any) -> dict[str, Option]:
    """Return the options of settings, or of a settings class, by name."""
    owner = settings if isinstance(settings, type) else type(settings)
    found: dict[str, Option] = {}
    for field in dataclasses.fields(owner):
        if isinstance(field.default, Part):
            help = field.metadata.get(HELP, {})
            for name, option in options_of(field.default).items():
                found[name] = option._replace(help=help.get(name, option.help))
        else:
            found[field.name] = Option(field, owner)
    return found


def with_meaning(what: str, *settings: Any) -> list[str]:
    """Return the names of the options for which a field of `Meaning` is true."""
    return [
        name
        for each in settings
        for name, option in options_of(each).items()
        if getattr(meaning_of(option.field), what)
    ]


def changed(settings: Any, **options: Any) -> Any:
    """Return settings with some options changed, in whatever part they are.

    Raises:
      UnknownName: an option does not exist; the message suggests similar names.
      ValueError: a value is invalid.
    """
    known = flat(settings)
    for name in options:
        check_name(f"option of {type(settings).__name__}", name, known)
    return _changed(settings, options)


def _changed(settings: Any, options: dict[str, Any]) -> Any:
    values = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, Part):
            values[field.name] = _changed(value, options)
        elif field.name in options:
            values[field.name] = options[field.name]
    return dataclasses.replace(settings, **values)


def numbers_of(settings: Any) -> dict[str, float]:
    """Return the options whose numbers are data of the compiled program, by name.

    See `Meaning.is_data`.
    """
    values = flat(settings)
    return {name: float(values[name]) for name in with_meaning("is_data", settings)}


def with_numbers(settings: Made, numbers: dict[str, Any]) -> Made:
    """Return settings with these numbers, which may be traced and so are not checked again."""
    changed = copy.copy(settings)
    for field in dataclasses.fields(settings):  # pyright: ignore (settings are dataclasses)
        value = getattr(settings, field.name)
        if isinstance(value, Part):
            value = with_numbers(value, numbers)
        elif field.name in numbers:
            value = numbers[field.name]
        object.__setattr__(changed, field.name, value)  # they are frozen
    return changed


def check(settings: Any) -> None:
    """Refuse numbers that are not finite or break their limit.

    Raises:
      ValueError: a number is refused; the message names the option.
    """
    for name, value in flat(settings).items():
        check_number(name, value)
    for field in dataclasses.fields(settings):
        limit = meaning_of(field).must_be
        if limit is not None:
            check_limit(field.name, getattr(settings, field.name), limit)


class Flat:
    """Mix-in: settings that check themselves and can be built from flat options."""

    def __post_init__(self) -> None:
        """Refuse invalid numbers and conflicting parts."""
        check(self)
        for field in dataclasses.fields(self):  # pyright: ignore (subclasses are dataclasses)
            value = getattr(self, field.name)
            if isinstance(value, Part):
                value.check_in(self)

    @classmethod
    def of(cls: type[Made], **options: Any) -> Made:
        """Return settings with these options, named as on the command line; the rest are defaults.

        Raises:
          UnknownName: an option does not exist; the message suggests similar names.
          ValueError: a value is invalid.
        """
        return changed(cls(), **options)
