from __future__ import annotations

import pytest

from maas.runtimes.wording import one_sentence


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (ValueError("bad\n  value"), "bad value"),
        (ValueError(""), "ValueError"),
        ("", "nothing"),
        ("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got: 5\n Expected: 4", "Got: 5 Expected: 4"),
        ("File /home/someone/model.onnx:12 failed", "File … failed"),
        ("at 0x7f0012345678.", "at …"),
        ("\x1b[31mred\x1b[0m alarm\x07", "red alarm"),
        ("see https://example.org/a/b?c for more", "see … for more"),
        ("inputs/outputs of the model", "inputs/outputs of the model"),
    ],
)
def test_one_sentence(said, expected):
    assert one_sentence(said) == expected


def test_it_is_bounded():
    assert len(one_sentence("a " * 1000, 50)) == 50
