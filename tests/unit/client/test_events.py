from __future__ import annotations

import pytest
from maas_stub_server import event_bytes

from maas.client.errors import ServerUnreachable
from maas.client.events import MOST_FAILURES, MOST_PENDING, JobStream, StreamLines, read_log_line
from maas.core.errors import MaasError
from maas.core.records import Operation, OperationEvent, OperationState

STEPS = [OperationEvent(n, "prove", f"步 {n}", n / 10) for n in (1, 2, 3)]
DONE = Operation("op1", OperationState.SUCCEEDED, "iris")
STREAM = b"".join(event_bytes("step", step, step.sequence) for step in STEPS)


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_chunks_may_end_anywhere(size: int) -> None:
    data = b": hello\n\n" + STREAM.replace(b"\n", b"\r\n") + event_bytes("done", DONE)
    stream = JobStream("op1")
    found = [step for i in range(0, len(data), size) for step in stream.feed(data[i : i + size])]
    assert found == STEPS
    assert stream.operation == DONE


def test_a_new_connection_goes_on_after_the_last_whole_event() -> None:
    stream = JobStream("op1")
    assert "Last-Event-ID" not in stream.headers
    # Cut in the middle of the third event.
    assert list(stream.feed(STREAM[:-20])) == STEPS[:2]
    assert stream.lost("cut") > 0
    assert stream.headers["Last-Event-ID"] == "2"
    # The server repeats the second event; it is not reported again.
    assert list(stream.feed(STREAM[len(STREAM) // 3 :])) == STEPS[2:]


def test_events_of_other_kinds_and_heartbeats_are_passed_over() -> None:
    stream = JobStream("op1")
    data = b": beat\n\nevent: news\ndata: {}\n\nretry: 10\n\n" + STREAM
    assert list(stream.feed(data)) == STEPS


def test_it_gives_up_after_failures_in_a_row_but_not_for_silence() -> None:
    stream = JobStream("op1")
    for _ in range(100):
        assert stream.lost(None) == 0
    for _ in range(MOST_FAILURES):
        stream.lost("refused")
    with pytest.raises(ServerUnreachable, match="publish again"):
        stream.lost("refused")


def test_an_event_makes_the_failures_before_it_forgotten() -> None:
    stream = JobStream("op1")
    for _ in range(MOST_FAILURES):
        stream.lost("refused")
    list(stream.feed(STREAM))
    stream.lost("refused")


def test_a_step_that_is_no_step_is_refused() -> None:
    with pytest.raises(MaasError, match="check that the URL"):
        list(JobStream("op1").feed(b"event: step\ndata: {]\n\n"))


def test_a_line_without_end_is_given_up() -> None:
    lines = StreamLines()
    assert list(lines.feed(b"x" * MOST_PENDING)) == []
    with pytest.raises(ServerUnreachable, match="without end"):
        list(lines.feed(b"x"))


def test_log_lines() -> None:
    assert read_log_line("  ") is None
    line = read_log_line('{"time": "t", "message": "花", "extra": 1}')
    assert line is not None
    assert (line.time, line.message, line.model) == ("t", "花", "")
