"""Settings are made of parts; a command line, a page and config.json have them flat.

A part is a few options that belong together, such as a learning rate and its schedule. A strategy
has it as a field, with defaults of its own: `rate: Rate = Rate(lr=0.5)`. Its options are options of
the strategy.
"""

import dataclasses
from typing import Any, NamedTuple, TypeVar

from ternevo.names import check as check_name
from ternevo.settings.finite import check_number
from ternevo.settings.meaning import check as check_limit, meaning_of

HELP = "help"

Made = TypeVar("Made")


class Option(NamedTuple):
    """An option of settings: its field, the class that has it, and help that replaces its own."""

    field: dataclasses.Field
    owner: type
    help: str | None = None


@dataclasses.dataclass(frozen=True)
class Part:
    """Abstract: options that belong together, as a value."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        check(self)

    def check_in(self, settings: Any) -> None:
        """Refuse what does not go with the other settings.

        Raises:
          ValueError: something does not.
        """


def part(default: Part, **help: str) -> Any:
    """Return the field of a part whose options mean something more special here.

    Args:
      default: its value, if not given.
      **help: what replaces the docstrings of options, by name.
    """
    return dataclasses.field(default=default, metadata={HELP: help})


def flat(settings: Any) -> dict[str, Any]:
    """Return the values of all options of settings, by name."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        found |= flat(value) if isinstance(value, Part) else {field.name: value}
    return found


def options_of(settings: Any) -> dict[str, Option]:
    """Return the options of settings, or of a class of them, by name."""
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
    """Return the names of the options of which a field of `Meaning` is true."""
    return [
        name
        for each in settings
        for name, option in options_of(each).items()
        if getattr(meaning_of(option.field), what)
    ]


def changed(settings: Any, **options: Any) -> Any:
    """Return settings with other values of some options, wherever in parts they are.

    Raises:
      UnknownName: there is no such option; the message names what is near.
      ValueError: the settings refuse a value.
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


def check(settings: Any) -> None:
    """Refuse numbers that are not finite, or not what they must be.

    Raises:
      ValueError: one is not; the message names the option.
    """
    for name, value in flat(settings).items():
        check_number(name, value)
    for field in dataclasses.fields(settings):
        limit = meaning_of(field).must_be
        if limit is not None:
            check_limit(field.name, getattr(settings, field.name), limit)


class Flat:
    """Mix-in: settings that can be made from flat options, and check themselves."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing, and parts that do not go together."""
        check(self)
        for field in dataclasses.fields(self):  # pyright: ignore (subclasses are dataclasses)
            value = getattr(self, field.name)
            if isinstance(value, Part):
                value.check_in(self)

    @classmethod
    def of(cls: type[Made], **options: Any) -> Made:
        """Return the settings with these options, as the command line has them, else defaults.

        Raises:
          UnknownName: there is no such option; the message names what is near.
          ValueError: the settings refuse a value.
        """
        return changed(cls(), **options)
