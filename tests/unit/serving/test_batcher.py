from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue

import numpy as np
import pytest
from maas_test_models import (
    BATCHED,
    HOLD,
    LYING,
    PAIR,
    POISON,
    REFUSED,
    SHOUT,
    STRANGE,
    VAST,
    WHOLE,
    Model,
)

from maas.core.errors import ErrorKind
from maas.core.signature import Signature
from maas.core.tensor import Tensors
from maas.serving import frames
from maas.serving.batcher import Batcher, Job
from maas.serving.frames import (
    PREFIX,
    InferFrame,
    Place,
    ReplyFrame,
    decode_header,
    pack_tensors,
    unpack_tensors,
)
from maas.serving.segments import Budget, SegmentPool
from maas.telemetry.metrics import Metrics

FAR = math.inf


class Answer:
    """One reply, taken apart."""

    def __init__(self, data: bytes):
        head, _ = PREFIX.unpack_from(data)
        header = decode_header(data[PREFIX.size : PREFIX.size + head])
        assert isinstance(header, ReplyFrame)
        self.reply = header
        self.outputs = unpack_tensors(header.tensors, data[PREFIX.size + head :])

    @property
    def errors(self) -> dict[int, ErrorKind]:
        return {error.index: error.kind for error in self.reply.errors}


class Bench:
    """A batcher with a model, whose time stands still unless told."""

    def __init__(self, batch_rows: int = 256, concurrency: int = 1):
        self.now = 1000.0
        self.model = Model()
        self.metrics = Metrics()
        batched = [one.name for one in self.model.signatures.values() if one.batched]
        self.batcher = Batcher(
            "m", 3, self.model, batched, batch_rows, self.metrics, lambda: self.now,
            concurrency,
        )  # fmt: skip
        self._ids = 0
        self._answers: list[SimpleQueue[bytes]] = []

    def put(
        self,
        inputs: Tensors,
        signature: Signature = BATCHED,
        rows: Sequence[int] | None = None,
        deadlines: Sequence[float] | None = None,
        priority: int = 0,
        place: Place | None = None,
    ) -> tuple[Job, Callable[[], Answer]]:
        """Hands a frame over; gives the job and what waits for its answer."""
        if rows is None:
            first = next(iter(inputs.values()))
            rows = (len(first) if signature.batched else 1,)
        self._ids += 1
        metas, _ = pack_tensors(inputs)
        frame = InferFrame(
            self._ids, "m", 3, signature.name, tuple(rows),
            tuple(deadlines or [FAR] * len(rows)), metas, place, priority,
        )  # fmt: skip
        answers: SimpleQueue[bytes] = SimpleQueue()
        job = Job(frame, inputs, answers.put, self.now, SegmentPool(Budget(0)))
        self.batcher.put(job)
        return job, lambda: Answer(answers.get(timeout=5))

    def hold(self) -> Callable[[], Answer]:
        """Keeps the engine busy until `model.go` is set, so that what follows gathers."""
        _, answer = self.put(x(HOLD))
        assert self.model.entered.wait(5)
        return answer


def x(*first: float, columns: int = 2) -> dict[str, np.ndarray]:
    """Rows with these first columns."""
    array = np.zeros((len(first), columns), np.float32)
    array[:, 0] = first
    return {"x": array}


@pytest.fixture
def bench() -> Iterator[Bench]:
    found = Bench()
    yield found
    found.model.go.set()


def test_one_call_is_run_and_answered(bench: Bench) -> None:
    _, answer = bench.put(x(1, 2))
    found = answer()
    assert found.reply.loaded
    assert found.reply.errors == ()
    np.testing.assert_array_equal(found.outputs["y"], [[2, 0], [4, 0]])
    assert bench.model.runs == [[1, 2]]


def test_the_model_is_called_from_one_thread(bench: Bench) -> None:
    for value in range(5):
        bench.put(x(value))[1]()
    assert len(bench.model.threads) == 1
    assert bench.model.threads != {threading.get_ident()}


def test_frames_that_wait_run_together_and_each_gets_its_rows(bench: Bench) -> None:
    held = bench.hold()
    answers = [bench.put(x(*range(n, 2 * n)))[1] for n in range(1, 5)]
    bench.model.go.set()
    held()
    for n, answer in zip(range(1, 5), answers, strict=True):
        np.testing.assert_array_equal(
            answer().outputs["y"][:, 0], 2 * np.arange(n, 2 * n, dtype=np.float32)
        )
    assert bench.model.runs == [[HOLD], [1, 2, 3, 3, 4, 5, 4, 5, 6, 7]]


