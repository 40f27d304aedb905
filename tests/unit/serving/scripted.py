"""A confined runtime for tests: a model is a Python file with `infer(x)`, run in the worker.

It is found as anybody's runtime is, through an entry point; `installed` makes a folder that holds
one, to be put on PYTHONPATH.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec

SIGNATURE = Signature(
    DEFAULT_SIGNATURE,
    (TensorSpec("x", DType.FP32, (None, 4)),),
    (TensorSpec("y", DType.FP32, (None, 4)),),
    batched=True,
)
TEXTS = Signature(
    "texts",
    (TensorSpec("text", DType.BYTES, (None,)), TensorSpec("times", DType.INT64, ())),
    (TensorSpec("loud", DType.BYTES, (None,)), TensorSpec("count", DType.INT64, ())),
    batched=False,
)
SIGNATURES = {one.name: one for one in (SIGNATURE, TEXTS)}
DOUBLER = "def infer(x): return {'y': 2 * x}"

RUNTIME = '''
from maas.core.ports import Resources


class ScriptRuntime:
    """Serves `script` artifacts."""

    name = "script"
    platform = "script"
    formats = frozenset({"script"})
    host = "dedicated"
    confined = True

    def estimate(self, artifact):
        return Resources(1 << 20)

    def load(self, artifact, device):
        names = {"__name__": "model", "folder": artifact.path, "device": device}
        exec(compile(artifact.file.read_text(), "model.py", "exec"), names)
        return Script(names["infer"], artifact.signatures)


class Script:
    def __init__(self, infer, signatures):
        self._infer = infer
        self.signatures = signatures

    def infer(self, signature, inputs):
        return self._infer(**inputs)

    def close(self):
        pass
'''


def installed(folder: Path) -> Path:
    """Makes a folder with the runtime and its entry point."""
    described = folder / "maas_scripted-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: maas-scripted\nVersion: 1.0\n"
    )
    (described / "entry_points.txt").write_text(
        "[maas.runtimes]\nscript = maas_scripted:ScriptRuntime\n"
    )
    (folder / "maas_scripted.py").write_text(RUNTIME)
    return folder


def written(folder: Path, source: str) -> Path:
    """Writes a model's file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.py"
    file.write_text(textwrap.dedent(source))
    return file
