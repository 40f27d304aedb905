"""Which of an MLflow model's flavors is served, and from which of its files."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import yaml

from maas.core.errors import MaasError
from maas.publish.mlflow_flavors import choose_flavor
from maas.publish.mlflow_model import read_model

PYFUNC = {"loader_module": "mlflow.sklearn", "code": None}
PICKLE = pickle.dumps({"a": [1, 2]})


@pytest.fixture
def chosen(tmp_path):
    """Chooses among flavors; files are given by their paths."""

    def run(flavors: dict, files: dict[str, bytes], trust: bool = True):
        (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": flavors}))
        for name, data in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        found = choose_flavor(read_model(tmp_path), trust)
        path = "" if found.path is None else Path(found.path).relative_to(tmp_path).as_posix()
        return found.flavor, path

    return run


@pytest.mark.parametrize(
    ("flavors", "files", "expected"),
    [
        ({"onnx": {"data": "model.onnx"}}, {"model.onnx": b"x"}, ("onnx", "model.onnx")),
        (
            {"sklearn": {"pickled_model": "m.skops"}, "onnx": {"data": "model.onnx"}},
            {"m.skops": b"PK", "model.onnx": b"x"},
            ("onnx", "model.onnx"),
        ),
        (
            {"sklearn": {"pickled_model": "model.pkl"}, "xgboost": {"data": "model.ubj"}},
            {"model.pkl": PICKLE, "model.ubj": b"{L"},
            ("xgboost", "model.ubj"),
        ),
        ({"keras": {"data": "data"}}, {"data/model.keras": b"x"}, ("keras", "data/model.keras")),
        (
            {"tensorflow": {"data": "data"}},
            {"data/model/saved_model.pb": b"x"},
            ("tensorflow", "data/model"),
        ),
        (
            {"tensorflow": {"saved_model_dir": "tf2model"}},
            {"tf2model/saved_model.pb": b"x"},
            ("tensorflow", "tf2model"),
        ),
        ({"keras": {"data": "data"}}, {"data/model.h5": b"x"}, ("keras", "data/model.h5")),
        ({"pytorch": {"model_data": "d"}}, {"d/model.pt2": b"x"}, ("pytorch", "d/model.pt2")),
        ({"spark": {}, "python_function": PYFUNC}, {"a": b""}, ("python_function", "")),
        ({"catboost": {"data": "m.cb"}, "python_function": PYFUNC}, {}, ("python_function", "")),
        (
            {"pytorch": {"model_data": "data"}, "python_function": PYFUNC},
            {"data/model.pth": PICKLE},
            ("python_function", ""),
        ),
        (
            {
                "lightgbm": {
                    "data": "model.skops",
                    "serialization_format": "skops",
                    "skops_trusted_types": ["lightgbm.basic.Booster"],
                },
                "python_function": PYFUNC,
            },
            {"model.skops": b"PK"},
            ("python_function", ""),
        ),
        (
            {
                "sklearn": {
                    "pickled_model": "model.skops",
                    "serialization_format": "skops",
                    "skops_trusted_types": ["numpy.dtype"],
                },
                "python_function": PYFUNC,
            },
            {"model.skops": b"PK"},
            ("sklearn", "model.skops"),
        ),
    ],
)  # fmt: skip
def test_data_goes_before_code(chosen, flavors, files, expected):
    assert chosen(flavors, files) == expected


@pytest.mark.parametrize(
    ("flavors", "files", "words"),
    [
        ({"keras": {"data": "data"}}, {"data/x": b""}, "holds none of model.keras"),
        ({"spark": {}}, {}, "the flavors spark, none of which is served here"),
        ({"python_function": PYFUNC}, {}, "is served by its own Python, which is code; publish it"),
        (
            {"pytorch": {"model_data": "data"}, "python_function": PYFUNC},
            {"data/model.pth": PICKLE},
            "pytorch form is a pickled module, which is code; publish it with --trust",
        ),
        (
            {
                "lightgbm": {
                    "data": "model.skops",
                    "serialization_format": "skops",
                    "skops_trusted_types": ["lightgbm.basic.Booster"],
                },
                "python_function": PYFUNC,
            },
            {"model.skops": b"PK"},
            "types that are not reviewed (lightgbm.basic.Booster); publish it with --trust",
        ),
    ],
)
def test_what_is_refused_without_trust(chosen, flavors, files, words):
    with pytest.raises(MaasError) as caught:
        chosen(flavors, files, trust=False)
    assert words in caught.value.message
