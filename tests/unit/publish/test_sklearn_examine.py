"""What people really fit: each ends lowered and proven, or served natively with the reason."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE
from maas.core.tensor import DType
from maas.runtimes.plugins import runtime_for

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "花"])[Y]
D, DY = load_diabetes(return_X_y=True)
HOLES = X.copy()
HOLES[::7, 1] = np.nan
TEXTS = ["good film very nice", "bad film awful", "nice and good", "awful plot bad"] * 5
TEXTS += ["服务 很好 态度", "服务 很差 态度", "很好 很好", "很差 了"] * 5
MOOD = [1, 0] * 20
COLOURS = np.array([["red", "s"], ["blue", "m"], ["red", "l"], ["green", "s"]] * 6, dtype=object)


def tfidf(**options):
    return make_pipeline(TfidfVectorizer(**options), LogisticRegression()).fit(TEXTS, MOOD)


LOWERED = {
    "logistic": lambda: LogisticRegression(max_iter=500).fit(X, Y),
    "logistic of strings": lambda: LogisticRegression(max_iter=500).fit(X, NAMES),
    "scaler and svc": lambda: make_pipeline(StandardScaler(), SVC()).fit(X, Y),
    "calibrated svc": lambda: CalibratedClassifierCV(LinearSVC()).fit(X, Y),
    "forest, not scaled": lambda: RandomForestClassifier(20, random_state=0).fit(X, Y),
    "forest regression": lambda: RandomForestRegressor(10, random_state=0).fit(D, DY),
    "gradient boosting": lambda: GradientBoostingClassifier(n_estimators=5).fit(X, Y),
    "neighbours": lambda: KNeighborsClassifier().fit(X, Y),
    "tf-idf of characters": lambda: tfidf(analyzer="char", lowercase=False, ngram_range=(1, 2)),
    "categories": lambda: make_pipeline(
        OneHotEncoder(handle_unknown="ignore"), LogisticRegression()
    ).fit(COLOURS, [0, 1, 0, 1] * 6),
    "imputer": lambda: make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(
        HOLES, Y
    ),
    "regression": lambda: LinearRegression().fit(D, DY),
    "two targets": lambda: Ridge().fit(D, np.c_[DY, -DY]),
    "k-means": lambda: KMeans(3, random_state=0).fit(X),
    "pca": lambda: make_pipeline(StandardScaler(), PCA(2)).fit(X),
    "tf-idf of words": lambda: tfidf(),
    "tf-idf of single letters too": lambda: tfidf(token_pattern=r"(?u)\b\w+\b"),
    "tf-idf of pairs of words": lambda: tfidf(ngram_range=(1, 2)),
    "histogram boosting with holes": lambda: HistGradientBoostingClassifier(max_iter=5).fit(
        HOLES, Y
    ),
    "histogram boosting of two classes": lambda: HistGradientBoostingClassifier(max_iter=5).fit(
        HOLES, Y == 1
    ),
    "histogram boosting inside a pipeline": lambda: make_pipeline(
        SimpleImputer(), HistGradientBoostingRegressor(max_iter=5)
    ).fit(D, DY),
    "columns by name, all numbers": lambda: make_pipeline(
        ColumnTransformer([("a", StandardScaler(), ["p"]), ("b", MinMaxScaler(), ["q", "r"])]),
        LogisticRegression(),
    ).fit(pd.DataFrame(X[:, :3], columns=["p", "q", "r"]), Y),
}

NATIVE = {
    "neighbours by distance": (
        lambda: KNeighborsRegressor(weights="distance").fit(D, DY),
        "answers otherwise",
    ),
    "tf-idf of characters in words": (lambda: tfidf(analyzer="char_wb"), "cannot convert"),
    "isotonic": (
        lambda: IsotonicRegression(out_of_bounds="clip").fit(X[:, 0], X[:, 2]),
        "cannot convert",
    ),
    "own function": (
        lambda: make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()).fit(X, Y),
        "cannot convert",
    ),
    "constant": (lambda: DummyClassifier().fit(X, Y), "cannot convert"),
    "words of a pattern of one's own": (
        lambda: tfidf(token_pattern=r"(?<!x)\b\w\w+"),
        "its ONNX form fails",
    ),
    "pairs of words, some stopped": (
        lambda: tfidf(ngram_range=(1, 2), stop_words=["and", "very"]),
        "answers otherwise",
    ),
    "numbers that need float64": (
        lambda: make_pipeline(StandardScaler(), LogisticRegression()).fit(X * 1e-3 + 1.7e9, Y),
        "rounding its inputs to float32",
    ),
    "several targets": (
        lambda: RandomForestClassifier(5, random_state=0).fit(X, np.c_[Y, Y > 0]),
        "served by scikit-learn itself",
    ),
}


def signature_of(finding):
    return finding.signatures[DEFAULT_SIGNATURE]


def served(finding, tmp_path):
    folder = str(tmp_path / "artifact")
    artifact = Artifact(folder, finding.entry, finding.format, finding.signatures)
    return runtime_for(finding.engine).load(artifact, Device())


def refused(run, *args, **kwargs) -> MaasError:
    with pytest.raises(MaasError) as caught:
        run(*args, **kwargs)
    return caught.value


@pytest.mark.parametrize("name", LOWERED)
def test_lowered_and_proven(examined, tmp_path, name):
    model = LOWERED[name]()
    finding = examined(model)
    assert finding.reason.startswith("lowered to ONNX, equal on 256 rows"), finding.reason
    assert (finding.engine, finding.format, finding.entry) == ("onnx", "onnx", "model.onnx")
    assert finding.parity.agrees
    assert finding.parity.source == "model"
    assert finding.parity.samples == 256
    assert finding.parity.distinct_answers > 1
    assert signature_of(finding).batched, finding.batch_note
    assert {timing.engine for timing in finding.timings} == {"onnx", "sklearn"}
    assert [p.name for p in (tmp_path / "artifact").iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("name", NATIVE)
def test_native_with_the_reason(examined, tmp_path, name):
    make, said = NATIVE[name]
    finding = examined(make())
    assert not finding.lowered
    assert said in finding.reason
    assert (finding.engine, finding.format, finding.entry) == ("sklearn", "skops", "model.skops")
    assert finding.parity is None or not finding.parity.agrees
    files = sorted(path.name for path in (tmp_path / "artifact").iterdir())
    assert files == ["model.skops", "proving.msgpack"]
    assert served(finding, tmp_path).signatures == finding.signatures


def test_what_lowers_wrong_is_reported_with_by_how_much(examined):
    finding = examined(NATIVE["neighbours by distance"][0]())
    assert finding.parity.max_abs > 0.05
    assert "rows differ in 'prediction'" in finding.reason


def test_lowercase_is_served_one_way_or_the_other(examined, tmp_path):
    # ONNX Runtime lowers case only where the machine has the locale that it is given.
    model = tfidf(analyzer="char")
    finding = examined(model)
    assert finding.lowered or "locale" in finding.reason
    texts = ["GOOD film", "Bad  PLOT\r\n", "很好"]
    rows = np.array([text.encode() for text in texts], dtype=object)
    answer = served(finding, tmp_path).infer(DEFAULT_SIGNATURE, {"text": rows})
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(texts), atol=1e-5)


def test_white_space_and_missing_values_survive_lowering(examined, tmp_path):
    model = LOWERED["tf-idf of characters"]()
    texts = ["good  film", "a\r\nb", " bad\n", "", "很好\u3000\u3000服务", "#", "x" * 300]
    rows = np.array([text.encode() for text in texts], dtype=object)
    answer = served(examined(model), tmp_path).infer(DEFAULT_SIGNATURE, {"text": rows})
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(texts), atol=1e-5)
    forest = LOWERED["forest, not scaled"]()
    answer = served(examined(forest), tmp_path).infer(
        DEFAULT_SIGNATURE, {"x": HOLES.astype(np.float32)}
    )
    np.testing.assert_allclose(answer["probabilities"], forest.predict_proba(HOLES), atol=1e-5)


def test_signature_of_a_classifier(examined):
    signature = signature_of(examined(LOWERED["logistic of strings"]()))
    classes = ("setosa", "versicolor", "花")
    assert [(s.name, s.dtype, s.shape) for s in signature.inputs] == [("x", DType.FP32, (None, 4))]
    label, scores = signature.outputs
    assert (label.name, label.dtype, label.shape, label.labels) == (
        "label",
        DType.BYTES,
        (None,),
        classes,
    )
    assert (scores.name, scores.dtype, scores.shape, scores.labels) == (
        "probabilities",
        DType.FP32,
        (None, 3),
        classes,
    )


def test_numeric_classes_that_are_no_indices_have_no_labels_on_the_label(examined):
    signature = signature_of(examined(LogisticRegression(max_iter=500).fit(X, Y * 2 + 3)))
    assert signature.outputs[0].labels is None
    assert signature.outputs[1].labels == ("3", "5", "7")


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("scaler and svc", [("label", DType.INT64, (None,))]),
        ("regression", [("prediction", DType.FP32, (None,))]),
        ("two targets", [("prediction", DType.FP32, (None, 2))]),
        ("k-means", [("label", DType.INT64, (None,))]),
        ("pca", [("output", DType.FP32, (None, 2))]),
    ],
)
def test_outputs_by_kind(examined, name, outputs):
    signature = signature_of(examined(LOWERED[name]()))
    assert [(s.name, s.dtype, s.shape) for s in signature.outputs] == outputs


def test_the_served_form_answers_as_the_original_on_real_rows(examined, tmp_path):
    for name in ("scaler and svc", "forest, not scaled", "neighbours", "gradient boosting"):
        model = LOWERED[name]()
        answer = served(examined(model), tmp_path).infer(
            DEFAULT_SIGNATURE, {"x": X.astype(np.float32)}
        )
        np.testing.assert_array_equal(answer["label"], model.predict(X))


def test_float64_inputs_where_float32_would_change_the_answer(examined, tmp_path):
    model = NATIVE["numbers that need float64"][0]()
    finding = examined(model)
    assert signature_of(finding).inputs[0].dtype is DType.FP64
    rows = X * 1e-3 + 1.7e9
    answer = served(finding, tmp_path).infer(DEFAULT_SIGNATURE, {"x": rows})
    np.testing.assert_array_equal(answer["label"], model.predict(rows))
    assert (model.predict(rows.astype(np.float32)) != model.predict(rows)).any()


def test_bin_edges_are_met_exactly(examined, tmp_path):
    model = make_pipeline(KBinsDiscretizer(5), LogisticRegression(max_iter=500)).fit(X, Y)
    finding = examined(model)
    dtype = signature_of(finding).inputs[0].dtype.numpy
    answer = served(finding, tmp_path).infer(DEFAULT_SIGNATURE, {"x": X.astype(dtype)})
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(X), atol=1e-4)


def test_a_table_of_numbers_and_strings_has_one_input_a_column(examined, tmp_path):
    frame = pd.DataFrame(
        {
            "age": np.arange(40) * 1.5,
            "city": ["x", "y", "北京", "z"] * 10,
            "unused": np.arange(40),
            "note": TEXTS,
        }
    )
    parts = [
        ("n", StandardScaler(), ["age"]),
        ("c", OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ("t", TfidfVectorizer(analyzer="char"), "note"),
    ]
    model = make_pipeline(ColumnTransformer(parts), LogisticRegression()).fit(frame, MOOD)
    finding = examined(model)
    assert finding.lowered, finding.reason
    signature = signature_of(finding)
    assert [(s.name, s.dtype, s.shape) for s in signature.inputs] == [
        ("age", DType.FP32, (None,)),
        ("city", DType.BYTES, (None,)),
        ("note", DType.BYTES, (None,)),
    ]
    assert signature.batched
    inputs = {
        "age": frame["age"].to_numpy(np.float32),
        "city": np.array([v.encode() for v in frame["city"]], dtype=object),
        "note": np.array([v.encode() for v in frame["note"]], dtype=object),
    }
    answer = served(finding, tmp_path).infer(DEFAULT_SIGNATURE, inputs)
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(frame), atol=1e-5)


def test_a_table_whose_column_may_be_missing(examined, tmp_path):
    frame = pd.DataFrame({"age": np.arange(40) * 1.5, "city": ["x", "y", "北京", "z"] * 10})
    frame.loc[::5, "age"] = np.nan
    parts = [
        ("n", make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
        ("c", OneHotEncoder(handle_unknown="ignore"), ["city"]),
    ]
    model = make_pipeline(ColumnTransformer(parts), LogisticRegression()).fit(frame, MOOD)
    finding = examined(model)
    assert finding.lowered, finding.reason
    inputs = {"age": np.float32([np.nan, 3.0]), "city": np.array([b"x", b"new"], dtype=object)}
    answer = served(finding, tmp_path).infer(DEFAULT_SIGNATURE, inputs)
    rows = pd.DataFrame({"age": [np.nan, 3.0], "city": ["x", "new"]})
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(rows), atol=1e-5)


def test_a_column_that_is_called_like_an_output(examined, tmp_path):
    frame = pd.DataFrame({"label": np.arange(40) * 1.5, "probabilities": ["x", "y"] * 20})
    parts = [("n", StandardScaler(), ["label"]), ("c", OneHotEncoder(), ["probabilities"])]
    model = make_pipeline(ColumnTransformer(parts), LogisticRegression()).fit(frame, MOOD)
    inputs = {"label": np.float32([3.0]), "probabilities": np.array([b"y"], dtype=object)}
    answer = served(examined(model), tmp_path).infer(DEFAULT_SIGNATURE, inputs)
    rows = pd.DataFrame({"label": [3.0], "probabilities": ["y"]})
    np.testing.assert_allclose(answer["probabilities"], model.predict_proba(rows), atol=1e-5)


def test_names_of_columns_are_reported(examined):
    finding = examined(LOWERED["columns by name, all numbers"]())
    assert "the columns of x are, in this order: p, q, r" in finding.warnings


def test_one_answer_is_not_enough_to_lower(examined):
    model = LogisticRegression().fit(X, Y == 0)
    model.coef_[:] = 0.0
    model.intercept_[:] = 5.0
    finding = examined(model)
    assert not finding.lowered
    assert finding.parity.distinct_answers == 1
    assert "gave one answer, which proves nothing" in finding.reason
    assert not signature_of(finding).batched


def test_a_given_sample(examined, tmp_path):
    sample = tmp_path / "rows.npy"
    np.save(sample, X)
    finding = examined(LOWERED["logistic"](), sample=sample)
    assert (finding.parity.source, finding.parity.samples) == ("given", 150)
    np.save(sample, X[:, :3])
    error = refused(examined, LOWERED["logistic"](), sample=sample)
    assert "expected x FP64 [n, 4]" in error.message
    np.save(sample, np.full((4, 4), np.nan))
    error = refused(examined, LOWERED["logistic"](), sample=sample)
    assert "does not answer the given sample" in error.message


@pytest.mark.parametrize(
    ("model", "kind", "said"),
    [
        (LogisticRegression(), ErrorKind.INVALID_ARGUMENT, "is not fitted"),
        ({"a": 1}, ErrorKind.INVALID_ARGUMENT, "holds a dict, not an estimator"),
        (DBSCAN().fit(X), ErrorKind.FAILED_PRECONDITION, "neither predict nor transform"),
        (
            make_pipeline(DictVectorizer(), LogisticRegression()).fit([{"a": 1}, {"b": 2}], [0, 1]),
            ErrorKind.FAILED_PRECONDITION,
            "takes dictionaries",
        ),
    ],
)
def test_what_cannot_be_served(examined, model, kind, said):
    error = refused(examined, model)
    assert error.kind is kind
    assert said in error.message


def test_versions(examined):
    finding = examined(LOWERED["logistic"]())
    assert finding.written_with["scikit-learn"] == finding.read_with["scikit-learn"]
    assert {"skops", "skl2onnx", "onnxruntime"} <= finding.read_with.keys()
