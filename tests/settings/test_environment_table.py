"""docs/reference/environments.md: it is what its script writes, and licences are as stated."""

import importlib.util
import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest

from ternevo.settings.environments import ENVIRONMENTS

DOCS = Path(__file__).parents[2] / "docs"
ALSO = {"Apache-2.0": "Apache Software License"}


def script():
    spec = importlib.util.spec_from_file_location("table", DOCS / "environment_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLE = script()


def test_the_page_is_what_its_script_writes():
    text = TABLE.PAGE.read_text()
    assert all(mark in text for mark in TABLE.MARKS)
    assert TABLE.filled(text) == text, "run python docs/environment_table.py"


def test_the_page_lists_each_environment_once_and_each_suite_once():
    text = TABLE.PAGE.read_text()
    assert sorted(re.findall(r"^\| `(\w+/[^`]+)`", text, re.MULTILINE)) == sorted(ENVIRONMENTS)
    suites = re.findall("^## (.*)", text, re.MULTILINE)
    assert sorted(suites) == sorted({env_id.partition("/")[0] for env_id in ENVIRONMENTS})


def test_speeds_are_those_of_the_pages():
    steps = TABLE.speeds()
    assert set(steps) <= set(ENVIRONMENTS)
    for figure, link in re.findall(r"\[([\d,]+)\]\(\.\./([^#)]+)", " ".join(steps.values())):
        assert figure in (DOCS / link).read_text()
    lanes = TABLE.table_of("scaling.md", "environment")
    least = min((row["128"] for row in lanes if row["environment"] == "CartPole-v1"), key=float)
    assert steps["gymnax/CartPole-v1"].startswith(f"[{least} to ")


@pytest.mark.parametrize("package", TABLE.LICENCES)
def test_a_licence_is_what_the_package_states(package):
    try:
        about = metadata(package)
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    fields = (about.get("License-Expression"), about.get("License"))
    stated = " ".join([*filter(None, fields), *about.get_all("Classifier", [])])
    licence = TABLE.LICENCES[package]
    assert licence in stated or ALSO.get(licence, licence) in stated
