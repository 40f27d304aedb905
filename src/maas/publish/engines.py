"""Which engines may serve what was published, and what `--engine` may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.ports import Accelerated, Runtime
from maas.publish.messages import Finding

ONNX = "onnx"
"""The format that everything is lowered to, and the engine that every lowering is proven with."""
NATIVE = {
    "onnx": "onnx",
    "skops": "sklearn",
    "pickle": "pickle",
    "keras": "keras",
    "keras-h5": "keras",
    "savedmodel": "tensorflow",
    "python": "python",
    "upstream": "upstream",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "pt2": "torch",
    "torchscript": "torch",
}
"""The format of what was published → the runtime that serves it in that form."""
GGUF = "gguf"
LANGUAGE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        GGUF: ("openvino-genai", "llamacpp"),
        "openvino-ir-llm": ("openvino-genai",),
        "huggingface": ("openvino-genai", "llamacpp", "transformers"),
    }
)
"""Language models, as they are published → the engines that may serve them, likeliest first."""
NEVER_LOWERED = frozenset({"python", "upstream"})
FOLDERS = {"mlflow": "mlflow", "triton": "triton-python"}
"""Folders made for another server, which hold a model of any format → the runtime of their own
code."""
CODE = frozenset({"pickle", "python", "keras-h5", "torchscript", *FOLDERS.values()})
"""Formats of artifacts that only `--trust` lets in."""


def engines_for(format_: str, runtimes: Mapping[str, Runtime]) -> tuple[str, ...]:
    """The runtimes that may serve a published format, the one for its own form first.

    Args:
        format_: as detected.
        runtimes: those there are, by name.
    """
    if format_ in FOLDERS:
        others = {*NATIVE.values(), FOLDERS[format_]} - {"python", "upstream"}
        return (ONNX, *sorted(name for name in {*others, *racers(runtimes)} if name != ONNX))
    if format_ in LANGUAGE:
        return tuple(name for name in LANGUAGE[format_] if name in runtimes)
    native = NATIVE[format_]
    lowered = () if format_ in NEVER_LOWERED else racers(runtimes)
    return (native, *(name for name in lowered if name != native))


def racers(runtimes: Mapping[str, Runtime]) -> tuple[str, ...]:
    """The runtimes that open ONNX on this machine, ONNX Runtime first."""
    found = sorted(
        name
        for name, runtime in runtimes.items()
        if ONNX in runtime.formats and not lacking(runtime)
    )
    return tuple(sorted(found, key=lambda name: name != ONNX))


def lacking(runtime: Runtime) -> str:
    """What a runtime does not find on this machine; empty where it can serve."""
    return runtime.lacking() if isinstance(runtime, Accelerated) else ""


def check_engine(asked: str, format_: str, runtimes: Mapping[str, Runtime]) -> None:
    """Refuses an engine that could not serve the format, before anything is opened.

    Raises:
        MaasError: INVALID_ARGUMENT, with the names that are possible; FAILED_PRECONDITION for one
            that this machine lacks something for.
    """
    runtime = runtimes.get(asked)
    missing = "" if runtime is None else lacking(runtime)
    if missing:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION, f"engine {asked!r} cannot serve here: {missing}"
        )
    possible = engines_for(format_, runtimes)
    if asked and asked not in possible:
        raise invalid(
            f"engine {asked[:60]!r} cannot serve a model published as {format_}; possible "
            f"{'is' if len(possible) == 1 else 'are'} {', '.join(possible)}"
        )


def check_obeyed(asked: str, finding: Finding) -> None:
    """Refuses a finding that the engine asked for cannot serve.

    Raises:
        MaasError: INVALID_ARGUMENT with the finding's reason.
    """
    if not asked or finding.engine == asked:
        return
    if finding.format != ONNX or asked in ({*NATIVE.values(), *FOLDERS.values()} - {ONNX}):
        raise invalid(
            f"engine {asked!r} cannot serve this model: {finding.reason}; leave --engine out"
        )


def check_trusted(trust: bool, finding: Finding) -> None:
    """Refuses a finding that would serve code which was not published as trusted.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    if finding.format in CODE and not trust:
        raise invalid("what the model's reader found is code; publish it with --trust")
