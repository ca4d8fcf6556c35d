"""Runs of before: an option that their config.json lacks had its default."""

import copy
import dataclasses

import pytest

from ternevo.runs import claims, records
from ternevo.runs.errors import RunFolderError
from ternevo.runs.run_folder import RunFolder
from ternevo.settings.command_line import RunConfig
from ternevo.settings.policies import MLP
from ternevo.settings.strategies import STRATEGIES


def test_a_run_goes_on_that_began_before_an_option_existed(tmp_path):
    config = RunConfig(STRATEGIES["ternary_nes"](), MLP())
    now = records.made_now(config, "probe/bandit")
    before = copy.deepcopy(now)
    del before["settings"]["policy"]["scales"]
    claims._check_same(config, RunFolder(tmp_path), before, now)
    other = dataclasses.replace(config, policy=MLP(scales="output"))
    with pytest.raises(RunFolderError, match="scales: 'layer' then, 'output' now"):
        claims._check_same(
            other, RunFolder(tmp_path), before, records.made_now(other, "probe/bandit")
        )
