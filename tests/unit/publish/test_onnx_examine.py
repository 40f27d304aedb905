from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE
from maas.core.tensor import DType
from maas.runtimes.onnx import OnnxRuntime

X, Y = load_iris(return_X_y=True)


def signature_of(finding):
    return finding.signatures[DEFAULT_SIGNATURE]


def served(finding, tmp_path):
    folder = str(tmp_path / "artifact")
    artifact = Artifact(folder, finding.entry, finding.format, finding.signatures)
    return OnnxRuntime().load(artifact, Device())


def refused(run, *args, **kwargs) -> str:
    with pytest.raises(MaasError) as caught:
        run(*args, **kwargs)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    return caught.value.message


def test_signature_and_batch(examined, linear, tmp_path):
    finding = examined(linear())
    signature = signature_of(finding)
    assert signature.batched
    assert "32 rows run together equal" in finding.batch_note
    assert [(s.name, s.dtype, s.shape) for s in signature.inputs] == [("x", DType.FP32, (None, 4))]
    assert (finding.engine, finding.lowered, finding.parity) == ("onnx", False, None)
    assert finding.written_with["tests"] == "unknown"
    assert finding.written_with["opset ai.onnx"] == "18"
    assert finding.timings == (), "the second child times"
    rows = np.ones((3, 4), dtype=np.float32)
    answer = served(finding, tmp_path).infer(DEFAULT_SIGNATURE, {"x": rows})["y"]
    np.testing.assert_array_equal(answer, rows @ np.arange(16.0).reshape(4, 4))


def test_weights_listed_among_the_inputs_are_no_inputs(examined, linear, onnx_model):
    model = linear()
    model.graph.input.append(onnx_model.tensor("w", [4, 4]))
    assert [spec.name for spec in signature_of(examined(model)).inputs] == ["x"]


def test_a_model_that_subtracts_the_mean_of_its_batch(examined, onnx_model):
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [0])
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    finding = examined(onnx_model(nodes, weights=[axes]))
    assert not signature_of(finding).batched
    assert "rows run together differ from rows run apart" in finding.batch_note


def test_a_fixed_first_axis(examined, onnx_model):
    model = onnx_model(
        [helper.make_node("Relu", ["x"], ["y"])],
        [onnx_model.tensor("x", [1, 4])],
        [onnx_model.tensor("y", [1, 4])],
    )
    finding = examined(model)
    assert signature_of(finding).inputs[0].shape == (1, 4)
    assert finding.batch_note == "the first axis of input 'x' is fixed at 1"


def test_an_answer_that_never_changes_proves_no_batch(examined, onnx_model):
    nodes = [helper.make_node("Mul", ["x", "zero"], ["y"])]
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    finding = examined(onnx_model(nodes, weights=[zero]))
    assert not signature_of(finding).batched
    assert "all gave one answer, which proves nothing" in finding.batch_note


