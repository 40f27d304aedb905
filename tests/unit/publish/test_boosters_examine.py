"""XGBoost and LightGBM: lowered and proven, or served by the library itself."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from tests.boosters import (
    BOOSTERS,
    GROUPS,
    NUMBERS,
    THREE,
    YES,
    X,
    lightgbm_booster,
    xgboost_booster,
)

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE
from maas.core.tensor import DType
from maas.publish.booster_trees import NoTreesError, read_ensemble
from maas.publish.boosters_estimator import estimator_of
from maas.publish.boosters_scan import scan_lightgbm, scan_xgboost
from maas.publish.child import examine
from maas.publish.detect import detect
from maas.runtimes.lightgbm import open_lightgbm
from maas.runtimes.plugins import runtime_for
from maas.runtimes.xgboost import open_xgboost

NATIVE = {
    "XGBoost linear": "its booster is linear, without trees",
    "XGBoost vectors in leaves": "its leaves hold a vector each",
    "LightGBM linear leaves": "its ONNX form answers otherwise",
    "LightGBM zero is missing": "it takes 0 for a missing value",
}
NUMERIC = ("regression", "Poisson", "quantiles", "targets", "ranking", "Cox", "linear", "leaves")
NUMERIC = (*NUMERIC, "absolute", "Tweedie", "zero")


@pytest.fixture
def publish(job_for):
    def run(file: Path, **said):
        format_ = detect(file, file.name, trust=True).format
        run.job = job_for(file, format_, **said)
        return examine(run.job, lambda *_: None)

    return run


def served(job, finding):
    artifact = Artifact(job.artifact, finding.entry, finding.format, finding.signatures)
    return runtime_for(finding.engine).load(artifact, Device())


def own_answers(file: Path) -> np.ndarray:
    """What the library itself says of `X`, as its documentation has it."""
    if file.suffix == ".txt":
        import lightgbm

        return lightgbm.Booster(model_file=file).predict(X)
    import xgboost

    booster = xgboost.Booster(model_file=file)
    rows = xgboost.DMatrix(X, feature_types=booster.feature_types, enable_categorical=True)
    return booster.predict(rows, validate_features=False)


@pytest.mark.parametrize("title", BOOSTERS)
def test_every_kind(publish, tmp_path, title):
    file = BOOSTERS[title](tmp_path)
    finding = publish(file)
    library = title.split()[0].lower()
    if title in NATIVE:
        assert (finding.engine, finding.format) == (library, library)
        title_of = {"xgboost": "XGBoost", "lightgbm": "LightGBM"}[library]
        assert finding.reason.startswith(f"served by {title_of} itself, since {NATIVE[title]}")
        assert {each.name for each in Path(publish.job.artifact).iterdir()} == {
            f"model.{library}",
            "proving.msgpack",
        }
    else:
        assert finding.lowered, finding.reason
        assert [each.name for each in Path(publish.job.artifact).iterdir()] == ["model.onnx"]
        assert finding.parity.agrees
        assert finding.parity.distinct_answers > 1
    signature = finding.signatures[DEFAULT_SIGNATURE]
    assert signature.batched
    (spec,) = signature.inputs
    assert (spec.name, spec.dtype, spec.shape) == ("x", DType.FP32, (None, 5))
    got = served(publish.job, finding).infer(DEFAULT_SIGNATURE, {"x": X})
    want = own_answers(file)
    if any(word in title for word in NUMERIC):
        np.testing.assert_allclose(got["prediction"], want, rtol=1e-4, atol=1e-5)
        return
    assert got["label"].dtype == np.int64
    probabilities = got["probabilities"]
    np.testing.assert_array_equal(got["label"], probabilities.argmax(axis=1))
    if "labels only" in title:
        assert np.mean(got["label"] == want) > 0.99
    else:
        want = want if want.ndim == 2 else np.stack([1 - want, want], axis=1)
        np.testing.assert_allclose(probabilities, want, rtol=1e-4, atol=1e-5)


def test_what_the_report_says(publish, tmp_path):
    finding = publish(BOOSTERS["XGBoost binary, JSON"](tmp_path))
    assert finding.signatures[DEFAULT_SIGNATURE].inputs[0].labels == tuple("abcde")
    assert finding.written_with["xgboost"].startswith("3.")
    assert finding.read_with["onnxmltools"]
    assert [timing.engine for timing in finding.timings] == ["onnx", "xgboost"]
    finding = publish(BOOSTERS["LightGBM categories"](tmp_path))
    assert any("codes that the model was trained on: 4" in warning for warning in finding.warnings)


def test_the_library_can_be_asked_for(publish, tmp_path):
    finding = publish(BOOSTERS["LightGBM binary"](tmp_path), engine="lightgbm")
    assert finding.engine == "lightgbm"
    assert "--engine lightgbm asks for it" in finding.reason
    answers = served(publish.job, finding).infer(DEFAULT_SIGNATURE, {"x": X[:3]})
    assert answers["probabilities"].shape == (3, 2)


def test_early_stopping_follows_what_saved_it(publish, tmp_path):
    import xgboost

    model = xgboost.XGBClassifier(n_estimators=40, early_stopping_rounds=2, n_jobs=1)
    model.fit(X[:300], YES[:300], eval_set=[(X[300:], YES[300:])], verbose=False)
    model.save_model(tmp_path / "m.json")
    finding = publish(tmp_path / "m.json")
    assert finding.lowered, finding.reason
    assert "stops at its best iteration" in " ".join(finding.warnings)
    got = served(publish.job, finding).infer(DEFAULT_SIGNATURE, {"x": X})
    np.testing.assert_allclose(got["probabilities"], model.predict_proba(X), rtol=1e-4, atol=1e-5)
    booster = model.get_booster()
    booster.set_attr(scikit_learn=None)
    booster.save_model(tmp_path / "m.json")
    finding = publish(tmp_path / "m.json")
    assert "answers with every tree" in " ".join(finding.warnings)


def estimator(title: str):
    import lightgbm
    import xgboost

    few = {"n_estimators": 4, "n_jobs": 1}
    ranked = {"group": GROUPS} if title.endswith("Ranker") else {}
    if title.startswith("LGBM"):
        kind = getattr(lightgbm, title)(**few, verbose=-1)
    else:
        kind = getattr(xgboost, title.removesuffix(" in a pipeline"))(**few)
    if title.endswith("pipeline"):
        kind = make_pipeline(SimpleImputer(), kind)
    label = NUMBERS if "Regressor" in title else THREE
    names = np.array(["no", "maybe", "yes"])
    return kind.fit(X, names[THREE] if title == "LGBMClassifier" else label, **ranked)


@pytest.mark.parametrize(
    "title",
    [
        "XGBClassifier",
        "XGBRFClassifier",
        "XGBRegressor",
        "XGBRanker",
        "XGBClassifier in a pipeline",
        "LGBMClassifier",
        "LGBMRegressor",
        "LGBMRanker",
    ],
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_estimators_of_both_libraries_in_a_pickle(publish, tmp_path, title):
    model, file = estimator(title), tmp_path / "m.pkl"
    file.write_bytes(pickle.dumps(model))
    finding = publish(file)
    assert finding.lowered, finding.reason
    got = served(publish.job, finding).infer(DEFAULT_SIGNATURE, {"x": X})
    if "label" not in got:
        np.testing.assert_allclose(got["prediction"], model.predict(X), rtol=1e-4, atol=1e-5)
        return
    np.testing.assert_allclose(got["probabilities"], model.predict_proba(X), rtol=1e-4, atol=1e-5)
    want = [str(label) for label in model.predict(X)]
    label = [each.decode() if isinstance(each, bytes) else str(each) for each in got["label"]]
    assert np.mean(np.array(label) == want) > 0.99


def test_another_missing_value_is_not_lowered():
    import xgboost

    model = xgboost.XGBRegressor(n_estimators=2, missing=-1.0).fit(np.nan_to_num(X), NUMBERS)
    with pytest.raises(NoTreesError, match=r"takes -1.0 for a missing value"):
        read_ensemble(model)


def test_an_objective_that_is_not_known_is_not_lowered(tmp_path):
    xgboost_booster({"objective": "binary:hinge"}, YES).save_model(tmp_path / "m.json")
    with pytest.raises(NoTreesError, match="objective 'binary:hinge'"):
        read_ensemble(estimator_of(open_xgboost(tmp_path / "m.json")))
    lightgbm_booster({"objective": "regression", "reg_sqrt": True}, NUMBERS).save_model(
        tmp_path / "m.txt"
    )
    with pytest.raises(NoTreesError, match="objective 'regression sqrt'"):
        read_ensemble(estimator_of(open_lightgbm(tmp_path / "m.txt")))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A booster of each library, as text."""
    folder = tmp_path_factory.mktemp("saved")
    xgboost_booster({"objective": "binary:logistic"}, YES).save_model(folder / "m.json")
    lightgbm_booster({"objective": "binary"}, YES).save_model(folder / "m.txt")
    return (folder / "m.json").read_text(), (folder / "m.txt").read_text()


