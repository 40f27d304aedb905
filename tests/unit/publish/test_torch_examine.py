"""PyTorch programs: lowered and proven, or served by PyTorch itself."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.programs import PROGRAMS

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.records import PublishOptions
from maas.core.signature import DEFAULT_SIGNATURE
from maas.core.tensor import DType
from maas.publish.child import examine
from maas.publish.torch_scan import _check_expression, scan_pt2
from maas.runtimes.plugins import runtime_for
from maas.runtimes.torch_process import import_torch

pytestmark = [
    pytest.mark.xdist_group("torch"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
ROWS = np.random.default_rng(3).normal(size=(9, 4)).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def zoo():
    """Programs to publish; what importing PyTorch changes in this process is put back."""
    environ, level = dict(os.environ), logging.getLogger("torch").level
    import_torch()
    from tests import torch_zoo

    yield torch_zoo
    for name in set(os.environ) - set(environ):
        del os.environ[name]
    logging.getLogger("torch").setLevel(level)


@pytest.fixture(scope="module")
def saved(zoo, tmp_path_factory) -> Callable[[str], Path]:
    """Exports a program once."""
    made: dict[str, Path] = {}

    def get(title: str) -> Path:
        if title not in made:
            made[title] = PROGRAMS[title](tmp_path_factory.mktemp("saved"))
        return made[title]

    return get


@pytest.fixture
def publish(job_for):
    def run(file: Path, format_: str = "pt2", **said):
        run.job = job_for(file, format_, **said)
        return examine(run.job, lambda *_: None)

    return run


def served(job, finding):
    artifact = Artifact(job.artifact, finding.entry, finding.format, finding.signatures)
    return runtime_for(finding.engine).load(artifact, Device())


def shapes(specs):
    return {spec.name: (spec.dtype, spec.shape) for spec in specs}


def test_a_network(saved, publish):
    import torch

    finding = publish(saved("network"))
    assert (finding.engine, finding.format, finding.entry) == ("onnx", "onnx", "model.onnx")
    assert [each.name for each in Path(publish.job.artifact).iterdir()] == ["model.onnx"]
    assert finding.parity.agrees
    assert finding.parity.samples >= 256
    assert finding.written_with["torch"].startswith("2.")
    assert [timing.engine for timing in finding.timings] == ["onnx", "torch"]
    signature = finding.signatures[DEFAULT_SIGNATURE]
    assert signature.batched
    assert shapes(signature.inputs) == {"input": (DType.FP32, (None, 4))} or shapes(
        signature.inputs
    ) == {"x": (DType.FP32, (None, 4))}
    assert shapes(signature.outputs) == {"output": (DType.FP32, (None, 3))}
    got = served(publish.job, finding).infer(DEFAULT_SIGNATURE, {"x": ROWS})
    program = torch.export.load(str(saved("network"))).module()
    want = program(torch.from_numpy(ROWS)).detach().numpy()
    np.testing.assert_allclose(got["output"], want, rtol=1e-5)
    assert b"torch_zoo" not in (Path(publish.job.artifact) / "model.onnx").read_bytes()


def test_named_outputs_and_sizes_that_vary(saved, publish):
    finding = publish(saved("tokens and a mask"))
    assert finding.lowered, finding.reason
    signature = finding.signatures[DEFAULT_SIGNATURE]
    assert signature.batched
    assert shapes(signature.inputs) == {
        "tokens": (DType.INT64, (None, None)),
        "mask": (DType.FP32, (None, None)),
    }
    assert shapes(signature.outputs) == {
        "logits": (DType.FP32, (None, 2)),
        "pooled": (DType.FP32, (None, 6)),
    }
    model = served(publish.job, finding)
    for length in (1, 5, 23):
        rows = {"tokens": np.full((3, length), 49), "mask": np.ones((3, length), np.float32)}
        assert model.infer(DEFAULT_SIGNATURE, rows)["logits"].shape == (3, 2)


def test_half_precision(saved, publish):
    finding = publish(saved("network, float16"))
    assert finding.lowered, finding.reason
    assert finding.signatures[DEFAULT_SIGNATURE].outputs[0].dtype is DType.FP16


def test_bfloat16_is_served_by_pytorch(saved, publish):
    finding = publish(saved("network, bfloat16"))
    assert finding.engine == "torch"
    signature = finding.signatures[DEFAULT_SIGNATURE]
    assert signature.inputs[0].dtype is signature.outputs[0].dtype is DType.BF16
    model = served(publish.job, finding)
    answer = model.infer(DEFAULT_SIGNATURE, {"x": ROWS.astype(DType.BF16.numpy)})["output"]
    assert answer.dtype == DType.BF16.numpy
    np.testing.assert_allclose(answer.astype(np.float32).sum(axis=1), 1, atol=0.02)
    model.close()


def test_what_has_no_counterpart_is_served_by_pytorch(saved, publish):
    finding = publish(saved("eigenvalues"))
    assert (finding.engine, finding.format, finding.entry) == ("torch", "pt2", "model.pt2")
    assert finding.reason.startswith("served by PyTorch itself, since PyTorch's exporter cannot")
    assert "linalg_eig" in finding.reason
    model = served(publish.job, finding)
    good = {"x": np.eye(3, dtype=np.float32)[None]}
    np.testing.assert_allclose(model.infer(DEFAULT_SIGNATURE, good)["output"], [[2, 2, 2]], 1e-4)


def test_pytorch_can_be_asked_for_and_refuses_values(saved, publish):
    finding = publish(saved("tokens and a mask"), engine="torch")
    assert "asked for with --engine torch" in finding.reason
    rows = {"tokens": np.full((1, 7), 50), "mask": np.ones((1, 7), np.float32)}
    with pytest.raises(MaasError, match="refused these values: index out of range") as caught:
        served(publish.job, finding).infer(DEFAULT_SIGNATURE, rows)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_noise_is_not_lowered(saved, publish):
    finding = publish(saved("noise"))
    assert finding.engine == "torch"
    assert "differ from one run to the next" in finding.reason


def test_a_batch_that_is_mixed_and_one_that_is_fixed(saved, publish):
    finding = publish(saved("batch mixed"))
    assert finding.lowered
    assert not finding.signatures[DEFAULT_SIGNATURE].batched
    finding = publish(saved("network, fixed batch"))
    assert finding.lowered
    signature = finding.signatures[DEFAULT_SIGNATURE]
    assert (signature.batched, signature.inputs[0].shape) == (False, (2, 4))
    assert "is fixed at 2" in finding.batch_note


def test_a_batch_that_is_mixed_goes_the_whole_way(saved, published):
    record, _ = published(saved("batch mixed").read_bytes(), "mixed.pt2")
    assert (record.report.format, record.report.engine) == ("pt2", "onnx")
    assert record.report.sandbox
    assert not record.signatures[DEFAULT_SIGNATURE].batched


def test_outputs_that_are_no_tensors_are_left_out(saved, publish):
    finding = publish(saved("a size beside a tensor"))
    assert [spec.name for spec in finding.signatures[DEFAULT_SIGNATURE].outputs] == ["output_0"]


@pytest.fixture(scope="module")
def script(zoo, tmp_path_factory):
    """Saves TorchScript."""
    import torch

    def save(module) -> Path:
        torch.manual_seed(0)
        file = tmp_path_factory.mktemp("script") / "model.pt"
        torch.jit.script(module.eval()).save(str(file))
        return file

    return save


def test_torchscript_with_a_sample(zoo, script, publish, tmp_path):
    file = script(zoo.Net())
    np.save(tmp_path / "rows.npy", ROWS.astype(np.float64))
    finding = publish(file, "torchscript", sample=tmp_path / "rows.npy")
    assert finding.lowered, finding.reason
    signature = finding.signatures[DEFAULT_SIGNATURE]
    assert signature.batched
    assert shapes(signature.inputs) == {"x": (DType.FP32, (None, 4))}
    assert [each.name for each in Path(publish.job.artifact).iterdir()] == ["model.onnx"]


def test_torchscript_that_is_served_by_pytorch(zoo, script, publish, tmp_path):
    rows = {"tokens": np.arange(14).reshape(2, 7), "mask": np.ones((2, 7), np.float32)}
    np.savez(tmp_path / "rows.npz", **rows)
    finding = publish(script(zoo.Tokens()), "torchscript", sample=tmp_path / "rows.npz")
    assert (finding.engine, finding.format) == ("torch", "torchscript")
    answers = served(publish.job, finding).infer(DEFAULT_SIGNATURE, rows)
    assert {name: array.shape for name, array in answers.items()} == {
        "logits": (2, 2),
        "pooled": (2, 6),
    }


def test_torchscript_without_what_it_needs(zoo, script, publish, tmp_path):
    file = script(zoo.Tokens())
    with pytest.raises(MaasError, match=r"publish it with --sample and rows for 'tokens', 'mask'"):
        publish(file, "torchscript")
    np.savez(tmp_path / "rows.npz", tokens=np.zeros((2, 7), np.int64))
    with pytest.raises(MaasError, match="has no rows for 'mask'"):
        publish(file, "torchscript", sample=tmp_path / "rows.npz")
    np.savez(tmp_path / "rows.npz", tokens=np.full((2, 7), 99), mask=np.ones((2, 7)))
    with pytest.raises(MaasError, match=r"does not answer the given sample: .*index out of range"):
        publish(file, "torchscript", sample=tmp_path / "rows.npz")


def changed(file: Path, change, target: Path, extra: dict[str, bytes] | None = None) -> Path:
    """The archive with another graph, or with more in it."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(target, "w") as new:
        root = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("models/model.json"):
                document = json.loads(data)
                change(document)
                data = json.dumps(document).encode()
            if name.partition("/")[2] not in (extra or {}):
                new.writestr(name, data)
        for name, data in (extra or {}).items():
            new.writestr(f"{root}/{name}", data)
    return target


