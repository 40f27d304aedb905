"""Python models at publish: the signature, the samples, the proof, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE, describe_spec
from maas.core.tensor import DType
from maas.publish.child import examine
from maas.runtimes.python import PythonRuntime

pytestmark = pytest.mark.usefixtures("own_modules")
HEAD = "from __future__ import annotations\nfrom maas import *\nimport numpy as np\n"


@pytest.fixture
def publish(tmp_path, job_for):
    """Examines source: a file, or a folder where `files` are given beside it."""

    def run(source: str, *, sample: Path | None = None, code: str = "", **files: str):
        folder = tmp_path / "original"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            path = folder / name.replace("_dot_", ".")
            path.write_text(text)
        file = folder / "model.py"
        file.write_text(HEAD + source)
        said = {"sample": sample, "code": code}
        if files:
            return examine(job_for(folder, "python", entry="model.py", **said), lambda *_: None)
        return examine(job_for(file, "python", **said), lambda *_: None)

    return run


def infer(arguments: str, body: str, returns: str = "dict", extra: str = "") -> str:
    return (
        f"class M(PythonModel):\n    {extra}\n"
        f"    def infer(self, {arguments}) -> {returns}:\n        {body}\n"
    )


def refused(publish, *args, **kwargs) -> str:
    with pytest.raises(MaasError) as caught:
        publish(*args, **kwargs)
    assert caught.value.kind in (ErrorKind.INVALID_ARGUMENT, ErrorKind.FAILED_PRECONDITION)
    assert "\n" not in caught.value.message
    return caught.value.message


def shown(finding) -> tuple[list[str], list[str]]:
    signature = finding.signatures[DEFAULT_SIGNATURE]
    return [describe_spec(s) for s in signature.inputs], [
        describe_spec(s) for s in signature.outputs
    ]


def test_a_file_becomes_a_batched_service(publish, tmp_path):
    finding = publish(infer('x: Float32["n", 4]', "return {'y': 2 * x}"))
    assert (finding.engine, finding.format, finding.entry) == ("python", "python", "model/model.py")
    assert shown(finding) == (["x FP32 [n, 4]"], ["y FP32 [n, 4]"])
    assert finding.signatures[DEFAULT_SIGNATURE].batched
    assert finding.batch_note == "32 rows run together equal the same rows run apart"
    assert [timing.engine for timing in finding.timings] == ["python"]
    assert finding.timings[0].batch > 1
    assert finding.parity is None
    assert not finding.lowered
    assert finding.read_with["numpy"] == np.__version__
    assert (tmp_path / "artifact" / finding.entry).is_file()


@pytest.mark.parametrize(
    ("arguments", "body", "returns", "inputs", "outputs", "batched"),
    [
        (
            'a: Int64["n"], b: Text["n"]',
            "return {'length': np.array([len(t) for t in b]) + a}",
            "dict",
            ["a INT64 [n]", "b BYTES [n]"],
            ["length INT64 [n]"],
            True,
        ),
        (
            'x: Float32["n", "m"]',
            "return {'sum': x.sum(axis=1), 'same': x}",
            "dict",
            ["x FP32 [n, n]"],
            ["sum FP32 [n]", "same FP32 [n, n]"],
            True,
        ),
        (
            "t: Float32[()], x: Float32[3]",
            "return {'y': x * t, 'top': int(x.argmax())}",
            "dict",
            ["t FP32 []", "x FP32 [3]"],
            ["y FP32 [3]", "top INT64 []"],
            False,
        ),
        (
            'x: Float32["n", 2]',
            "return {'mean': x.mean(axis=0)}",
            "dict",
            ["x FP32 [n, 2]"],
            ["mean FP32 [2]"],
            False,
        ),
        (
            'x: Float32["n", 2]',
            "return {'y': x - x.mean()}",
            "dict",
            ["x FP32 [n, 2]"],
            ["y FP32 [n, 2]"],
            False,
        ),
        (
            'x: Float32["n"], y: Float32["m"]',
            "return {'dot': np.outer(x, y)}",
            "dict",
            ["x FP32 [n]", "y FP32 [n]"],
            ["dot FP32 [n, n]"],
            False,
        ),
        (
            'x: Float32["n", 2]',
            "return {'y': x.astype(float).tolist()}",
            '{"y": Float32["n", 2]}',
            ["x FP32 [n, 2]"],
            ["y FP32 [n, 2]"],
            True,
        ),
        (
            "x: Annotated[np.ndarray, Float32[None, 2]], k=3",
            "return {'y': x * k}",
            'Annotated[dict, {"y": Float32["n", 2]}]',
            ["x FP32 [n, 2]"],
            ["y FP32 [n, 2]"],
            True,
        ),
    ],
    ids=["texts", "open size", "scalar", "reduced", "not row by row", "letters", "said", "typed"],
)
def test_signatures(publish, arguments, body, returns, inputs, outputs, batched):
    source = "from typing import Annotated\n" + infer(arguments, body, returns)
    finding = publish(source)
    assert shown(finding) == (inputs, outputs)
    assert finding.signatures[DEFAULT_SIGNATURE].batched is batched
    assert batched or finding.batch_note


def test_settings_give_the_signature_and_labels(publish):
    settings = """
        description = "whose flower it is"
        [[inputs]]
        name = "x"
        dtype = "float32"
        shape = ["n", 4]
        [[outputs]]
        name = "probabilities"
        dtype = "FP32"
        shape = [-1, 2]
        labels = ["yes", "no"]
    """
    body = "return {'probabilities': np.stack([x[:, 0], 1 - x[:, 0]], axis=1)}"
    finding = publish(infer("**inputs", f"x = inputs['x']; {body}"), model_dot_toml=settings)
    assert shown(finding) == (["x FP32 [n, 4]"], ["probabilities FP32 [n, 2]"])
    assert finding.signatures[DEFAULT_SIGNATURE].outputs[0].labels == ("yes", "no")
    assert finding.signatures[DEFAULT_SIGNATURE].batched


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("class M(PythonModel):\n    pass", "M has no infer method; write infer(self, x: "),
        (infer("x", "return {}"), "infer's 'x' is not annotated"),
        (infer("x: np.ndarray", "return {}"), "'x' is annotated with ndarray, which says no type"),
        (infer("x: Float32", "return {}"), "infer's 'x' has a type without a shape"),
        (infer("x: Nowhere", "return {}"), "annotations of M.infer cannot be read (NameError"),
        (infer('x: Float32["n", -2]', "return {}"), "cannot be read (TypeError: -2 is no size"),
        (infer("*x", "return {}"), "infer takes *x, so its inputs have no names"),
        (infer('x: Float32["n"], /', "return {}"), "take the '/' away"),
        (infer("", "return {}"), "infer takes no inputs"),
        (infer('x: Float32["n"]', "return {}", '{"y": int}'), "return annotation is a dict with"),
        (infer('x: Float32["n"]', "return {}", 'Float32["n"]'), "no name for its output"),
        (infer('x: Float32["n"]', "return {}"), "the model returned no outputs"),
        (infer('x: Float32["n"]', "return {1: x}"), "names an output 1; expected a text"),
        (infer('x: Float32["n"]', "return x"), "infer returned a ndarray; expected a dict of"),
        (infer('x: Float32["n"]', "return None"), "infer returned None; expected a dict of arrays"),
        (
            infer('x: Float32["n"]', "return {'y': x}", '{"z": Float32["n"]}'),
            "the model returned 'y' where its signature has 'z'",
        ),
        (
            infer('x: Float32["n"]', "return {'y': x.astype(np.complex64)}"),
            "output 'y' is no tensor",
        ),
        (
            infer('x: Float32["n"]', "return {f'y{len(x)}': x}"),
            "for one call and ['y1'] for another; expected the same outputs always",
        ),
        (
            infer('x: Float32["n"]', "return {'y': x if len(x) > 1 else x[0]}"),
            "output 'y' has 1 axes in one call and another",
        ),
        (
            infer('x: Float32["n"]', "return {'y': x if len(x) > 1 else ['a']}"),
            "output 'y' is BYTES in one call and FP32 in another",
        ),
        (
            infer('x: Float32["n"]', "raise ValueError('never pleased')"),
            "no drawn sample was answered (the model refused these values: ValueError: never",
        ),
        ("class M(PythonModel)\n    pass", "line 4 of model.py: expected ':'"),
        (
            infer('x: Float32["n"]', "pass", extra="requires = ['nowhere-to-be-found', 'numpy']"),
            "model.py requires nowhere-to-be-found (not installed)",
        ),
    ],
)
def test_what_is_refused_says_how_to_write_it(publish, source, said):
    message = refused(publish, source)
    assert said in message
    assert ("--sample" in message) == ("no drawn sample" in said)


def test_requirements_are_read_before_the_import_that_would_fail(publish):
    source = "import nowhere_to_be_found\n" + infer(
        'x: Float32["n"]', "return {'y': x}", extra="requires = ('nowhere-to-be-found',)"
    )
    assert "where the server runs: pip install 'nowhere-to-be-found'" in refused(publish, source)


def test_code_travels_with_the_model(publish, tmp_path):
    source = "import travels\n" + infer('x: Float32["n"]', "return {'y': x + travels.ONE}")
    assert "model.py needs module 'travels': add --code travels.py" in refused(publish, source)
    code = tmp_path / "given"
    (code / "__pycache__").mkdir(parents=True)
    (code / "travels.py").write_text("ONE = 1\n")
    finding = publish(source, code=str(code))
    assert finding.signatures[DEFAULT_SIGNATURE].batched
    assert (tmp_path / "artifact" / "code" / "travels.py").is_file()
    assert not (tmp_path / "artifact" / "code" / "__pycache__").exists()


def test_a_sample_is_what_the_model_is_asked(publish, tmp_path):
    source = infer('text: Text["n"]', "return {'n': [{'猫': 1, '狗': 2}[t] for t in text]}")
    assert "no drawn sample was answered" in refused(publish, source)
    sample = tmp_path / "rows.json"
    sample.write_text(json.dumps(["猫", "狗", "猫"], ensure_ascii=False))
    finding = publish(source, sample=sample)
    assert finding.signatures[DEFAULT_SIGNATURE].batched
    assert finding.signatures[DEFAULT_SIGNATURE].outputs[0].dtype is DType.INT64
    sample.write_text(json.dumps(["鱼"], ensure_ascii=False))
    said = refused(publish, source, sample=sample)
    assert "does not answer the given sample: the model refused these values: KeyError" in said


def test_a_scalar_may_be_in_a_sample(publish, tmp_path):
    source = infer('x: Float32["n"], k: Int64[()]', "return {'y': x * k}")
    sample = tmp_path / "rows.json"
    sample.write_text(json.dumps({"x": [1, 2, 3], "k": 2}))
    assert shown(publish(source, sample=sample)) == (["x FP32 [n]", "k INT64 []"], ["y FP64 [n]"])


def test_what_is_worth_knowing_is_a_warning(publish):
    random = infer('x: Float32["n"]', "return {'y': x + np.random.default_rng().random(len(x))}")
    assert any("not deterministic" in warning for warning in publish(random).warnings)
    missing = infer('x: Float32["n"]', "return {'y': np.where(x > 0, np.nan, x)}")
    finding = publish(missing)
    assert finding.warnings == ("some answers to the samples are not finite numbers",)
    assert finding.signatures[DEFAULT_SIGNATURE].batched


def test_the_whole_way_through_the_child(published, tmp_path):
    from maas.core.records import PublishOptions

    source = (HEAD + infer('x: Float32["n", 4]', "return {'y': 2 * x}")).encode()
    with pytest.raises(MaasError, match=r"'doubler.py' is a Python model, which is code; publish"):
        published(source, "doubler.py")
    record, created = published(source, "doubler.py", options=PublishOptions(trust=True))
    assert created
    assert (record.report.format, record.report.engine) == ("python", "python")
    assert record.report.host == "dedicated"


def test_a_model_that_ends_its_process_at_publish_is_one_sentence(published):
    from maas.core.records import PublishOptions

    source = (HEAD + "import os\nos._exit(7)\nclass M(PythonModel): pass\n").encode()
    with pytest.raises(MaasError, match="died with exit code 7"):
        published(source, "m.py", options=PublishOptions(trust=True))


def test_a_folder_keeps_its_name_in_the_artifact(tmp_path, job_for):
    folder = tmp_path / "tea_shop"
    folder.mkdir()
    (folder / "rates.py").write_text("RATE = 3\n")
    (folder / "__init__.py").write_text(
        HEAD + "from tea_shop.rates import RATE\n"
        "class M(PythonModel):\n"
        "    def infer(self, x: Float32['n', 2]) -> dict:\n        return {'y': RATE * x}\n"
    )
    finding = examine(job_for(folder, "python", entry="__init__.py"), lambda *_: None)
    assert finding.entry == "model/tea_shop/__init__.py"
    artifact = Artifact(str(tmp_path / "artifact"), finding.entry, "python", finding.signatures)
    rows = np.ones((2, 2), np.float32)
    (got,) = PythonRuntime().load(artifact, Device()).infer(DEFAULT_SIGNATURE, {"x": rows}).values()
    np.testing.assert_array_equal(got, 3 * rows)
