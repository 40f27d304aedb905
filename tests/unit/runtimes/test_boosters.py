"""XGBoost and LightGBM as runtimes: the contract, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from tests.boosters import NUMBERS, THREE, X, lightgbm_booster, xgboost_booster

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec
from maas.runtimes.lightgbm import LightGBMRuntime, open_lightgbm
from maas.runtimes.xgboost import XGBoostRuntime, open_xgboost
from maas.testing.runtime import check_runtime

RUNTIMES = {
    "xgboost": (XGBoostRuntime(), xgboost_booster, "multi:softprob"),
    "lightgbm": (LightGBMRuntime(), lightgbm_booster, "multiclass"),
}


@pytest.fixture(params=RUNTIMES)
def saved(request, tmp_path):
    """A runtime, and an artifact of its own with three classes."""
    runtime, train, objective = RUNTIMES[request.param]
    booster = train({"objective": objective, "num_class": 3}, THREE)
    entry = {"xgboost": "model.ubj", "lightgbm": "model.txt"}[request.param]
    booster.save_model(str(tmp_path / entry))
    outputs = (
        TensorSpec("label", DType.INT64, (None,)),
        TensorSpec("probabilities", DType.FP32, (None, 3)),
    )
    inputs = (TensorSpec("x", DType.FP32, (None, 5)),)
    signature = Signature(DEFAULT_SIGNATURE, inputs, outputs, batched=True)
    return runtime, Artifact(str(tmp_path), entry, request.param, {DEFAULT_SIGNATURE: signature})


def test_the_contract(saved):
    runtime, artifact = saved
    check_runtime(runtime, artifact, {"x": X[:8]})
    assert runtime.confined
    assert runtime.estimate(artifact).memory_bytes > artifact.file.stat().st_size


def test_threads_are_as_told_and_answers_the_same(saved):
    runtime, artifact = saved
    answers = [
        runtime.load(artifact, Device(threads=threads)).infer(DEFAULT_SIGNATURE, {"x": X})
        for threads in (1, 2)
    ]
    np.testing.assert_allclose(*(each["probabilities"] for each in answers), rtol=1e-6)


def test_infinity_is_refused_by_xgboost(tmp_path):
    xgboost_booster({"objective": "reg:squarederror"}, NUMBERS).save_model(tmp_path / "m.json")
    outputs = (TensorSpec("prediction", DType.FP32, (None,)),)
    inputs = (TensorSpec("x", DType.FP32, (None, 5)),)
    signature = Signature(DEFAULT_SIGNATURE, inputs, outputs, batched=True)
    artifact = Artifact(str(tmp_path), "m.json", "xgboost", {DEFAULT_SIGNATURE: signature})
    model = XGBoostRuntime().load(artifact, Device())
    with pytest.raises(MaasError, match="refused these values") as caught:
        model.infer(DEFAULT_SIGNATURE, {"x": np.full((1, 5), np.inf, np.float32)})
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_what_is_known_of_a_booster(tmp_path):
    named = {"feature_names": list("abcde")}
    booster = xgboost_booster({"objective": "reg:squarederror"}, NUMBERS, categories=True, **named)
    booster.save_model(tmp_path / "m.json")
    model = open_xgboost(tmp_path / "m.json")
    assert (model.width, model.classes, model.names) == (5, 0, tuple("abcde"))
    assert model.categorical == (4,)
    lightgbm_booster({"objective": "regression"}, NUMBERS, categories=True).save_model(
        tmp_path / "m.txt"
    )
    other = open_lightgbm(tmp_path / "m.txt")
    assert (other.width, other.classes, other.names, other.categorical) == (5, 0, (), (4,))