def node(document):
    return document["graph_module"]["graph"]["nodes"][0]


CANARY = "__import__('os').mkdir('canary')"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: node(d).update(target="torch.hub.load"), "calls 'torch.hub.load'"),
        (lambda d: node(d).update(target="torch.ops.aten.from_file.default"), "aten.from_file"),
        (lambda d: node(d).update(target="_operator.methodcaller"), "_operator.methodcaller"),
        (lambda d: node(d).update(target="#my:op"), "calls '#my:op'"),
        (
            lambda d: d["graph_module"]["graph"]["inputs"].append(
                {"as_expr": {"expr_str": CANARY}}
            ),
            "more than arithmetic",
        ),
        (
            lambda d: d["graph_module"]["graph"]["inputs"].append(
                {"as_tensor": {"name": "x = 1\nimport os"}}
            ),
            "odd name",
        ),
        (
            lambda d: d["graph_module"]["module_call_graph"][0]["signature"].update(
                in_spec='[1, {"type": "collections.defaultdict", "children_spec": []}]'
            ),
            "takes or gives a collections.defaultdict",
        ),
        (lambda d: d.pop("graph_module"), "not as torch.export.save of this version writes it"),
        (lambda d: node(d).update(target=3), "calls '3'"),
        (lambda d: d.update(graph_module=[]), "not as torch.export.save of this version"),
    ],
)
def test_a_program_that_does_more_than_compute(saved, tmp_path, change, said):
    file = changed(saved("network"), change, tmp_path / "m.pt2")
    with pytest.raises(MaasError) as caught:
        scan_pt2(file, tmp_path / "copy.pt2")
    assert said in caught.value.message
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_source_code_is_left_out(saved, tmp_path):
    def write(document) -> None:
        document["guards_code"] = [CANARY]
        node(document)["metadata"] = {"stack_trace": f"a\r{CANARY}"}

    file = changed(saved("network"), write, tmp_path / "m.pt2")
    scan_pt2(file, tmp_path / "copy.pt2")
    assert CANARY.encode() not in (tmp_path / "copy.pt2").read_bytes()


