"""What is read of the processor."""

import pytest

from ternevo.machine import processor


@pytest.fixture(autouse=True)
def forgotten():
    processor.counts_bits_of_vectors.cache_clear()
    yield
    processor.counts_bits_of_vectors.cache_clear()


@pytest.mark.parametrize(
    "text, expected",
    [
        ("flags\t\t: fpu avx2 avx512_vpopcntdq\n", True),
        ("flags\t\t: fpu popcnt avx2\n", False),
        ("flags\t\t: avx512_vpopcntdq_not\n", False),
    ],
)
def test_flags_are_read(text, expected, tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    monkeypatch.setattr(processor, "CPUINFO", path)
    assert processor.counts_bits_of_vectors() is expected


def test_a_system_that_does_not_say_counts_none(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "nothing")
    assert not processor.counts_bits_of_vectors()
