"""The frameworks run in the sandbox, with threads, as they do outside."""

from __future__ import annotations

import pytest


def prints(child, code: str, threads: int = 2) -> str:
    done = child.run("import warnings\n" + code, threads=threads, timeout_s=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[0]


def test_numpy(child):
    code = "import numpy as np; a = np.ones((300, 300)); print((a @ a).sum())"
    assert prints(child, code) == "27000000.0"


def test_scikit_learn_with_jobs(child):
    code = """
import joblib, numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score
X = np.random.default_rng(0).random((200, 4)); y = (X[:, 0] > 0.5).astype(int)
model = RandomForestClassifier(20, n_jobs=2, random_state=0).fit(X, y)
joblib.dump(model, "m.joblib")
cross_val_score(model, X, y, n_jobs=2)
print((joblib.load("m.joblib").predict(X) == y).mean())
"""
    assert prints(child, code) == "1.0"


def test_onnx_runtime(child, tmp_path):
    import onnx
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 4]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, child.model / "model.onnx")
    code = """
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 2
session = onnxruntime.InferenceSession(model + "/model.onnx", options)
print(session.run(None, {"x": np.full((2, 4), -1, "f4")})[0].sum())
"""
    assert prints(child, code) == "0.0"


def test_openvino(child):
    pytest.importorskip("openvino")
    code = """
import numpy as np, openvino
from openvino import opset13 as ops
x = ops.parameter([-1, 4], np.float32)
graph = openvino.Model([ops.matmul(x, np.ones((4, 4), "f4"), False, False)], [x])
compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_NUM_THREADS": 2})
print(compiled(np.ones((2, 4), "f4"))[0].sum())
"""
    assert prints(child, code) == "32.0"


def test_data_frames(child):
    code = """
import pandas as pd
frame = pd.DataFrame({"when": pd.to_datetime(["2020-01-01"]).tz_localize("Europe/Berlin")})
print(frame.when[0].isoformat())
"""
    assert prints(child, code) == "2020-01-01T00:00:00+01:00"


@pytest.mark.slow
@pytest.mark.xdist_group("tensorflow")
def test_tensorflow(child):
    pytest.importorskip("tensorflow")
    code = """
warnings.simplefilter("ignore")
import keras, numpy as np, tensorflow as tf
net = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
net.compile("sgd", "mse")
net.fit(np.ones((8, 4)), np.ones((8, 3)), verbose=0)
x = np.ones((1, 4), "f4")
expected = net.predict(x, verbose=0)
net.save("m.keras"); net.save("m.h5"); net.export("saved", verbose=False)
again = keras.models.load_model("m.keras").predict(x, verbose=0)
saved = tf.saved_model.load("saved").signatures["serving_default"]
served = next(iter(saved(tf.constant(x)).values())).numpy()
print(np.allclose(expected, again) and np.allclose(expected, served))
"""
    assert prints(child, code) == "True"
