"""Python models, loaded as the worker loads them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec
from maas.runtimes.plugins import runtime_for
from maas.runtimes.python import PythonRuntime, conform
from maas.runtimes.python_source import check_requires, open_class, read_settings

HEAD = "from maas import *\nimport numpy as np\n"
X = TensorSpec("x", DType.FP32, (None, 2))
Y = TensorSpec("y", DType.FP32, (None, 2))


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch):
    """Models change where modules are searched, and which are there, for a process's life."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith(("maas", "packaging")):
            del sys.modules[name]


@pytest.fixture
def serve(tmp_path):
    """Loads source as an artifact; `y` of `x` unless told."""

    def run(source: str, inputs=(X,), outputs=(Y,), batched=True, **files: str):
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (folder / "served.py").write_text(HEAD + source)
        signature = Signature(DEFAULT_SIGNATURE, inputs, outputs, batched)
        signatures = {DEFAULT_SIGNATURE: signature}
        artifact = Artifact(str(tmp_path), "model/served.py", "python", signatures)
        return PythonRuntime().load(artifact, Device())

    return run


def ask(servable, **inputs):
    return servable.infer(DEFAULT_SIGNATURE, {n: np.asarray(a) for n, a in inputs.items()})


def model(body: str) -> str:
    return f"class M(PythonModel):\n    def infer(self, x: Float32['n', 2]):\n        {body}\n"


def rows(count: int = 3) -> np.ndarray:
    return np.arange(2 * count, dtype=np.float32).reshape(count, 2)


def test_it_is_a_confined_plugin_of_its_own_host():
    runtime = runtime_for("python")
    assert (runtime.name, runtime.host, runtime.confined) == ("python", "dedicated", True)


def test_a_call(serve):
    servable = serve(model("return {'y': 2 * x}"))
    np.testing.assert_array_equal(ask(servable, x=rows())["y"], 2 * rows())
    assert servable.signatures[DEFAULT_SIGNATURE].batched
    servable.close()


def test_what_came_out_of_a_frame_may_be_worked_on_in_place(serve):
    servable = serve(model("x += 1; return {'y': x}"))
    frame = np.frombuffer(rows().tobytes(), np.float32).reshape(3, 2)
    assert not frame.flags.writeable
    np.testing.assert_array_equal(ask(servable, x=frame)["y"], rows() + 1)
    np.testing.assert_array_equal(frame, rows())


def test_texts_are_str_and_scalars_are_scalars(serve):
    source = (
        "class M(PythonModel):\n"
        "    def infer(self, text, times):\n"
        "        assert isinstance(text[0], str) and isinstance(times, np.int64)\n"
        "        return {'out': [t.upper() * times for t in text]}\n"
    )
    inputs = (TensorSpec("text", DType.BYTES, (None,)), TensorSpec("times", DType.INT64, ()))
    outputs = (TensorSpec("out", DType.BYTES, (None,)),)
    servable = serve(source, inputs, outputs, batched=False)
    text = np.array([b"ab", "模".encode()], dtype=object)
    answer = ask(servable, text=text, times=np.array(2))["out"]
    assert answer.dtype == object
    assert answer.tolist() == [b"ABAB", "模模".encode()]


def test_load_reads_the_models_own_folder_and_code_is_importable(serve):
    source = (
        "import helpers\nimport shared_by_code\n"
        "class M(PythonModel):\n"
        "    def load(self, folder):\n"
        "        self.bias = float((folder / 'bias.txt').read_text())\n"
        "    def infer(self, x):\n"
        "        return {'y': x * helpers.TWO + self.bias + shared_by_code.ONE}\n"
    )
    files = {
        "model__helpers_dot_py": "TWO = 2\n",
        "model__bias_dot_txt": "0.5",
        "code__shared_by_code_dot_py": "ONE = 1\n",
    }
    np.testing.assert_array_equal(ask(serve(source, **files), x=rows())["y"], rows() * 2 + 1.5)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return [x]", "infer returned a list; expected a dict of arrays by output name"),
        ("return None", "infer returned None"),
        ("return {'z': x}", "the model returned 'z' where its signature has 'y'"),
        ("return {'y': x, 'z': x}", "the model returned 'y', 'z' where its signature has 'y'"),
        ("return {}", "the model returned nothing where its signature has 'y'"),
        ("return {'y': x[:, :1]}", "output 'y' has shape [3, 1]; expected y FP32 [n, 2]"),
        ("return {'y': x[0]}", "output 'y' has shape [2]; expected y FP32 [n, 2]"),
        ("return {'y': x[:2]}", "output 'y' has 2 rows for 3 rows of input"),
        ("return {'y': x * 1j}", "output 'y' is no tensor"),
        ("return {'y': [[1], [1, 2]]}", "output 'y' is no tensor"),
        ("return {'y': np.full((3, 2), None)}", "output 'y' holds Python objects"),
        ("return {'y': np.full((3, 2), 'a')}", "output 'y' is BYTES; expected y FP32 [n, 2]"),
        ("return {'y': np.full((3, 2), 1e300)}", "output 'y' is FP64; expected y FP32 [n, 2]"),
        ("return {'y': np.full((3, 2), 2**60 + 1)}", "output 'y' is INT64; expected y FP32"),
        ("raise TypeError('no /home/me/x.py')", "the model raised TypeError: no …"),
        ("raise SystemExit(3)", "the model raised SystemExit: 3"),
        ("return self.nothing", "the model raised AttributeError: 'M' object has no attribute"),
    ],
)
def test_what_a_model_does_wrong_is_one_sentence(serve, body, said):
    servable = serve(model(body))
    with pytest.raises(MaasError) as caught:
        ask(servable, x=rows())
    assert caught.value.kind is ErrorKind.INTERNAL
    assert said in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("error", ["ValueError('x is empty')", "KeyError('x')", "1 / 0"])
