"""The whole list: each ends lowered and proven on varied rows, or served natively, with why."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from tests.estimators import ESTIMATORS

from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE
from maas.core.tensor import DType
from maas.publish.child import examine
from maas.runtimes.estimator import METHODS
from maas.runtimes.plugins import runtime_for

NATIVE = {
    "histogram gradient boosting, categories and gaps",
    "neighbour imputer, gaps",
    "linear support vectors, calibrated",
    "calibrated forest, isotonic",
    "nearest neighbours regression",
    "nearest centroid",
    "isotonic regression",
    "Gaussian process",
    "voting, soft",
    "isolation forest",
    "bins and feature selection",
    "TF-IDF of characters in words",
    "hashed words",
    "a transformer of one's own",
}
"""Those that scikit-learn itself serves, with the versions of the converters here."""


@pytest.fixture
def publish(tmp_path, job_for):
    def run(estimator):
        file = tmp_path / "m.pkl"
        file.write_bytes(pickle.dumps(estimator))
        return examine(job_for(file, "pickle"), lambda *_: None)

    return run


def call_of(signature, rows) -> dict[str, np.ndarray]:
    """The rows as a caller sends them."""
    specs = signature.inputs
    if len(specs) > 1:
        columns = {spec.name: rows[spec.name].to_numpy() for spec in specs}
    elif isinstance(rows, list):
        columns = {specs[0].name: np.array(rows, dtype=object)}
    else:
        columns = {specs[0].name: np.asarray(rows)}
    call = {}
    for spec in specs:
        array = columns[spec.name]
        if spec.dtype is DType.BYTES:
            flat = np.empty(array.size, dtype=object)
            flat[:] = [str(each).encode() for each in array.ravel()]
            array = flat.reshape(array.shape)
        call[spec.name] = array.astype(spec.dtype.numpy)
    return call


def as_fitted(signature, rows):
    """The same rows, rounded as the service takes them, for the estimator itself."""
    if isinstance(rows, pd.DataFrame):
        return rows.apply(lambda c: c.astype(np.float32).astype(float) if c.dtype == float else c)
    if isinstance(rows, list) or rows.dtype == object:
        return rows
    dtype = signature.inputs[0].dtype.numpy
    return rows.astype(dtype).astype(np.float64)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_each_ends_proven_or_native_with_the_reason(publish, tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fitting
        estimator, rows = ESTIMATORS[name]()
    finding = publish(estimator)
    assert finding.engine == ("pickle" if name in NATIVE else "onnx"), finding.reason
    if finding.lowered:
        assert finding.parity.agrees
        assert finding.parity.samples >= 256
        assert finding.parity.distinct_answers > 1
        assert finding.reason.startswith("lowered to ONNX, equal on ")
    else:
        assert finding.reason.startswith("served by scikit-learn itself, since ")

    # What serves answers the model's own rows as the model does, and not only drawn ones.
    signature = finding.signatures[DEFAULT_SIGNATURE]
    artifact = Artifact(
        str(tmp_path / "artifact"), finding.entry, finding.format, finding.signatures
    )
    servable = runtime_for(finding.engine).load(artifact, Device())
    got = servable.infer(DEFAULT_SIGNATURE, call_of(signature, rows))
    for spec in signature.outputs:
        want = np.asarray(getattr(estimator, METHODS[spec.name])(as_fitted(signature, rows)))
        if spec.dtype is DType.BYTES:
            assert [each.decode() for each in got[spec.name]] == [str(each) for each in want]
        elif spec.name == "label":
            assert np.mean(got[spec.name] == want) > 0.99
        else:
            scale = 1e-5 * max(1.0, float(np.abs(want).max()))
            np.testing.assert_allclose(got[spec.name], want, rtol=1e-3, atol=scale)
    servable.close()
