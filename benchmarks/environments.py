"""One virtual environment per peer, made once with `venv` and `pip`, then reused.

requirements ─▶ stamp (their digest) ─▶ same as last time? keep : make anew
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE / ".envs"
CACHE = HERE / ".cache"

INSTALL_TIMEOUT_S = 1200


@dataclass(frozen=True)
class Environment:
    """A virtual environment and what it holds.

    Attributes:
        name: The folder's name under `benchmarks/.envs`.
        requirements: What pip is given, one entry each.
        fresh: Install again on every run; for the checkout, whose version does not change with it.
        shown: Distributions whose versions go into the results.
    """

    name: str
    requirements: tuple[str, ...]
    fresh: bool = False
    shown: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The environment's folder."""
        return ENVIRONMENTS / self.name

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / "bin" / "python"

    def program(self, name: str) -> Path:
        """The path of a console script that the environment installed."""
        return self.folder / "bin" / name

    def make(self) -> None:
        """Make the environment, unless it is there with these requirements.

        Raises:
            RuntimeError: pip failed; the message holds the end of what it said.
        """
        stamp = self.folder / "requirements.json"
        wanted = json.dumps({"python": sys.version, "requirements": self.requirements})
        made = stamp.exists() and stamp.read_text() == wanted
        if made and not self.fresh:
            return
        if not made:
            print(f"making the environment of {self.name} …", flush=True)
            shutil.rmtree(self.folder, ignore_errors=True)
            self._do([sys.executable, "-m", "venv", str(self.folder)])
        self._do([str(self.python), "-m", "pip", "install", "--quiet", *self.requirements])
        stamp.write_text(wanted)

    def versions(self) -> dict[str, str]:
        """The installed versions of the distributions named in `shown`."""
        code = (
            "import json, sys, importlib.metadata as m;"
            "print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
        )
        done = subprocess.run(
            [str(self.python), "-c", code, *self.shown],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        versions: dict[str, str] = json.loads(done.stdout)
        return versions

    def _do(self, command: list[str]) -> None:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
            cwd=ROOT,
        )
        if done.returncode != 0:
            said = (done.stdout + done.stderr)[-2000:]
            raise RuntimeError(f"the environment of {self.name} could not be made:\n{said}")


TOOLS = Environment(
    name="tools",
    requirements=("numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx", "matplotlib"),
    shown=("onnx", "onnxruntime", "scikit-learn", "skl2onnx"),
)
CLIENTS = Environment(
    name="clients",
    requirements=("numpy", "onnx", "onnxruntime", "tritonclient[http,grpc]"),
    shown=("tritonclient", "grpcio"),
)
FLASK = Environment(
    name="flask",
    requirements=("flask", "gunicorn", "numpy", "onnxruntime"),
    shown=("flask", "gunicorn", "onnxruntime"),
)
FASTAPI = Environment(
    name="fastapi",
    requirements=("fastapi", "uvicorn", "uvloop", "httptools", "numpy", "onnxruntime"),
    shown=("fastapi", "pydantic", "uvicorn", "uvloop", "onnxruntime"),
)
MLSERVER = Environment(
    name="mlserver",
    requirements=("mlserver==1.7.*", "uvloop<0.22", "onnxruntime"),  # 1.7 predates uvloop 0.22
    shown=("mlserver", "uvloop", "onnxruntime"),
)
TRITON = Environment(
    name="triton",
    requirements=("nvidia-pytriton", "numpy", "onnxruntime"),
    shown=("nvidia-pytriton", "onnxruntime"),
)
MAAS = Environment(
    name="maas",
    requirements=(str(ROOT),),
    fresh=True,
    shown=("maas-server", "pyvoy", "uvloop", "onnxruntime"),
)
TRAINED = Environment(
    name="trained",
    requirements=(
        "flask",
        "gunicorn",
        "fastapi",
        "uvicorn",
        "uvloop",
        "httptools",
        "scikit-learn",
        "skops",
        "joblib",
        "tensorflow-cpu",
        "h5py",
    ),
    shown=("flask", "gunicorn", "fastapi", "uvicorn", "scikit-learn", "tensorflow-cpu", "keras"),
)
MAAS_FRAMEWORKS = Environment(
    name="maas-frameworks",
    requirements=(f"{ROOT}[sklearn,tensorflow,openvino]",),
    fresh=True,
    shown=("maas-server", "onnxruntime", "openvino", "scikit-learn", "tensorflow-cpu", "keras"),
)
MAAS_LLM = Environment(
    name="maas-llm",
    requirements=(f"{ROOT}[llm]",),
    fresh=True,
    shown=("maas-server", "openvino", "openvino-genai", "xllamacpp", "onnxruntime"),
)
