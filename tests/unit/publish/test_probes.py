from __future__ import annotations

import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec
from maas.publish.probes import ask, difference_on, probes_of


def calls(dtype: DType, samples: np.ndarray, batched: bool = True):
    shape = (None, *samples.shape[1:]) if batched or not samples.ndim else samples.shape
    spec = TensorSpec("x", dtype, shape)
    signature = Signature(DEFAULT_SIGNATURE, (spec,), (spec,), batched)
    return probes_of(signature, {"x": samples})


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (DType.FP32, ["nan", "inf", "-inf", "10000.0", "-10000.0", "1e-40", "nothing but 0"]),
        (DType.INT64, ["-1", "0", "127", "1000003", str(1 << 40)]),
        (DType.INT32, ["-1", "0", "127", "1000003"]),
        (DType.UINT8, ["0", "127"]),
        (DType.BOOL, []),
    ],
)
def test_values_that_the_type_can_hold(dtype, values):
    samples = np.ones((10, 3), dtype.numpy)
    found = calls(dtype, samples)
    assert [what for what, _ in found] == [f"{value} in 'x'" for value in values]
    for _, call in found:
        assert call["x"].dtype == dtype.numpy
        assert call["x"].shape == (4, 3)
    assert (samples == 1).all(), "the samples stay as they are"


def test_one_value_in_each_row():
    (_, call), *_ = calls(DType.FP32, np.ones((10, 3), np.float32))
    assert np.isnan(call["x"]).sum(axis=1).tolist() == [1, 1, 1, 1]


def test_a_call_without_rows_where_there_is_no_batch():
    spec = TensorSpec("x", DType.BOOL, (None, 2))
    signature = Signature(DEFAULT_SIGNATURE, (spec,), (spec,), batched=False)
    ((what, call),) = probes_of(signature, {"x": np.ones((5, 2), bool)})
    assert (what, call["x"].shape) == ("no rows", (0, 2))


def test_scalars():
    spec = TensorSpec("x", DType.INT32, ())
    signature = Signature(DEFAULT_SIGNATURE, (spec,), (spec,), batched=False)
    found = probes_of(signature, {"x": np.array(5, np.int32)})
    assert [int(call["x"]) for _, call in found] == [-1, 0, 127, 1_000_003]


class Engine:
    """Doubles, and refuses what is below 0; or as `change` has it."""

    def __init__(self, change=lambda y: y, lowest=0):
        self._change, self._lowest, self.signatures = change, lowest, {}

    def infer(self, signature, inputs):
        if (inputs["x"] < self._lowest).any():
            raise invalid("below 0")
        return {"y": self._change(inputs["x"] * 2)}

    def close(self):
        """Holds nothing."""


@pytest.mark.parametrize(
    ("value", "other", "said"),
    [
        (3, Engine(), ""),
        (-3, Engine(), ""),
        (3, Engine(lambda y: y + 1), "with 3 in 'x', 2 of 2 rows differ in 'y' (by up to 1)"),
        (-3, Engine(lowest=-9), "it answers 3 in 'x', which ONNX Runtime refuses"),
        (3, Engine(lowest=9), "it refuses 3 in 'x', which ONNX Runtime answers"),
    ],
    ids=["equal", "both-refuse", "differs", "answers", "refuses"],
)
def test_how_another_engine_differs(value, other, said):
    call = {"x": np.full((2, 2), value, np.float32)}
    probe = ask(Engine(), DEFAULT_SIGNATURE, "3 in 'x'", call)
    assert difference_on(probe, other, DEFAULT_SIGNATURE) == said


def test_an_engine_that_fails_is_no_refusal():
    class Broken(Engine):
        def infer(self, signature, inputs):
            raise MaasError(ErrorKind.INTERNAL, "broken")

    with pytest.raises(MaasError, match="broken"):
        ask(Broken(), DEFAULT_SIGNATURE, "3 in 'x'", {"x": np.ones((2, 2), np.float32)})
