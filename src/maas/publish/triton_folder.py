"""A Triton model's folder: which version is meant, which backend, and which of its files it opens.

NAME/config.pbtxt                 what the model takes and gives, its backend
NAME/1/model.onnx, NAME/3/…       a folder for each version
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from maas.core.errors import invalid
from maas.publish.detect_folder import CONFIG, DEFAULT_FILES, inside, version_folders
from maas.publish.pbtxt import read_config

ACCEPTED = (
    "accepted are onnxruntime (model.onnx), tensorflow (model.savedmodel), pytorch (model.pt), fil "
    "(XGBoost and LightGBM) and python (model.py, with --trust)"
)
PLATFORMS = {
    "onnxruntime_onnx": "onnxruntime",
    "tensorflow_savedmodel": "tensorflow",
    "pytorch_libtorch": "pytorch",
    "tensorflow_graphdef": "tensorflow_graphdef",
    "tensorrt_plan": "tensorrt",
}
"""Triton's older `platform` → the backend that it means; of another, the backend has its name."""
FILES = {
    "onnxruntime": "model.onnx",
    "tensorflow": "model.savedmodel",
    "pytorch": "model.pt",
    "python": "model.py",
    "openvino": "model.xml",
}
"""What each backend opens where the configuration names nothing else. Source: Triton's
model repository documentation, "Model Files"."""
FOREST_FILES = {
    "": "xgboost.model",
    "xgboost": "xgboost.model",
    "xgboost_json": "xgboost.json",
    "xgboost_ubj": "xgboost.ubj",
    "lightgbm": "model.txt",
}
"""The same of the fil backend, by its parameter `model_type`."""
ACCEPTED_BACKENDS = frozenset({"onnxruntime", "tensorflow", "pytorch", "fil", "python"})


class TritonFolder(Struct, frozen=True):
    """One version of a Triton model, as its folder has it.

    Args:
        folder: with `config.pbtxt`, or without where Triton completes it.
        config: an `inference.ModelConfig`.
        version: the highest number there is.
        others: the numbers of the other versions.
        backend: one of `ACCEPTED_BACKENDS`.
        file: what the backend opens, a file or a SavedModel's folder.
    """

    folder: Path
    config: Any
    version: int
    others: tuple[int, ...]
    backend: str
    file: Path

    @property
    def batches(self) -> bool:
        """Whether the dims of the configuration leave out an axis before them, the batch's."""
        return bool(self.config.max_batch_size > 0)


def read_folder(folder: Path) -> TritonFolder:
    """Reads the configuration and finds what is to be served.

    Raises:
        MaasError: INVALID_ARGUMENT: what is missing, or not served and why.
    """
    config = read_config(folder / CONFIG)
    check_kind(config)
    versions = version_folders(folder)
    if not versions:
        raise invalid(
            f"the Triton model has no version folder beside {CONFIG}; expected one such as 1/ "
            "with the model in it"
        )
    place = folder / versions[0]
    backend = _backend(config, place)
    if backend not in ACCEPTED_BACKENDS:
        what = "is not served yet" if backend == "openvino" else "is not served here"
        raise invalid(f"the Triton backend {backend[:60]!r} {what}; {ACCEPTED}")
    name = config.default_model_filename or _default_file(config, backend)
    return TritonFolder(
        folder=folder,
        config=config,
        version=int(versions[0]),
        others=tuple(sorted(map(int, versions[1:]))),
        backend=backend,
        file=inside(place, name, f"version {versions[0]} of the Triton model"),
    )


def check_kind(config: Any) -> None:
    """Refuses what is no single model that answers a call with an answer.

    Args:
        config: an `inference.ModelConfig`.

    Raises:
        MaasError: INVALID_ARGUMENT, by the name of what it is.
    """
    if config.platform == "ensemble" or config.HasField("ensemble_scheduling"):
        steps = ", ".join(repr(step.model_name[:40]) for step in config.ensemble_scheduling.step)
        raise invalid(
            f"the Triton model is an ensemble (of {steps or 'no steps'}), and pipelines of models "
            "are not built yet; publish each of its models"
        )
    if config.model_transaction_policy.decoupled:
        raise invalid(
            "the Triton model is decoupled (model_transaction_policy), which answers a call any "
            "number of times; expected one answer to each call"
        )
    if config.HasField("sequence_batching"):
        raise invalid(
            "the Triton model keeps state between calls (sequence_batching), which is not served "
            "here; publish one that takes its state as an input"
        )
    for tensor in (*config.input, *config.output):
        if tensor.HasField("reshape"):
            raise invalid(
                f"{CONFIG} reshapes {tensor.name[:60]!r}, which is not done here; give it the dims "
                "that the model itself has"
            )


def _backend(config: Any, place: Path) -> str:
    if config.backend:
        return str(config.backend)
    if config.platform:
        return PLATFORMS.get(config.platform, str(config.platform))
    held = {child.name for child in place.iterdir()}
    for backend, file in FILES.items():
        if file in held or (config.default_model_filename or "-").endswith(file[5:]):
            return backend
    raise invalid(
        f"neither {CONFIG} nor version {place.name} of the Triton model says which backend serves "
        f"it; expected a backend, or one of {', '.join(DEFAULT_FILES)} in the version's folder"
    )


def _default_file(config: Any, backend: str) -> str:
    if backend != "fil":
        return FILES[backend]
    kind = config.parameters["model_type"].string_value if "model_type" in config.parameters else ""
    if kind not in FOREST_FILES:
        raise invalid(
            f"the fil backend's model_type {kind[:40]!r} is not served here; expected one of "
            f"{', '.join(sorted(filter(None, FOREST_FILES)))}"
        )
    return FOREST_FILES[kind]
