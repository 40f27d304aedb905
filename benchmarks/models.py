"""The models and the request bodies that every peer gets; runs in the environment `tools`.

iris.onnx    x float32 [N, 4]              → label int64 [N], probabilities float32 [N, 3]
wine.onnx    x float32 [N, 13]             → the same; two more small models, for memory
digits.onnx  x float32 [N, 64]             → label int64 [N], probabilities float32 [N, 10]
image.onnx   images float32 [N, 299, 299, 3] → scores float32 [N, 1000], at next to no cost

They are made from fixed seeds, and the expected answers are written beside them, so that a peer
that answers something else is found out before it is timed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.environments import CACHE, ROOT, TOOLS

CLASSIFIERS = ("iris", "wine", "digits")
SIDE = 299
CLASSES = 1000
FORMAT = 3  # raise it when what this module writes changes


def make_models() -> Path:
    """Make models, bodies and expected answers, unless they are there.

    Returns:
        The folder that holds them.
    """
    folder = CACHE / "models"
    stamp = folder / "format"
    if not (stamp.exists() and stamp.read_text() == str(FORMAT)):
        folder.mkdir(parents=True, exist_ok=True)
        command = [str(TOOLS.python), "-m", "benchmarks.models", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=300)
        stamp.write_text(str(FORMAT))
    return folder


def _classifier(name: str) -> tuple[Any, list[list[float]]]:
    """A classifier of one of scikit-learn's bundled data sets, and a row of it."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn import datasets
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, classes = getattr(datasets, f"load_{name}")(return_X_y=True)
    model: Any = LogisticRegression(max_iter=1000)
    if name != "iris":
        model = make_pipeline(StandardScaler(), model)
    model.fit(rows, classes)
    lowered = to_onnx(
        model,
        initial_types=[("x", FloatTensorType([None, rows.shape[1]]))],
        options={id(model): {"zipmap": False}},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    return lowered, rows[:1].tolist()


def _image() -> Any:
    import numpy as np
    from onnx import TensorProto, checker, helper, numpy_helper

    weights = np.random.default_rng(0).standard_normal((3, CLASSES)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["colour"], axes=[1, 2], keepdims=0),
            helper.make_node("MatMul", ["colour", "weights"], ["scores"]),
        ],
        "image",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model


def write_models(folder: Path) -> None:
    """Write the models, the bodies of each dialect and the expected answers.

    Args:
        folder: Where the files go.
    """
    import numpy as np
    import onnxruntime

    bodies: dict[str, Any] = {}
    expected: dict[str, list[float]] = {}

    def add(name: str, model: Any, output: str, source: str, rows: Any) -> None:
        content = model.SerializeToString()
        (folder / f"{name}.onnx").write_bytes(content)
        array = np.array(rows, np.float32)
        data = np.array(rows).reshape(-1).tolist()
        tensor = {"name": source, "shape": list(array.shape), "datatype": "FP32", "data": data}
        bodies[f"{name}-oip"] = {"inputs": [tensor]}
        answer = onnxruntime.InferenceSession(content).run([output], {source: array})[0]
        expected[name] = np.asarray(answer).reshape(-1).tolist()

    for name in CLASSIFIERS:
        model, rows = _classifier(name)
        add(name, model, "probabilities", "x", rows)
        bodies[f"{name}-plain"] = {"input_data": rows}
    images = np.random.default_rng(1).random((1, SIDE, SIDE, 3), dtype=np.float32)
    add("image", _image(), "scores", "images", images)
    bodies["image-plain"] = {"images": images.tolist()}

    for name, body in bodies.items():
        compact = (",", ":") if name.startswith("image") else None  # 5.3 MB, as httpx writes it
        (folder / f"{name}.json").write_text(json.dumps(body, separators=compact))
    (folder / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    write_models(Path(sys.argv[1]))