def refusal(scan, file: Path, data: str | bytes) -> str:
    file.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(MaasError) as caught:
        scan(file)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    return caught.value.message


def test_json_that_xgboost_did_not_write(tmp_path, saved):
    text, file = saved[0], tmp_path / "m.json"
    assert "cut off" in refusal(scan_xgboost, file, text[: len(text) // 2])
    assert "is not as XGBoost writes it" in refusal(
        scan_xgboost, file, text[: len(text) // 2] + "}"
    )
    bomb = '{"learner":{"a":' + "[" * 200_000 + "]" * 200_000 + "}}"
    assert "nested deeper" in refusal(scan_xgboost, file, bomb)
    for name, value, said in (
        ("num_feature", '"4000000000"', "num_feature=4000000000"),
        ("num_feature", '"-1"', "num_feature=-1"),
        ("num_class", '"99999999"', "num_class=99999999"),
        ("num_target", "[]", "is not as XGBoost writes it"),
        ("num_feature", "5", "is not as XGBoost writes it"),
    ):
        value_here = json.loads(text)["learner"]["learner_model_param"][name]
        changed = text.replace(f'"{name}":"{value_here}"', f'"{name}":{value}')
        assert changed != text
        assert said in refusal(scan_xgboost, file, changed)


def test_text_that_lightgbm_did_not_write(tmp_path, saved):
    text, file = saved[1], tmp_path / "m.txt"
    assert "cut off" in refusal(scan_lightgbm, file, text[: len(text) // 2])
    for name in ("num_leaves", "max_feature_idx", "num_tree_per_iteration", "num_class"):
        before, _, after = text.partition(f"\n{name}=")
        changed = f"{before}\n{name}=2000000000\n{after.partition(chr(10))[2]}"
        assert f"{name}=2000000000" in refusal(scan_lightgbm, file, changed)
    assert "num_class=-5" in refusal(
        scan_lightgbm, file, text.replace("num_class=1", "num_class=-5", 1)
    )


def damaged(saved: tuple[str, str], how: str) -> bytes:
    text, lines = saved
    document = json.loads(text)
    tree = document["learner"]["gradient_booster"]["model"]["trees"][0]
    if how == "a loop in a tree":
        tree["left_children"][0] = 0
    elif how == "a child beyond the tree":
        tree["left_children"][0] = 1 << 30
    elif how == "a column beyond the rows":
        tree["split_indices"][0] = 1 << 30
    elif how == "texts for numbers":
        tree["split_conditions"] = ["a"] * len(tree["split_conditions"])
    elif how == "UBJSON of noise":
        return b"{L" + bytes(7) + b"\x07learner{L" + bytes(7) + b"\xff" * 200 + b"}"
    elif how == "UBJSON with an endless list":
        return b"{L" + bytes(7) + b"\x07learner{i\x01a[$d#L" + b"\x7f" + b"\xff" * 7 + b"}}"
    else:
        return lines.replace("left_child=", "left_child=9999 ", 1).encode()
    return json.dumps(document, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "how",
    [
        "a child beyond the tree",
        "texts for numbers",
        "UBJSON of noise",
        "UBJSON with an endless list",
        "a child too many, LightGBM",
    ],
)
def test_what_is_damaged_harms_the_child_alone(published, saved, how):
    with pytest.raises(MaasError) as caught:
        published(damaged(saved, how), "m.txt" if "LightGBM" in how else "m.json")
    assert caught.value.kind in (ErrorKind.INVALID_ARGUMENT, ErrorKind.RESOURCE_EXHAUSTED)
    assert "/" not in caught.value.message


@pytest.mark.parametrize("module", ["xgboost", "lightgbm", "onnxmltools"])
def test_without_the_extra_it_says_which(tmp_path, saved, module):
    extra = "lightgbm" if module == "lightgbm" else "xgboost"
    program = (
        "import sys; sys.modules[sys.argv[1]] = None\n"
        "from types import SimpleNamespace as Job\n"
        "from maas.publish import boosters_examine as b\n"
        "from maas.core.errors import MaasError\n"
        "try: getattr(b, 'examine_' + sys.argv[2])(Job(source=''), lambda *_: None)\n"
        "except MaasError as error: print(error.kind, error.message)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, module, extra], capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith("failed_precondition")
    assert f"pip install 'maas-server[{extra}]'" in said