def test_a_run_has_at_most_so_many_rows() -> None:
    bench = Bench(batch_rows=4)
    bench.hold()
    answers = [bench.put(x(*[n] * rows))[1] for n, rows in enumerate([2, 1, 2, 3, 1, 9, 1])]
    bench.model.go.set()
    for answer in answers:
        assert answer().reply.errors == ()
    # A frame larger than the limit runs by itself: it is one caller's, and cannot be split.
    assert bench.model.runs[1:] == [[0, 0, 1], [2, 2], [3, 3, 3, 4], [5] * 9, [6]]


def test_rows_of_different_shapes_run_apart(bench: Bench) -> None:
    bench.hold()
    answers = [bench.put(x(n, columns=1 + n % 2))[1] for n in range(4)]
    bench.model.go.set()
    for n, answer in enumerate(answers):
        assert answer().outputs["y"].shape == (1, 1 + n % 2)
    assert sorted(bench.model.runs[1:]) == [[0, 2], [1, 3]]


def test_signatures_run_apart(bench: Bench) -> None:
    bench.hold()
    _, numbers = bench.put(x(1))
    texts = np.empty(2, object)
    texts[:] = [b"a", "é".encode()]
    _, words = bench.put({"text": texts}, SHOUT)
    bench.model.go.set()
    assert numbers().outputs["y"].tolist() == [[2, 0]]
    assert words().outputs["loud"].tolist() == [b"A", "é".encode().upper()]
    assert [name for name, _ in bench.model.executions[1:]] == [BATCHED.name, SHOUT.name]


def test_calls_without_a_batch_axis_run_one_by_one(bench: Bench) -> None:
    bench.hold()
    answers = [bench.put(x(n, n), WHOLE)[1] for n in range(3)]
    bench.model.go.set()
    assert [answer().outputs["total"].tolist() for answer in answers] == [0, 2, 4]
    assert bench.model.runs[1:] == [[0, 0], [1, 1], [2, 2]]


def test_inputs_are_joined_by_their_names(bench: Bench) -> None:
    bench.hold()
    a, b = np.ones((1, 2), np.float32), np.full((1, 2), 5, np.float32)
    _, first = bench.put({"a": a, "b": b}, PAIR)
    _, second = bench.put({"b": b, "a": a}, PAIR)
    bench.model.go.set()
    for answer in (first, second):
        found = answer().outputs
        assert (found["sum_a"].tolist(), found["sum_b"].tolist()) == ([2], [10])


@pytest.mark.parametrize(
    ("value", "kind"),
    [(REFUSED, ErrorKind.INVALID_ARGUMENT), (POISON, ErrorKind.INTERNAL)],
)
def test_a_bad_input_fails_alone(bench: Bench, value: float, kind: ErrorKind) -> None:
    bench.hold()
    answers = [bench.put(x(one))[1] for one in (1, value, 2)]
    bench.model.go.set()
    good, bad, also_good = (answer() for answer in answers)
    assert good.outputs["y"].tolist() == [[2, 0]]
    assert also_good.outputs["y"].tolist() == [[4, 0]]
    assert bad.errors == {0: kind}
    assert bad.outputs == {}


def test_a_bad_call_within_a_frame_fails_alone(bench: Bench) -> None:
    _, answer = bench.put(x(1, 1, REFUSED, 3), rows=[2, 1, 1])
    found = answer()
    assert found.errors == {1: ErrorKind.INVALID_ARGUMENT}
    assert found.outputs["y"][:, 0].tolist() == [2, 2, 6]


def test_a_frame_of_nothing_but_bad_calls_is_answered(bench: Bench) -> None:
    _, answer = bench.put(x(REFUSED, POISON), rows=[1, 1])
    found = answer()
    assert found.errors == {0: ErrorKind.INVALID_ARGUMENT, 1: ErrorKind.INTERNAL}
    assert found.outputs == {}


def test_a_models_own_words_reach_the_caller_and_nothing_else_does(bench: Bench) -> None:
    _, answer = bench.put(x(REFUSED))
    assert answer().reply.errors[0].message == "x is -1; expected anything else"
    _, answer = bench.put(x(POISON))
    message = answer().reply.errors[0].message
    assert "ZeroDivisionError" in message
    assert "/srv" not in message


