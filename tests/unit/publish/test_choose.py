from __future__ import annotations

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.records import EngineTiming
from maas.publish.choose import beside, choose, speed_of


def timing(engine: str, one: float, batch: float, **rest) -> EngineTiming:
    return EngineTiming(engine, one, batch, 64, **rest)


ONNX = timing("onnx", 100.0, 10.0)


@pytest.mark.parametrize(
    ("other", "engine"),
    [
        (timing("openvino", 50.0, 5.0), "openvino"),
        (timing("openvino", 50.0, 10.0), "openvino"),
        (timing("openvino", 120.0, 5.0), "openvino"),
        (timing("openvino", 95.0, 9.5), "onnx"),
        (timing("openvino", 200.0, 9.0), "onnx"),
        (timing("openvino", 1.0, 1.0, agrees=False, note="3 of 64 rows differ in 'y'"), "onnx"),
    ],
    ids=["both", "alone", "batch", "too-little", "alone-slower", "differs"],
)
def test_the_fastest_that_agrees(other, engine):
    choice = choose((ONNX, other), "", {})
    assert choice.engine == engine
    assert choice.timings[0].engine == engine
    assert [timing.note == "" for timing in choice.timings] == [True, False]
    assert {timing.engine for timing in choice.timings} == {"onnx", "openvino"}


def test_reasons():
    choice = choose((ONNX, timing("openvino", 50.0, 5.0)), "", {})
    assert choice.clause == "; openvino is 2.0 times as fast as onnx"
    assert choice.timings[1].note == "2.0 times slower"
    assert choose((ONNX,), "", {}).clause == ""
    close = choose((ONNX, timing("openvino", 98.0, 9.8)), "", {})
    assert (close.clause, close.timings[1].note) == ("", "not 10% faster")
    wrong = timing("openvino", 1.0, 1.0, agrees=False, note="3 of 64 rows differ in 'y'")
    assert choose((ONNX, wrong), "", {}).timings[1] == wrong


def test_a_halving_of_either_weighs_the_same():
    assert speed_of(timing("a", 50.0, 10.0)) == speed_of(timing("a", 100.0, 5.0))


def test_the_one_asked_for():
    slow = timing("openvino", 500.0, 50.0)
    assert choose((ONNX, slow), "openvino", {}).engine == "openvino"
    assert choose((ONNX, slow), "openvino", {}).clause == "; openvino was asked for"
    assert choose((ONNX, slow), "openvino", {}).timings[1].note == "openvino was asked for"
    fast = timing("openvino", 5.0, 5.0)
    assert choose((ONNX, fast), "onnx", {}).engine == "onnx"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("openvino", "does not answer as the model should: 3 of 64 rows differ"),
        ("third", "cannot serve this model: it has no rule for Scaler"),
        ("fourth", "possible are onnx, openvino, third"),
    ],
)
def test_an_engine_asked_for_that_cannot(asked, said):
    wrong = timing("openvino", 1.0, 1.0, agrees=False, note="3 of 64 rows differ in 'y'")
    with pytest.raises(MaasError) as caught:
        choose((ONNX, wrong), asked, {"third": "it has no rule for Scaler"})
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert said in caught.value.message


def test_the_framework_it_came_from():
    chosen = timing("openvino", 50.0, 5.0)
    assert beside(timing("keras", 100.0, 10.0), chosen).note == "2.0 times slower"
    assert beside(timing("sklearn", 50.0, 5.0), chosen).note == "needs a process of its own"
    assert beside(timing("sklearn", 50.0, 5.0, note="kept"), chosen).note == "kept"
