"""A package that is imported when it is used: it behaves as the real one does."""

import subprocess
import sys

import pytest

from ternevo.machine.deferred import defer


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """A package that notes that it was imported."""
    (tmp_path / "slow_lab.py").write_text("import sys\nsys.slow_lab = True\nvalue = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "slow_lab", False, raising=False)
    yield "slow_lab"
    sys.modules.pop("slow_lab", None)


def test_it_is_imported_when_an_attribute_is_needed(slow):
    defer(slow)
    import slow_lab

    assert not sys.slow_lab
    assert slow_lab.value == 3 and sys.slow_lab
    assert sys.modules[slow] is not slow_lab and sys.modules[slow].value == 3
    with pytest.raises(AttributeError, match="nothing"):
        _ = slow_lab.nothing


def test_what_is_imported_or_missing_stays_as_it_is(slow):
    import slow_lab

    defer(slow)
    defer("no_such_package_here")
    assert sys.modules[slow] is slow_lab
    assert "no_such_package_here" not in sys.modules


def test_gymnax_comes_without_pandas():
    script = "import sys, ternevo.envs.gymnax; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