def test_a_call_without_a_batch_axis_can_fail(bench: Bench) -> None:
    assert bench.put(x(REFUSED), WHOLE)[1]().errors == {0: ErrorKind.INVALID_ARGUMENT}


def test_a_model_whose_batch_axis_does_not_hold_is_found_out(bench: Bench) -> None:
    bench.hold()
    answers = [bench.put(x(value))[1] for value in (1, LYING)]
    bench.model.go.set()
    good, lying = (answer() for answer in answers)
    assert good.outputs["y"].tolist() == [[2, 0]]
    assert lying.errors == {0: ErrorKind.INTERNAL}
    assert "its batch axis does not hold" in lying.reply.errors[0].message


def test_what_no_protocol_carries_fails_alone(bench: Bench) -> None:
    assert bench.put(x(STRANGE))[1]().errors == {0: ErrorKind.INTERNAL}
    assert bench.put(x(1))[1]().outputs["y"].tolist() == [[2, 0]]


def test_what_no_protocol_carries_does_not_end_the_batcher(bench: Bench) -> None:
    _, strange = bench.put(x(STRANGE, 1), rows=[1, 1])
    _, good = bench.put(x(1))
    assert good().outputs["y"].tolist() == [[2, 0]]
    assert set(strange().errors.values()) == {ErrorKind.INTERNAL}


def test_expired_calls_are_never_executed(bench: Bench) -> None:
    bench.hold()
    _, late = bench.put(x(1), deadlines=[1001.0])
    _, good = bench.put(x(2), deadlines=[1003.0])
    bench.now = 1002.0
    bench.model.go.set()
    assert late().errors == {0: ErrorKind.DEADLINE_EXCEEDED}
    assert good().outputs["y"].tolist() == [[4, 0]]
    assert bench.model.runs == [[HOLD], [2]]


def test_only_the_living_calls_of_a_frame_are_executed(bench: Bench) -> None:
    bench.hold()
    _, answer = bench.put(x(1, 2, 2, 3), rows=[1, 2, 1], deadlines=[1001.0, 1005.0, 1001.5])
    bench.now = 1002.0
    bench.model.go.set()
    found = answer()
    assert found.errors == {0: ErrorKind.DEADLINE_EXCEEDED, 2: ErrorKind.DEADLINE_EXCEEDED}
    assert found.outputs["y"][:, 0].tolist() == [4, 4]
    assert bench.model.runs == [[HOLD], [2, 2]]


def test_an_expired_call_without_a_batch_axis_is_never_executed(bench: Bench) -> None:
    bench.hold()
    _, late = bench.put(x(1), WHOLE, deadlines=[1001.0])
    bench.now = 1002.0
    bench.model.go.set()
    assert late().errors == {0: ErrorKind.DEADLINE_EXCEEDED}
    assert bench.model.runs == [[HOLD]]


def test_cancelled_calls_are_never_executed(bench: Bench) -> None:
    bench.hold()
    job, _ = bench.put(x(1, 2), rows=[1, 1])
    whole, _ = bench.put(x(3))
    job.cancelled.add(0)
    whole.cancelled.add(0)
    _, last = bench.put(x(4))
    bench.model.go.set()
    last()
    run = {value for values in bench.model.runs for value in values}
    assert run == {HOLD, 2, 4}


def test_closing_answers_what_waits(bench: Bench) -> None:
    held = bench.hold()
    _, waiting = bench.put(x(1))
    closing = threading.Thread(target=bench.batcher.close, daemon=True)
    closing.start()
    bench.model.go.set()
    closing.join(10)
    assert not closing.is_alive()
    assert held().outputs["y"][0, 0] == 2 * HOLD
    assert waiting().outputs["y"][0, 0] == 2
    assert bench.model.closed == 1


def test_closing_an_idle_batcher_ends_it(bench: Bench) -> None:
    bench.batcher.close()
    assert bench.model.closed == 1


def test_a_frame_that_comes_while_it_closes_does_not_keep_it_open(bench: Bench) -> None:
    bench.hold()
    closing = threading.Thread(target=bench.batcher.close, daemon=True)
    closing.start()
    time.sleep(0.1)  # long enough for close to have begun
    bench.put(x(1))
    bench.model.go.set()
    closing.join(5)
    assert not closing.is_alive()
    assert bench.model.closed == 1