def test_symbolic_sizes_and_undeclared_outputs(examined, onnx_model):
    model = onnx_model(
        [helper.make_node("Relu", ["x"], ["y"])],
        [onnx_model.tensor("x", ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    signature = signature_of(examined(model))
    assert signature.batched
    assert signature.inputs[0].shape == (None, 3, None, None)
    assert signature.outputs[0].shape == (None, None, None, None)


def test_a_random_model_is_warned_about(examined, onnx_model):
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"]),
        helper.make_node("Add", ["x", "noise"], ["y"]),
    ]
    finding = examined(onnx_model(nodes))
    assert not signature_of(finding).batched
    assert any("not deterministic" in warning for warning in finding.warnings)


def test_answers_that_are_not_finite_are_warned_about(examined, onnx_model):
    finding = examined(onnx_model([helper.make_node("Sqrt", ["x"], ["y"])]))
    assert any("not finite" in warning for warning in finding.warnings)


@pytest.mark.parametrize("names", [None, np.array(["setosa", "花", "virginica"])])
def test_a_zipmap_is_taken_off_and_its_labels_kept(examined, tmp_path, names):
    classifier = LogisticRegression(max_iter=500).fit(X, Y if names is None else names[Y])
    finding = examined(to_onnx(classifier, X[:1].astype(np.float32)))
    label, scores = signature_of(finding).outputs
    want = tuple(str(name) for name in classifier.classes_)
    assert (scores.dtype, scores.shape, scores.labels) == (DType.FP32, (None, 3), want)
    assert (label.dtype, label.labels) == (DType.INT64 if names is None else DType.BYTES, want)
    assert finding.parity is not None
    assert finding.parity.agrees
    assert finding.parity.distinct_answers == 3
    rows = X[::10].astype(np.float32)
    answer = served(finding, tmp_path).infer(DEFAULT_SIGNATURE, {"X": rows})
    np.testing.assert_allclose(answer[scores.name], classifier.predict_proba(rows), atol=1e-5)
    expected = [str(v).encode() for v in classifier.predict(rows)] if names is not None else None
    got = answer[label.name].tolist()
    assert got == (expected or classifier.predict(rows).tolist())


@pytest.mark.parametrize("kind", [TensorProto.COMPLEX64, TensorProto.FLOAT8E4M3FN])
def test_types_that_no_protocol_carries(examined, onnx_model, kind):
    model = onnx_model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [onnx_model.tensor("x", ["n"], kind)],
        [onnx_model.tensor("y", ["n"], kind)],
    )
    assert "element type that no protocol here carries" in refused(examined, model)


def test_an_input_without_a_shape_is_no_scalar(examined, onnx_model):
    model = onnx_model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [onnx_model.tensor("x", None)],
        [onnx_model.tensor("y", None)],
    )
    assert "'x' does not say how many dimensions it has" in refused(examined, model)


def test_sequences_are_refused(examined, onnx_model):
    output = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    model = onnx_model([helper.make_node("SequenceConstruct", ["x"], ["y"])], outputs=[output])
    assert "'y' is a sequence; expected tensors" in refused(examined, model)


def test_custom_operators_are_named(examined, onnx_model):
    model = onnx_model([helper.make_node("Foo", ["x"], ["y"], domain="my.ops")], domains=["my.ops"])
    assert "my.ops::Foo" in refused(examined, model)


def test_an_operator_that_opens_a_file(examined, onnx_model):
    node = helper.make_node(
        "EPContext", ["x"], ["y"], domain="com.microsoft", embed_mode=0, ep_cache_context="/etc/x"
    )
    assert "opens a file" in refused(examined, onnx_model([node], domains=["com.microsoft"]))


def test_what_onnx_runtime_cannot_open(examined, onnx_model):
    message = refused(examined, onnx_model([helper.make_node("NoSuchOp", ["x"], ["y"])]))
    assert "ONNX Runtime cannot open the model" in message
    assert "NoSuchOp" in message


def test_no_drawn_sample_is_answered(examined, onnx_model):
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [7, 13])
    model = onnx_model(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [onnx_model.tensor("x", ["a", "b"])],
        [onnx_model.tensor("y", [7, 13])],
        [shape],
    )
    assert "--sample" in refused(examined, model)


def test_a_given_sample(examined, linear, tmp_path):
    sample = tmp_path / "rows.csv"
    sample.write_text("\n".join("1,2,3,4" if i % 2 else "4,3,2,1" for i in range(6)))
    finding = examined(linear(), sample=sample)
    assert "6 rows run together" in finding.batch_note
    sample.write_text("1,2,3\n")
    assert "does not hold rows for this model" in refused(examined, linear(), sample=sample)


def test_a_folder_with_external_data(examined, linear, tmp_path):
    folder = tmp_path / "folder"
    (folder / "data").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(linear("data/w.bin").SerializeToString())
    (folder / "data" / "w.bin").write_bytes(linear.data)
    (folder / "stray.txt").write_text("not served")
    finding = examined(folder)
    rows = np.ones((2, 4), dtype=np.float32)
    answer = served(finding, tmp_path).infer(DEFAULT_SIGNATURE, {"x": rows})["y"]
    np.testing.assert_array_equal(answer, rows @ np.arange(16.0).reshape(4, 4))
    kept = {p.name for p in (tmp_path / "artifact").rglob("*") if p.is_file()}
    assert kept == {"model.onnx", "w.bin"}


def test_truncated_models_never_crash(examined, linear, tmp_path):
    data = linear().SerializeToString()
    file = tmp_path / "cut"
    for length in range(0, len(data), 7):
        file.write_bytes(data[:length])
        assert refused(examined, file)
