"""Every function that settings name is there, and takes what it is called with."""

import inspect

import pytest

from ternevo.names import UnknownName, lookup
from ternevo.settings.policies import MLP, POLICIES
from ternevo.settings.strategies import STRATEGIES
from ternevo.settings.strategies.evolution import Evolution

SEARCHES = sorted(
    {kind.searched_by for kind in STRATEGIES.values() if issubclass(kind, Evolution)} - {""}
)


@pytest.mark.parametrize(
    ("function", "method"),
    [
        *((kind.built_by, kind.build) for kind in [*STRATEGIES.values(), *POLICIES.values()]),
        *((searched_by, Evolution.search_algorithm) for searched_by in SEARCHES),
    ],
)
def test_what_settings_name_is_there_and_takes_the_arguments_of_their_method(function, method):
    found = lookup("function", function, {})
    ours, *arguments = inspect.signature(found).parameters
    assert ours == "settings"
    assert arguments == list(inspect.signature(method).parameters)[1:]


def test_what_settings_name_is_called_with_them():
    settings = MLP()
    assert settings.call("operator:eq", settings) is True
    with pytest.raises(UnknownName, match="operator has no 'eqq'"):
        settings.call("operator:eqq", settings)
