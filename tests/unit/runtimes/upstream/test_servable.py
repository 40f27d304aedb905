from __future__ import annotations

import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.runtimes.upstream.servable import PAUSE_S, UpstreamServable

SIGNATURE = Signature(
    "serving_default",
    (TensorSpec("x", DType.FP32, (None,)),),
    (TensorSpec("y", DType.FP32, (None,)),),
    True,
)


class Doubler:
    """An upstream in this process, which counts and fails as it is told."""

    def __init__(self):
        self.calls: list[int] = []
        self.error: MaasError | None = None

    def describe(self):
        raise NotImplementedError

    def infer(self, signature, inputs):
        self.calls.append(len(inputs["x"]))
        if self.error is not None:
            raise self.error
        return {"y": 2 * inputs["x"]}

    def close(self):
        self.calls.append(-1)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def ask(servable: UpstreamServable, rows: int = 1):
    return servable.infer("serving_default", {"x": np.arange(rows, dtype=np.float32)})["y"]


def test_no_more_rows_than_it_takes():
    upstream = Doubler()
    servable = UpstreamServable(upstream, {"serving_default": SIGNATURE}, rows=4)
    assert ask(servable, 10).tolist() == (2 * np.arange(10)).tolist()
    assert upstream.calls == [4, 4, 2]
    servable.close()
    assert upstream.calls[-1] == -1


@pytest.mark.parametrize(
    "kind",
    [ErrorKind.UNAVAILABLE, ErrorKind.DEADLINE_EXCEEDED, ErrorKind.RESOURCE_EXHAUSTED],
)
def test_it_is_left_alone_for_a_moment(kind):
    upstream, clock = Doubler(), Clock()
    servable = UpstreamServable(upstream, {"serving_default": SIGNATURE}, clock=clock)
    upstream.error = MaasError(kind, "not now")
    for _ in range(3):
        with pytest.raises(MaasError, match="not now") as caught:
            ask(servable)
        assert caught.value.kind is kind
    assert upstream.calls == [1]
    upstream.error = None
    clock.now += PAUSE_S
    assert ask(servable, 2).tolist() == [0, 2]
    assert upstream.calls == [1, 2]


def test_the_log_says_once_that_it_is_away_and_once_that_it_is_back(caplog):
    upstream, clock = Doubler(), Clock()
    url = "oip+http://models.example/m"
    servable = UpstreamServable(upstream, {"serving_default": SIGNATURE}, clock=clock, url=url)
    caplog.set_level("INFO", "maas.upstream")
    upstream.error = MaasError(ErrorKind.UNAVAILABLE, "not now")
    for _ in range(3):
        with pytest.raises(MaasError, match="not now"):
            ask(servable)
        clock.now += PAUSE_S
    upstream.error = None
    ask(servable)
    ask(servable)
    assert caplog.messages == [
        f"calls to {url} fail: not now", f"calls to {url} are answered again",
    ]  # fmt: skip


def test_what_is_wrong_with_one_call_is_of_no_matter_to_the_next():
    upstream = Doubler()
    servable = UpstreamServable(upstream, {"serving_default": SIGNATURE})
    upstream.error = MaasError(ErrorKind.INVALID_ARGUMENT, "what?")
    with pytest.raises(MaasError, match="what"):
        ask(servable)
    upstream.error = None
    assert ask(servable).tolist() == [0]


def test_where_it_may_no_longer_be_called_it_is_not_there():
    upstream = Doubler()
    servable = UpstreamServable(upstream, {"serving_default": SIGNATURE})
    upstream.error = MaasError(ErrorKind.FAILED_PRECONDITION, "in a private network")
    with pytest.raises(MaasError, match="in a private network") as caught:
        ask(servable)
    assert caught.value.kind is ErrorKind.UNAVAILABLE
