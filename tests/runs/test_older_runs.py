"""Runs of before: an option that their config.json lacks had its default."""

import copy
import dataclasses

from ternevo.runs import claims, records
from ternevo.settings.command_line import RunConfig
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES


def test_a_run_goes_on_that_began_before_an_option_existed():
    config = RunConfig(STRATEGIES["ternary_nes"](), MLP())
    now = records.made_now(config, "probe/bandit")
    before = copy.deepcopy(now)
    del before["settings"]["policy"]["scales"]
    assert claims._changed(config, before, "probe/bandit") == []
    other = dataclasses.replace(config, policy=MLP(scales="output"))
    changed = claims._changed(other, before, "probe/bandit")
    assert changed == ["scales: 'layer' then, 'output' now"]
