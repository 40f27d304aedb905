"""The rules that the official clients show: which script shows which, with what client.

A script's checks are read from its text, so that no client is imported here: two of them define
the same protobuf names, and most are not installed in this environment.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from msgspec import Struct

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PINS = (ROOT / "constraints.txt", HERE / "clients.txt")

FAMILIES = {
    "OIP-REST": "Open Inference Protocol, REST (Triton, KServe V2)",
    "OIP-GRPC": "Open Inference Protocol, gRPC (Triton, KServe V2)",
    "TFS-REST": "TensorFlow Serving, REST",
    "TFS-GRPC": "TensorFlow Serving, gRPC",
    "KSERVE": "KServe V1",
    "MLFLOW": "MLflow scoring, SageMaker",
    "TORCHSERVE": "TorchServe, MXNet Model Server",
    "OPENAI": "OpenAI",
    "GRPC": "gRPC's health and reflection",
}
"""In the order of the document."""


class Script(Struct, frozen=True):
    """One official client's checks.

    Args:
        name: of it, and of its file in `clients` unless that is given.
        client: what the document calls it.
        package: whose version the document gives, as pinned.
        apart: it runs in `.venv-clients`.
        grpc: it needs the server's gRPC.
        file: another name's, where several versions of a client run the same checks.
    """

    name: str
    client: str
    package: str
    apart: bool = False
    grpc: bool = False
    file: str = ""

    @property
    def path(self) -> Path:
        return HERE / "clients" / f"{self.file or self.name}.py"


SCRIPTS = (
    Script("triton_http", "tritonclient.http", "tritonclient"),
    Script("triton_http_aio", "tritonclient.http.aio", "tritonclient"),
    Script("triton_grpc", "tritonclient.grpc", "tritonclient", grpc=True),
    Script("triton_grpc_aio", "tritonclient.grpc.aio", "tritonclient", grpc=True),
    Script("tfserving_grpc", "tensorflow-serving-api", "tensorflow-serving-api", grpc=True),
    Script("kserve_rest", "kserve.InferenceRESTClient", "kserve", apart=True),
    Script("kserve_grpc", "kserve.InferenceGRPCClient", "kserve", apart=True, grpc=True),
    Script("mlflow_scoring", "mlflow ScoringServerClient", "mlflow-skinny"),
    Script("openai_3", "openai.OpenAI", "openai", file="openai_chat"),
    Script("openai_3_async", "openai.AsyncOpenAI", "openai", file="openai_async"),
    Script("openai_2", "openai.OpenAI", "openai", apart=True, file="openai_chat"),
    Script("openai_2_async", "openai.AsyncOpenAI", "openai", apart=True, file="openai_async"),
    Script("langchain_chat", "LangChain ChatOpenAI", "langchain-openai"),
    Script("lm_eval_harness", "lm-evaluation-harness", "lm_eval", apart=True),
    Script("grpc_tools", "grpcio-health-checking", "grpcio-health-checking", apart=True, grpc=True),
)
REQUESTS = ("requests", "requests")
"""The client of the rules that are shown over plain HTTP, and its package."""


class Check(Struct, frozen=True):
    """What a check shows: a row's family and rule, and why it is not kept where it is not."""

    family: str
    rule: str
    reason: str = ""
    instead: str = ""


def checks_of(script: Script) -> dict[str, Check]:
    """The checks of a script, by name."""
    found = {}
    for node in ast.parse(script.path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.name.startswith("check_"):
                continue
            first, *rest = (ast.get_docstring(node) or "").splitlines()
            family, colon, rule = first.partition(": ")
            assert colon, f"{script.name}.{node.name}"
            assert family in FAMILIES, f"{script.name}.{node.name}"
            further = dict(line.split(": ", 1) for line in rest if line)
            reason, instead = further.get("Reason", ""), further.get("Instead", "")
            found[node.name] = Check(family, rule, reason, instead)
    return found


def version_of(package: str, apart: bool = False) -> str:
    """The version of a client that the tests are pinned to, here or in `.venv-clients`."""
    for pins in reversed(PINS) if apart else PINS:
        match = re.search(rf"^{re.escape(package)}==(\S+)$", pins.read_text(), re.MULTILINE)
        if match:
            return match[1]
    raise LookupError(f"{package} is pinned nowhere")
