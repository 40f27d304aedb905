"""Models of Triton's Python backend: `TritonPythonModel` of a `model.py`, in the sandbox for life.

initialize(args) ─▶ execute([request]) ─▶ [response] … until the worker ends ─▶ finalize()
"""

from __future__ import annotations

import inspect
import json
import logging
import sys
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.ports import Artifact, Device, Resources
from maas.runtimes import triton_python_utils as utils
from maas.runtimes.python import PythonServable, RawModel, code_resources
from maas.runtimes.python_source import CODE, import_file, in_words, search_here

ARGUMENTS = "triton.json"
"""The file of an artifact with what `initialize` is told."""
UTILS = "triton_python_backend_utils"
MODEL = "TritonPythonModel"
log = logging.getLogger("maas.model")


class TritonArguments(Struct, frozen=True):
    """What a model is told of itself.

    Args:
        name: the model's.
        version: its number in the repository it came from.
        config: its configuration, complete.
    """

    name: str
    version: int
    config: dict[str, Any]


class TritonPythonRuntime:
    """Serves `triton-python` artifacts: a model's folder with the one version, as Triton has it."""

    name = "triton-python"
    platform = "python"
    formats = frozenset({"triton-python"})
    host: Literal["shared", "dedicated"] = "dedicated"
    confined = True

    def estimate(self, artifact: Artifact) -> Resources:
        """Four times the files, and 256 MiB for an interpreter with some libraries.

        What the code takes beyond that nobody knows; the watchdog bounds it.
        """
        return code_resources(artifact)

    def load(self, artifact: Artifact, device: Device) -> PythonServable:
        """Imports the model's code and initialises the model; only ever in the sandbox.

        Raises:
            MaasError: FAILED_PRECONDITION with the model's own words.
        """
        search_here(Path(artifact.path) / CODE)
        said = (Path(artifact.path) / ARGUMENTS).read_bytes()
        arguments = msgspec.json.decode(said, type=TritonArguments)
        try:
            model = open_model(artifact.file)
        except MaasError as error:
            raise MaasError(ErrorKind.FAILED_PRECONDITION, error.message) from error
        return PythonServable(TritonModel(model, artifact.file, arguments), artifact.signatures)


def open_model(file: Path) -> type[Any]:
    """Imports a `model.py` and gives its `TritonPythonModel`.

    Args:
        file: in its version's folder; that folder and the one above are searched for modules.

    Raises:
        MaasError: FAILED_PRECONDITION where it cannot be imported, INVALID_ARGUMENT where it holds
            no such class.
    """
    sys.modules[UTILS] = utils
    search_here(file.parent.parent, file.parent)
    model: Any = getattr(import_file(file), MODEL, None)
    execute = getattr(model, "execute", None)
    if not inspect.isclass(model) or not callable(execute):
        raise invalid(f"{file.name} has no class {MODEL} with an execute method; expected one")
    if inspect.iscoroutinefunction(execute):
        raise invalid(f"{MODEL}.execute is async; expected a plain method")
    return model


def complete(model: type[Any], config: dict[str, Any]) -> dict[str, Any]:
    """What the model's `auto_complete_config` makes of a configuration that leaves things out.

    Args:
        model: of `open_model`.
        config: as `config.pbtxt` has it.

    Raises:
        MaasError: FAILED_PRECONDITION with the model's own words.
    """
    work = getattr(model, "auto_complete_config", None)
    if work is None:
        return config
    try:
        made: object = work(utils.ModelConfig(config))
    except (Exception, SystemExit) as error:
        raise _failed("auto_complete_config", error) from error
    if not isinstance(made, utils.ModelConfig):
        raise invalid("auto_complete_config returned no configuration; return what it was given")
    return made.as_dict()


class TritonModel(RawModel):
    """A model with Triton's methods, called as one with ours is."""

    def __init__(self, model: type[Any], file: Path, arguments: TritonArguments):
        """Makes the model and initialises it.

        Raises:
            MaasError: FAILED_PRECONDITION with the model's own words.
        """
        config = arguments.config
        self._most = int(config["max_batch_size"])
        self._outputs = [tensor["name"] for tensor in config["output"]]
        self._arguments = arguments
        try:
            self._model = model()
            if hasattr(self._model, "initialize"):
                self._model.initialize(
                    {
                        "model_config": json.dumps(config),
                        "model_instance_kind": "CPU",
                        "model_instance_name": f"{arguments.name}_0_0",
                        "model_instance_device_id": "0",
                        "model_repository": str(file.parent.parent),
                        "model_version": str(arguments.version),
                        "model_name": arguments.name,
                    }
                )
        except (Exception, SystemExit) as error:
            raise _failed("initialize", error) from error

    def infer(self, **inputs: np.ndarray) -> dict[str, Any]:
        """Answers one call or batch; no request has more rows than `max_batch_size`.

        Raises:
            ValueError: the model says that the values are wrong.
            RuntimeError: the model says that it failed, or answers otherwise than Triton asks.
        """
        rows = len(next(iter(inputs.values()))) if self._most else 0
        if rows <= self._most:
            return self._execute(inputs)
        parts = [
            self._execute({n: a[start : start + self._most] for n, a in inputs.items()})
            for start in range(0, rows, self._most)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _execute(self, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
        request = utils.InferenceRequest(
            inputs=[utils.Tensor(name, array) for name, array in inputs.items()],
            requested_output_names=self._outputs,
            model_name=self._arguments.name,
            model_version=self._arguments.version,
        )
        responses: object = self._model.execute([request])
        if not isinstance(responses, list | tuple) or len(responses) != 1:
            raise RuntimeError(
                f"execute returned {_shown(responses)} for one request; expected a list with one "
                "InferenceResponse"
            )
        response = responses[0]
        if not isinstance(response, utils.InferenceResponse):
            raise RuntimeError(
                f"execute answered with a {type(response).__name__}; expected an InferenceResponse"
            )
        error = response.error()
        if error is not None:
            wrong = isinstance(error, utils.TritonError) and error.code() == error.INVALID_ARG
            raise (ValueError if wrong else RuntimeError)(str(error))
        # An output beyond those of the configuration was asked for by nobody.
        return {
            tensor.name(): tensor.as_numpy()
            for tensor in response.output_tensors()
            if tensor.name() in self._outputs
        }

    def close(self) -> None:
        """Lets the model clean up."""
        try:
            if hasattr(self._model, "finalize"):
                self._model.finalize()
        except (Exception, SystemExit) as error:
            log.warning("finalize failed", exc_info=error)


def _shown(responses: object) -> str:
    if isinstance(responses, list | tuple):
        return f"{len(responses)} responses"
    return "None" if responses is None else f"a {type(responses).__name__}"


def _failed(what: str, error: BaseException) -> MaasError:
    log.warning("%s failed", what, exc_info=error)
    return MaasError(ErrorKind.FAILED_PRECONDITION, f"the model's {what} failed: {in_words(error)}")
