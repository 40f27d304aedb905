from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.errors import ErrorKind
from maas.serving.messages import (
    LENGTH,
    Ack,
    Changed,
    Failed,
    FromProcess,
    Hello,
    Lost,
    Overdue,
    Ready,
    Stats,
    Unloaded,
    Want,
    decode_from_control,
    decode_from_process,
    encode,
)
from maas.telemetry.series import Series

MESSAGES = [
    Hello("host", "host-1", 12, 3),
    Ack("e", 4, 2),
    Ready("模型", 1, 1 << 40, 0.5),
    Failed("m", 1, ErrorKind.FAILED_PRECONDITION, "the file is torn"),
    Unloaded("m", 1),
    Want("m", 1),
    Lost("host-1", 2, (("m", 1), ("n", 2))),
    Overdue("host-2", 1, "m", 1),
    Stats((Series("c", ("a", "b"), 1.0), Series("h", (), 2.0, 0.5, (1, 0, 1)))),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_is_said_is_heard(message: FromProcess) -> None:
    data = encode(message)
    assert LENGTH.unpack(data[:4]) == (len(data) - 4,)
    assert decode_from_process(data[4:]) == message


def test_what_control_says_is_heard() -> None:
    assert decode_from_control(encode(Changed("e", 4, 2))[4:]) == Changed("e", 4, 2)


def test_neither_takes_the_others_words() -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_from_process(encode(Changed("e", 4, 2))[4:])
    with pytest.raises(ValueError, match=r".+"):
        decode_from_control(encode(Want("m", 1))[4:])


@given(st.binary(max_size=64))
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_from_process(data)