def test_an_archive_with_more_than_a_program(saved, tmp_path):
    def refusal(extra: dict[str, bytes]) -> str:
        file = changed(saved("network"), lambda _: None, tmp_path / "m.pt2", extra)
        with pytest.raises(MaasError) as caught:
            scan_pt2(file, tmp_path / "copy.pt2")
        return caught.value.message

    assert "data/aotinductor/model" in refusal({"data/aotinductor/model/model.so": b"\x7fELF"})
    assert "custom_obj_0" in refusal({"data/constants/custom_obj_0": b"\x80\x04."})
    assert "two members of one name" in refusal({"Models/model.json": b"{}"})
    weights = json.dumps({"config": {"w": {"use_pickle": True, "path_name": "weight_0"}}}).encode()
    name = "data/weights/model_weights_config.json"
    assert "'w' is a pickled object" in refusal({name: weights})
    assert "nested deeper" in refusal({"models/model.json": b"[" * 100_000 + b"]" * 100_000})
    data = saved("network").read_bytes()
    (tmp_path / "m.pt2").write_bytes(data[: len(data) // 2])
    with pytest.raises(MaasError, match="damaged"):
        scan_pt2(tmp_path / "m.pt2", tmp_path / "copy.pt2")


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("Symbol('s77', positive=True, integer=True)", True),
        ("Add(Integer(2), Mul(Integer(-1), Symbol('s0', integer=True)))", True),
        ("2*s0 + 1", True),
        ("FloorDiv(Symbol('s1', integer=True), Integer(2))", True),
        (CANARY, False),
        ("Symbol.mro()", False),
        ("Symbol('s', **{})[0]", False),
        ("lambda: 1", False),
        ("Integer('__import__(1)')", False),
        ("f'{s0}'", False),
        ("(", False),
    ],
)
def test_sizes_are_arithmetic(text, good):
    if good:
        _check_expression(text)
        return
    with pytest.raises(MaasError):
        _check_expression(text)


