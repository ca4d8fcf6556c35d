"""The comment at the head of the C header: it says what is needed, and no text can end it."""

import dataclasses
import re
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, strategies as st
from policy_records import make_record

from ternevo import export
from ternevo.deploy import adc, c_comment, c_header
from ternevo.hub import catalogue

SHIPPED = catalogue.FOLDER / "CartPole-v1.tvp"
NAMES = {
    "obs_names": "cart position (m)\ncart velocity (m/s)\npole angle (rad)\nspin (rad/s)",
    "action_names": "push left\npush right",
}
ORIGIN = {
    "env": "gymnax/CartPole-v1",
    "episode_length": "500",
    "strategy": "ternary_nes",
    "seed": "3",
    "generation": "40",
    "return": "487.25",
}
HOSTILE = "brax/ant@spring */ int x = 1; /* ??/ \\\n\t é \u202e // @ "


def comment(record, **how) -> str:
    """Return the first comment of the header, as one line for each of its lines."""
    text = c_header.to_c(record, **how)
    assert text.startswith("/* ")
    return text[: text.index("*/")]


def test_it_says_where_the_policy_comes_from():
    record = make_record(metadata={**ORIGIN, **NAMES})
    text = comment(record, date="2026-11-28")
    assert "environment  gymnax/CartPole-v1, episodes of at most 500 steps" in text
    assert "trained by   ternary_nes, seed 3, generation 40" in text
    assert "return       487.25, mean of its test episodes" in text
    assert "exported     2026-11-28" in text
    assert "exported" not in comment(record)
    assert "environment  not in the policy file" in comment(make_record())


def test_it_says_what_goes_in_and_what_comes_out():
    record = make_record(
        metadata=NAMES,
        seed=1,
    )
    record = dataclasses.replace(
        record,
        mean=np.float32([0.5, -2, 0, 1e-9]),
        exponent=np.int8([5, 0, -3, 30]),
    )
    text = comment(record)
    rows = [
        r"obs\[0\]  cart position \(m\)    mean 0.5, scale 32",
        r"obs\[1\]  cart velocity \(m/s\)  mean -2, scale 1",
        r"obs\[2\]  pole angle \(rad\)     mean 0, scale 1/8",
        r"obs\[3\]  spin \(rad/s\)         mean 1e-09, scale 2\*\*30",
        r"0  push left\n",
        r"1  push right\n",
    ]
    for row in rows:
        assert re.search(row, text), row


def test_it_says_the_ranges_of_continuous_actions():
    names = {"action_names": "hip torque\nankle torque\nknee torque"}
    record = make_record((4, 5, 3), output="continuous", range_=(-2, 0.5), metadata=names)
    text = comment(record, name="ant")
    assert re.search(r"action\[1\]  ankle torque  -2 to 0.5\n", text)
    assert "action[i] / 2**ANT_ACTION_SHIFT" in text
    assert "action[0..2]  -2 to 0.5\n" in comment(dataclasses.replace(record, metadata={}))


def test_channels_are_named_once():
    record = make_record(
        (400, 3), inputs="bits", metadata={"obs_names": "paddle\nball\ntrail\nwall"}
    )
    text = comment(record)
    assert "Input i is channel i % 4 of place i / 4" in text
    assert "channel 1  ball" in text
    assert text.count("ball") == 1


def test_it_says_what_memory_it_takes():
    text = comment(make_record())
    assert re.search(r"AVR \(ATmega, ATtiny\) +[\d,]+ +[\d,]+\n", text)
    assert re.search(r"takes at most [\d,]+ bytes", text)
    assert re.search(r"Cortex-M0, M0\+ +[\d,]+ +-\n", comment(make_record(inputs="i8")))


def test_what_nobody_named_is_said_to_be_unknown_and_equal_rows_are_one():
    record = dataclasses.replace(
        make_record((300, 3)), mean=np.zeros(300, np.float32), exponent=np.full(300, 7, np.int8)
    )
    text = comment(record)
    assert "The policy file does not say what they mean." in text
    assert "obs[0..299]  mean 0, scale 128" in text
    assert len(text.splitlines()) < 80


def test_it_says_what_counts_stand_for():
    text = comment(make_record(), counts=adc.parse("0.0049,-2.5 0.0049,-2.5 1 -1e-3,7", 4))
    assert "obs[0..1]  0.0049 * raw - 2.5" in text
    assert "obs[3]     -0.001 * raw + 7" in text
    assert "policy_quantise_i16(raw, q)" in text
    assert "raw" not in comment(make_record())


def test_a_policy_file_of_before_there_were_names_is_exported():
    text = comment(make_record(metadata=ORIGIN))
    assert "gymnax/CartPole-v1" in text and "obs[3]  mean" in text
    assert "does not say what they mean" in text


def test_the_code_is_the_same_whatever_the_file_says_of_itself():
    record = make_record()
    told = dataclasses.replace(record, metadata={**ORIGIN, **NAMES})
    code = [c_header.to_c(x)[len(comment(x)) :] for x in (record, told)]
    assert code[0] == code[1]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_no_text_of_a_file_ends_the_comment(tmp_path):
    metadata = dict.fromkeys([*ORIGIN, "wrappers"], HOSTILE)
    metadata["obs_names"] = "\n".join([HOSTILE.replace("\n", "")] * 4)
    metadata["action_names"] = "\n".join([HOSTILE.replace("\n", "")] * 2)
    hostile = make_record(metadata=metadata)
    text = c_header.to_c(hostile, date="*/ int y;")
    assert text.isascii()
    assert "brax/ant@spring * / int x = 1; / *" in text
    source = tmp_path / "policy.c"
    for record, name in ((hostile, "hostile.i"), (make_record(), "plain.i")):
        source.write_text(c_header.to_c(record, date="*/ int y;"))
        flags = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-E", "-P")
        subprocess.run(["gcc", *flags, str(source), "-o", str(tmp_path / name)], check=True)
    assert (tmp_path / "hostile.i").read_text() == (tmp_path / "plain.i").read_text()


@given(st.text(max_size=300))
def test_plain_texts_hold_nothing_that_ends_a_comment(text):
    found = c_comment.plain(text)
    assert "*/" not in found and "/*" not in found and "??" not in found and "\\" not in found
    assert found.replace(c_comment.AT, "@").isprintable() and found.isascii()


def exported(tmp_path, *options: str) -> str:
    out = tmp_path / "policy.h"
    export.main([str(SHIPPED), "--to=c", f"--out={out}", *options])
    return out.read_text()


def test_the_date_is_that_of_the_export_and_can_be_fixed(tmp_path, monkeypatch, capsys):
    assert re.search(r"exported     20\d\d-\d\d-\d\d\n", exported(tmp_path))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert "exported     1970-01-02\n" in exported(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(SystemExit) as exit_:
        exported(tmp_path)
    assert exit_.value.code == 2
    assert "SOURCE_DATE_EPOCH='yesterday' must be whole seconds since" in capsys.readouterr().err


def test_counts_are_an_option_of_the_export(tmp_path, capsys):
    assert "obs[0..3]  0.01 * raw - 5" in exported(tmp_path, "--adc=0.01,-5")
    for options, words in (
        (("--adc=1 2",), "adc has 2 sensors, and the policy 4 inputs"),
        (("--adc=1", "--to=html"), "--adc applies to --to c, not html"),
    ):
        with pytest.raises(SystemExit) as exit_:
            export.main([str(SHIPPED), "--to=c", f"--out={tmp_path / 'other.h'}", *options])
        assert exit_.value.code == 2
        assert words in capsys.readouterr().err