def test_a_model_may_refuse_values(serve, error):
    servable = serve(model(f"raise {error}" if "(" in error else error))
    with pytest.raises(MaasError, match="the model refused these values: ") as caught:
        ask(servable, x=rows())
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_memory_that_runs_out_is_said(serve):
    servable = serve(model("raise MemoryError"))
    with pytest.raises(MaasError, match="memory ran out") as caught:
        ask(servable, x=rows())
    assert caught.value.kind is ErrorKind.RESOURCE_EXHAUSTED


def test_the_trace_goes_to_the_models_log(serve, caplog):
    with pytest.raises(MaasError):
        ask(serve(model("return self.nothing")), x=rows())
    (record,) = caplog.records
    assert record.name == "maas.model"
    assert record.exc_info is not None


def test_an_async_infer_leaves_nothing_behind(serve):
    source = "class M(PythonModel):\n    async def infer(self, x):\n        return {'y': x}\n"
    with pytest.raises(MaasError, match="infer returned a coroutine"):
        ask(serve(source), x=rows())


@pytest.mark.parametrize(
    ("value", "dtype", "want"),
    [
        (np.array([1, 2], np.int8), DType.INT64, [1, 2]),
        ([1, 2], DType.INT8, [1, 2]),
        ([1.0, 2.0], DType.INT64, [1, 2]),
        ([True, False], DType.FP32, [1.0, 0.0]),
        (np.array([0.1, np.nan, np.inf]), DType.FP32, np.float32([0.1, np.nan, np.inf])),
        (("a", "b"), DType.BYTES, [b"a", b"b"]),
        ([1, 2], DType.FP16, [1.0, 2.0]),
    ],
    ids=lambda value: str(value) if isinstance(value, DType) else "",
)
def test_dtypes_are_cast_where_nothing_is_lost(value, dtype, want):
    spec = TensorSpec("y", dtype, (None,))
    got = conform({"y": value}, (spec,), None)["y"]
    assert got.dtype == dtype.numpy
    np.testing.assert_array_equal(got, np.array(want, dtype=dtype.numpy))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([1.5], DType.INT64),
        ([300], DType.UINT8),
        ([-1], DType.UINT64),
        (np.array([2**63 + 1], np.uint64), DType.INT64),
        ([float("nan")], DType.INT32),
        ([1], DType.BOOL),
        ([1], DType.BYTES),
        (["1"], DType.FP32),
        ([1e10], DType.FP16),
    ],
    ids=str,
)
def test_dtypes_are_not_cast_where_something_is_lost(value, dtype):
    with pytest.raises(MaasError, match="expected y "):
        conform({"y": value}, (TensorSpec("y", dtype, (None,)),), None)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('no weights')", "served.py could not be imported: RuntimeError: no"),
        ("import sys; sys.exit(2)", "served.py could not be imported: SystemExit: 2"),
        ("import nowhere_to_be_found.at_all", "served.py needs module 'nowhere_to_be_found': add"),
        ("x = 1", "served.py has no class that derives from maas.PythonModel"),
        ("class A(PythonModel): pass\nclass B(PythonModel): pass", "several models (A, B)"),
        ("def f(:", "served.py could not be imported: SyntaxError"),
        (
            "class M(PythonModel):\n    def load(self, folder): open(folder / 'w')",
            "M could not be loaded: FileNotFoundError: ",
        ),
        (
            "class M(PythonModel):\n    requires = ('nowhere-to-be-found>=3',)",
            "M requires nowhere-to-be-found>=3 (not installed); where the server runs: "
            "pip install 'nowhere-to-be-found>=3'",
        ),
    ],
)
def test_what_cannot_be_loaded_says_why(serve, source, said, tmp_path):
    with pytest.raises(MaasError) as caught:
        serve(source)
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    assert said in caught.value.message
    assert str(tmp_path) not in caught.value.message


