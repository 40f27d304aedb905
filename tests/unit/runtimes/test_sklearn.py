from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec
from maas.runtimes.sklearn import SklearnRuntime

LABEL = TensorSpec("label", DType.INT64, (None,))


@pytest.fixture
def loaded(tmp_path):
    def make(model, spec):
        skops.io.dump(model, tmp_path / "m.skops")
        signature = Signature(DEFAULT_SIGNATURE, (spec,), (LABEL,), batched=True)
        artifact = Artifact(str(tmp_path), "m.skops", "skops", {DEFAULT_SIGNATURE: signature})
        return SklearnRuntime().load(artifact, Device())

    return make


def refused(servable, rows) -> MaasError:
    with pytest.raises(MaasError) as caught:
        servable.infer(DEFAULT_SIGNATURE, {"x": rows})
    return caught.value


def test_missing_values_that_the_model_does_not_take(loaded):
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    servable = loaded(model, TensorSpec("x", DType.FP32, (None, 1)))
    error = refused(servable, np.full((1, 1), np.nan, np.float32))
    assert error.kind is ErrorKind.INVALID_ARGUMENT
    assert "NaN" in error.message
    assert "\n" not in error.message
    ok = servable.infer(DEFAULT_SIGNATURE, {"x": np.ones((1, 1), np.float32)})
    assert ok["label"].tolist() == [1]


def test_an_unknown_category(loaded):
    rows = np.array([["a"], ["b"]], dtype=object)
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(rows, [0, 1])
    servable = loaded(model, TensorSpec("x", DType.BYTES, (None, 1)))
    error = refused(servable, np.array([[b"zzz"]], dtype=object))
    assert error.kind is ErrorKind.INVALID_ARGUMENT
    assert "zzz" in error.message


def test_a_model_never_starts_workers(loaded):
    model = RandomForestClassifier(4, n_jobs=-1).fit([[0.0], [1.0]], [0, 1])
    servable = loaded(model, TensorSpec("x", DType.FP32, (None, 1)))
    assert servable._estimator.n_jobs is None


def test_the_estimate_is_of_the_unpacked_file(tmp_path):
    model = LogisticRegression().fit(np.eye(300), np.arange(300) % 3)
    skops.io.dump(model, tmp_path / "m.skops", compression=8)
    artifact = Artifact(str(tmp_path), "m.skops", "skops", {})
    bound = SklearnRuntime().estimate(artifact).memory_bytes
    assert bound > 256 << 20


def test_without_scikit_learn_the_sentence_names_the_command(tmp_path):
    (tmp_path / "m.skops").write_bytes(b"")
    code = (
        "import sys; sys.modules['sklearn'] = sys.modules['skops'] = None\n"
        "from maas.core.ports import Artifact, Device\n"
        "from maas.core.errors import MaasError\n"
        "from maas.runtimes.sklearn import SklearnRuntime\n"
        "try: SklearnRuntime().load(Artifact(sys.argv[1], 'm.skops', 'skops', {}), Device())\n"
        "except MaasError as error: print(error.kind, error.message)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("failed_precondition ")
    assert "pip install 'maas-server[sklearn]'" in done.stdout
