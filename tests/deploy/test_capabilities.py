"""What exports can run: the table of the docs is current, and what is refused is named."""

import importlib.util
from pathlib import Path
from typing import get_args

import pytest
from deep_records import deep_record
from policy_records import make_record

from ternevo import export
from ternevo.deploy import capabilities, integer, tvp
from ternevo.settings.export import ExportConfig
from ternevo.training import exporting

DOCS = Path(__file__).parents[2] / "docs"
EXPORTS = get_args(capabilities.ExportName)


def export_table():
    spec = importlib.util.spec_from_file_location("export_table", DOCS / "export_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_the_docs_is_current():
    text = (DOCS / "deployment.md").read_text()
    assert all(mark in text for mark in export_table().MARKS)
    assert export_table().filled(text) == text, "run python docs/export_table.py"


def test_every_export_has_a_row():
    assert set(EXPORTS) == set(capabilities.CAPABILITIES) == set(exporting.SUFFIXES)
    rows = capabilities.table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(EXPORTS)
    assert rows[0].count("yes") == rows[0].count("|") - 2, "the file holds everything"


@pytest.mark.parametrize("name", EXPORTS)
def test_floats_are_where_the_table_says(name):
    if name == "onnx":
        pytest.importorskip("onnx")
    record = make_record((3, 4, 2), "tanh", kind="float")
    if name in capabilities.FLOATS:
        assert exporting.converted(record, ExportConfig(Path("x"), name))
        return
    with pytest.raises(integer.NotIntegerError, match="layer 0 has float weights"):
        exporting.converted(record, ExportConfig(Path("x"), name))


def test_the_error_names_the_layers_and_who_runs_them(tmp_path, capsys, monkeypatch):
    narrow = capabilities.Capability(("dense",), False, ("f32", "i8", "bits"))
    monkeypatch.setitem(capabilities.CAPABILITIES, "numpy", narrow)
    record = deep_record(0, types=("gated",), shape=(4,), inputs="pixels", depth=2)
    (tmp_path / "policy.tvp").write_bytes(tvp.encode(record))
    with pytest.raises(SystemExit, match="2"):
        export.main([str(tmp_path / "policy.tvp"), "--to", "numpy"])
    said = " ".join(capsys.readouterr().err.split())
    wanted = "does not support layers of type gated (layers 0, 1) and pixels inputs; this policy"
    assert f"--to numpy {wanted}" in said and "--to tvp, c" in said
