"""Lowering of TensorFlow functions: names, constants, graphs within graphs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.publish import tf_lower
from maas.publish.lower import NotLoweredError
from maas.publish.tf_lower import lower_graph
from maas.runtimes.tf_process import open_tensorflow

pytestmark = pytest.mark.xdist_group("tensorflow")


@pytest.fixture(scope="module")
def tf():
    return open_tensorflow()


def signature(inputs, outputs, dtype=DType.FP32):
    return Signature(
        "serving_default",
        tuple(TensorSpec(name, dtype, shape) for name, shape in inputs.items()),
        tuple(TensorSpec(name, dtype, shape) for name, shape in outputs.items()),
        batched=False,
    )


def run(model: bytes, **inputs):
    onnx.checker.check_model(onnx.load_from_string(model))
    session = onnxruntime.InferenceSession(model)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def test_names_of_the_signature_in_its_order():
    wanted = signature(
        {"价格": (None, 2), "inner_3": (None, 2)}, {"out_0": (None, 2), "和": (None, 2)}
    )
    lowered = lower_graph(lambda a, b: {"和": a + b, "out_0": a - b}, wanted)
    session = onnxruntime.InferenceSession(lowered)
    assert [each.name for each in session.get_inputs()] == ["价格", "inner_3"]
    assert [each.name for each in session.get_outputs()] == ["out_0", "和"]
    a, b = np.ones((3, 2), "f4"), np.full((3, 2), 2, "f4")
    got = run(lowered, 价格=a, inner_3=b)
    assert got["和"][0, 0] == 3
    assert got["out_0"][0, 0] == -1


def test_an_input_that_is_not_used_is_still_taken():
    wanted = signature({"x": (None, 2), "ignored": (None, 5)}, {"y": (None, 2)})
    lowered = lower_graph(lambda x, ignored: {"y": x * 2}, wanted)
    got = run(lowered, x=np.ones((1, 2), "f4"), ignored=np.ones((1, 5), "f4"))
    assert got["y"].tolist() == [[2, 2]]


def test_one_tensor_under_two_names():
    wanted = signature({"x": (None, 2)}, {"y": (None, 2), "z": (None, 2)})

    def both(x):
        y = x + 1
        return {"y": y, "z": y}

    got = run(lower_graph(both, wanted), x=np.zeros((1, 2), "f4"))
    assert got["y"].tolist() == got["z"].tolist() == [[1, 1]]


def test_constants_from_outside_become_weights(tf):
    outside = tf.constant([[1.0, 2.0]])
    wanted = signature({"x": (None, 2)}, {"y": (None, 2)})
    got = run(lower_graph(lambda x: {"y": x + outside}, wanted), x=np.zeros((2, 2), "f4"))
    assert got["y"].tolist() == [[1, 2], [1, 2]]


def test_loops_and_branches_keep_their_sense(tf):
    wanted = signature({"x": (None, 2)}, {"y": (None, 2), "steps": ()})

    def steps(x):
        def body(i, y):
            return i + 1, tf.cond(tf.reduce_sum(y) > 10, lambda: y - x, lambda: y + 2 * x)

        i, y = tf.while_loop(lambda i, y: i < 9, body, (0, x), (tf.TensorShape(()), x.shape))
        return {"y": y, "steps": tf.cast(i, tf.float32)}

    lowered = lower_graph(steps, wanted)
    x = np.array([[1, 2], [0.5, 0]], "f4")
    got, want = run(lowered, x=x), steps(tf.constant(x))
    np.testing.assert_allclose(got["y"], want["y"].numpy(), rtol=1e-6)
    assert got["steps"] == 9
    nodes = onnx.load_from_string(lowered).graph.node
    assert any(node.op_type in ("Loop", "If") for node in nodes), "nothing was nested"


def test_the_same_function_is_the_same_file():
    wanted = signature({"x": (None, 2)}, {"y": (None, 2)})
    first = lower_graph(lambda x: {"y": x * 2 + 1}, wanted)
    lower_graph(lambda x: {"y": x - 5}, wanted)
    assert lower_graph(lambda x: {"y": x * 2 + 1}, wanted) == first


def test_operators_without_a_counterpart_are_named(tf):
    wanted = signature({"x": (None, 2)}, {"y": (None, 2)})
    with pytest.raises(NotLoweredError, match=r"no counterpart of .* operators Igamma"):
        lower_graph(lambda x: {"y": tf.math.igamma(x, x)}, wanted)


def test_tables_are_no_constants(tf):
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1.0]), 0.0)
    wanted = Signature(
        "serving_default",
        (TensorSpec("t", DType.BYTES, (None,)),),
        (TensorSpec("y", DType.FP32, (None,)),),
        batched=False,
    )
    with pytest.raises(NotLoweredError):
        lower_graph(lambda t: {"y": table.lookup(t)}, wanted)


def test_a_function_that_fails_while_it_is_traced_says_so():
    def broken(x):
        raise RuntimeError("no licence")

    with pytest.raises(NotLoweredError, match="no licence"):
        lower_graph(broken, signature({"x": (None, 2)}, {"y": (None, 2)}))


def test_weights_beyond_the_memory_there_is_are_not_lowered(tf, monkeypatch):
    monkeypatch.setattr(tf_lower, "LARGEST", (1 << 20) - 1)
    kernel = tf.Variable(np.zeros((512, 512), "f4"))
    wanted = signature({"x": (None, 512)}, {"y": (None, 512)})
    with pytest.raises(NotLoweredError, match="its 1 MiB of weights"):
        lower_graph(lambda x: {"y": x @ kernel}, wanted)