def test_batches_rows_and_seconds_are_counted(bench: Bench) -> None:
    held = bench.hold()
    _, late = bench.put(x(9), deadlines=[1001.0])
    answers = [bench.put(x(n, n))[1] for n in range(2)]
    bench.now = 1002.0
    bench.model.go.set()
    for answer in (held, late, *answers):
        answer()
    bench.batcher.close()
    labels = ("m", "3")
    assert bench.metrics.counter("maas_batches_total", labels).count == 2
    assert bench.metrics.counter("maas_batch_rows_total", labels).count == 5
    infer = bench.metrics.histogram("maas_infer_seconds", labels)
    assert (sum(infer.buckets), infer.total) == (2, 2.0)
    queue = bench.metrics.histogram("maas_queue_seconds", labels)
    assert (sum(queue.buckets), queue.total) == (3, 4.0)


def test_an_empty_answer_of_endless_shape_goes_no_further(bench: Bench) -> None:
    found = bench.put(x(VAST))[1]()
    assert found.errors == {0: ErrorKind.INTERNAL}
    assert "cannot be written out" in found.reply.errors[0].message


def test_the_most_urgent_runs_first(bench: Bench) -> None:
    held = bench.hold()
    priorities = [0, 7, 1, (1 << 31) + 1, 0, 1]
    answers = [
        bench.put(x(n), WHOLE, priority=priority)[1] for n, priority in enumerate(priorities)
    ]
    bench.model.go.set()
    for answer in (held, *answers):
        answer()
    assert bench.model.runs[1:] == [[2], [5], [1], [0], [4], [3]]


def test_what_is_more_urgent_overtakes_what_waits_already(bench: Bench) -> None:
    bench.hold()
    answers = [bench.put(x(value), WHOLE)[1] for value in (1, HOLD, 2)]
    bench.model.go.set()
    answers[0]()
    urgent = bench.put(x(3), WHOLE, priority=1)[1]
    for answer in (urgent, *answers[1:]):
        answer()
    assert sorted(bench.model.runs) == sorted([[HOLD], [1], [HOLD], [2], [3]])


def test_what_lies_in_shared_memory_runs_by_itself(bench: Bench) -> None:
    bench.hold()
    answers = [
        bench.put(x(n), place=Place(1, 1, 1, 1) if n % 3 == 1 else None)[1] for n in range(6)
    ]
    bench.model.go.set()
    for answer in answers:
        answer()
    assert bench.model.runs[1:] == [[0, 2, 3, 5], [1], [4]]


def test_a_servable_may_run_several_calls_at_once() -> None:
    bench = Bench(concurrency=3)
    held = [bench.put(x(HOLD), WHOLE)[1] for _ in range(2)]
    assert bench.model.entered.wait(5)
    assert [bench.put(x(n), WHOLE)[1]().outputs["total"].tolist() for n in range(3)] == [0, 1, 2]
    bench.model.go.set()
    for answer in held:
        assert answer().outputs["total"] == HOLD
    bench.batcher.close()
    assert bench.model.closed == 1
    assert bench.metrics.counter("maas_batches_total", ("m", "3")).count == 5


def test_every_thread_ends_after_what_waits() -> None:
    bench = Bench(concurrency=4)
    held = [bench.put(x(HOLD), WHOLE)[1] for _ in range(4)]
    waiting = [bench.put(x(n), WHOLE)[1] for n in range(8)]
    closing = threading.Thread(target=bench.batcher.close, daemon=True)
    closing.start()
    bench.model.go.set()
    closing.join(10)
    assert not closing.is_alive()
    assert [answer().outputs["total"].tolist() for answer in waiting] == list(range(8))
    assert all(answer().outputs["total"] == HOLD for answer in held)
    assert bench.model.closed == 1


def test_an_answer_longer_than_a_frame_is_an_error(bench: Bench, monkeypatch) -> None:
    monkeypatch.setattr(frames, "MAX_TENSORS", 1 << 10)
    found = bench.put(x(1, columns=1 << 10))[1]()
    assert found.errors == {0: ErrorKind.INTERNAL}
    assert bench.put(x(1))[1]().outputs["y"].tolist() == [[2, 0]]