def test_the_last_of_a_line_of_classes_is_the_model(serve):
    source = "class Base(PythonModel): pass\nclass Last(Base):\n    def infer(self, x): "
    assert ask(serve(source + "return {'y': x}"), x=rows())


def test_settings_choose_the_class(serve):
    source = "\n".join(
        f"class {name}(PythonModel):\n    def infer(self, x): return {{'y': x * {times}}}"
        for name, times in (("A", 2), ("B", 3))
    )
    chosen = serve(source, model__model_dot_toml='class = "B"\n')
    np.testing.assert_array_equal(ask(chosen, x=rows())["y"], rows() * 3)
    with pytest.raises(MaasError, match=r"says class = 'C', which served.py does not have"):
        serve(source, model__model_dot_toml='class = "C"\n')


@pytest.mark.parametrize(
    "text", ["class = 3", "klass = 'M'", "[[inputs]]\nname = 'x'", "= =", "\0"], ids=repr
)
def test_settings_that_are_none(tmp_path, text):
    (tmp_path / "model.toml").write_text(text)
    with pytest.raises(MaasError, match=r"model.toml cannot be read: "):
        read_settings(tmp_path)


def test_a_package_whose_model_is_in_model_py(tmp_path):
    package = tmp_path / "churn_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "rate.py").write_text("RATE = 7\n")
    (package / "model.py").write_text(
        f"{HEAD}from .rate import RATE\nclass M(PythonModel):\n    rate = RATE\n"
    )
    found = open_class(package / "__init__.py", read_settings(package))
    assert found.rate == 7
    assert found.__module__ == "churn_package.model"


@pytest.mark.parametrize(
    ("entry", "inits"),
    [("__init__.py", True), ("model.py", True), ("model.py", False)],
    ids=["package", "module of a package", "folder without __init__"],
)
def test_a_package_finds_itself_by_its_name(tmp_path, entry, inits):
    package = tmp_path / "tea_house"
    (package / "leaves").mkdir(parents=True)
    if inits:
        (package / "__init__.py").write_text("")
        (package / "leaves" / "__init__.py").write_text("")
    (package / "leaves" / "green.py").write_text("RATE = 7\n")
    (package / entry).write_text(
        f"{HEAD}from tea_house.leaves.green import RATE\nclass M(PythonModel):\n    rate = RATE\n"
    )
    assert open_class(package / entry, read_settings(package)).rate == 7


def test_a_package_named_like_a_library_takes_nothing_from_it(tmp_path):
    package = tmp_path / "sqlite3"
    package.mkdir()
    (package / "__init__.py").write_text(f"{HEAD}class M(PythonModel):\n    pass\n")
    (package / "other.py").write_text("")
    assert open_class(package / "__init__.py", read_settings(package)).__name__ == "M"
    other = tmp_path / "packaging"
    other.mkdir()
    (other / "__init__.py").write_text(
        f"{HEAD}from packaging.version import Version\n"
        "class M(PythonModel):\n    newest = Version('2')\n"
    )
    assert open_class(other / "__init__.py", read_settings(other)).newest.major == 2


def test_a_file_named_like_a_module_of_ours_takes_nothing_from_it(tmp_path):
    for name in ("numpy.py", "json.py", "not an identifier.py"):
        file = tmp_path / name
        file.write_text(f"{HEAD}class M(PythonModel): pass\n")
        assert open_class(file, read_settings(tmp_path)).__name__ == "M"
    assert sys.modules["numpy"] is np


def test_requirements():
    here = np.__version__
    check_requires(("numpy>=1", f"NumPy=={here}", "nothing; python_version < '3'"), "M")
    check_requires("numpy", "M")
    with pytest.raises(MaasError, match=rf"M requires numpy>=999 \({here}\); .*'numpy>=999'$"):
        check_requires(("numpy>=999", "msgspec"), "M")
    with pytest.raises(MaasError, match="which is not written as pip does"):
        check_requires(("numpy >>> 2",), "M")


def test_the_estimate_grows_with_the_files(tmp_path):
    (tmp_path / "m.py").write_bytes(bytes(1 << 20))
    artifact = Artifact(str(tmp_path), "m.py", "python", {})
    assert PythonRuntime().estimate(artifact).memory_bytes == 260 << 20
    assert Path(artifact.file).exists()