def test_a_pickle_in_the_sample_inputs_is_not_opened(saved, published, tmp_path, canary):
    import torch

    buffer = io.BytesIO()
    torch.save(((canary,), {}), buffer, pickle_module=pickle)
    member = {"data/sample_inputs/model.pt": buffer.getvalue()}
    file = changed(saved("network"), lambda _: None, tmp_path / "m.pt2", member)
    with pytest.raises(MaasError, match="cannot load the program"):
        published(file, "m.pt2")


def test_torchscript_wants_trust(zoo, script, published, tmp_path):
    data = script(zoo.Net()).read_bytes()
    with pytest.raises(MaasError, match="is TorchScript, which is code"):
        published(data, "net.pt")
    np.save(tmp_path / "rows.npy", ROWS)
    options = PublishOptions(trust=True, engine="torch")
    record, _ = published(data, "net.pt", options=options, sample=tmp_path / "rows.npy")
    assert (record.report.engine, record.report.confined, record.report.host) == (
        "torch",
        True,
        "dedicated",
    )


def test_without_pytorch_it_says_how_to_get_it():
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from maas.core.errors import MaasError\n"
        "from maas.runtimes.torch_process import import_torch\n"
        "try: import_torch()\n"
        "except MaasError as error: print(error.kind, error.message)\n"
    )
    run = [sys.executable, "-c", program]
    said = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert said.startswith("failed_precondition")
    assert "pip install 'maas-server[torch]'" in said
