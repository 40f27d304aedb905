from __future__ import annotations

import msgspec
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.publish.engines import (
    check_engine,
    check_obeyed,
    check_trusted,
    engines_for,
    racers,
)
from maas.publish.messages import Finding
from maas.runtimes.plugins import load_runtimes

FINDING = Finding(
    engine="sklearn",
    format="skops",
    entry="model.skops",
    signatures={},
    lowered=False,
    reason="served by scikit-learn itself, since FunctionTransformer has no converter",
    written_with={},
    read_with={},
    parity=None,
    batch_note="",
    timings=(),
    warnings=(),
)
LOWERED = msgspec.structs.replace(FINDING, engine="onnx", format="onnx", entry="model.onnx")


def test_onnx_runtime_comes_first():
    assert racers(load_runtimes()) == ("onnx", "openvino")
    assert racers({"onnx": load_runtimes()["onnx"]}) == ("onnx",)


@pytest.mark.parametrize(
    ("format_", "engines"),
    [
        ("onnx", ("onnx", "openvino")),
        ("skops", ("sklearn", "onnx", "openvino")),
        ("pickle", ("pickle", "onnx", "openvino")),
        ("keras", ("keras", "onnx", "openvino")),
        ("keras-h5", ("keras", "onnx", "openvino")),
        ("savedmodel", ("tensorflow", "onnx", "openvino")),
        ("python", ("python",)),
    ],
)
def test_engines_of_each_format(format_, engines):
    runtimes = load_runtimes()
    assert engines_for(format_, runtimes) == engines
    for engine in ("", *engines):
        check_engine(engine, format_, runtimes)
    with pytest.raises(MaasError) as caught:
        check_engine("tensorrt", format_, runtimes)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert ", ".join(engines) in caught.value.message


@pytest.mark.parametrize("asked", ["", "sklearn"])
def test_what_is_served_as_asked(asked):
    check_obeyed(asked, FINDING)


@pytest.mark.parametrize("asked", ["", "onnx", "openvino"])
def test_a_lowered_form_is_left_to_the_race(asked):
    check_obeyed(asked, LOWERED)


@pytest.mark.parametrize(
    ("asked", "finding"),
    [("onnx", FINDING), ("openvino", FINDING), ("sklearn", LOWERED)],
    ids=["onnx", "openvino", "sklearn"],
)
def test_what_is_not_served_as_asked(asked, finding):
    with pytest.raises(MaasError, match="FunctionTransformer has no converter") as caught:
        check_obeyed(asked, finding)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert f"engine {asked!r} cannot serve" in caught.value.message


@pytest.mark.parametrize(("format_", "own"), [("mlflow", "mlflow"), ("triton", "triton-python")])
def test_a_folder_holds_any_format_but_no_other_way_of_publishing(format_, own):
    found = engines_for(format_, load_runtimes())
    assert found[0] == "onnx"
    assert {own, "sklearn", "pickle", "keras", "tensorflow", "openvino"} <= set(found)
    assert not {"python", "upstream"} & set(found)


@pytest.mark.parametrize("format_", ["pickle", "python", "torchscript", "mlflow", "triton-python"])
def test_code_is_served_only_where_it_was_trusted(format_):
    finding = msgspec.structs.replace(FINDING, format=format_)
    check_trusted(True, finding)
    with pytest.raises(MaasError, match="publish it with --trust"):
        check_trusted(False, finding)
    check_trusted(False, FINDING)
