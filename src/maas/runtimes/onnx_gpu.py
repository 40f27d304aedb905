"""ONNX through ONNX Runtime on an NVIDIA GPU: its CUDA provider, and TensorRT on top of it.

What a provider does not have is computed by the next one, the processor last. Numbers are held in
float32 throughout (no TF32), so that answers stay those of the processor within what float32 loses.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import io
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import Artifact, Device, Resources
from maas.core.signature import Signature, describe_spec
from maas.core.tensor import DType
from maas.runtimes.onnx import OnnxServable, files_of, open_session

MIB = 1 << 20

CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
CPU = "CPUExecutionProvider"
CUDA_OPTIONS = {
    # An exhaustive search would be made anew for every size of batch.
    "cudnn_conv_algo_search": "HEURISTIC",
    # Memory grows by what is asked for, so that models can share a GPU.
    "arena_extend_strategy": "kSameAsRequested",
    "use_tf32": "0",
}
ROWS = (1, 16, 256)
"""Fewest, usual and most rows of a call that TensorRT is prepared for."""
DRIVER = ("/dev/nvidiactl", "/dev/dxg")
"""There where the driver is; the second one in Windows' Linux."""
CUDA_CURE = "pip install 'onnxruntime-gpu[cuda,cudnn]'"
TENSORRT_CURE = "pip install tensorrt"
NOT_STARTED = "Please install TensorRT"
"""In what ONNX Runtime says where TensorRT's libraries cannot be loaded."""
_ABSENT = re.compile(r"Failed to load (\S+?):")
NVINFER = ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10")


class OnnxCudaRuntime:
    """Serves `onnx` artifacts on a GPU. One host each: what it takes goes with the process.

    Args:
        driver: device files, one of which is there with NVIDIA's driver.
        libraries: the folder of ONNX Runtime's own libraries; found where None.
    """

    name = "onnx-cuda"
    platform = "onnxruntime_onnx"
    formats = frozenset({"onnx"})
    host: Literal["shared", "dedicated"] = "dedicated"
    confined = False
    device = "cuda"
    provider = CUDA

    def __init__(self, driver: tuple[str, ...] = DRIVER, libraries: Path | None = None):
        self._driver = driver
        self._libraries = libraries

    def estimate(self, artifact: Artifact) -> Resources:
        """Four times the files, and 1 GiB: CUDA's context, and kernels of every kind of GPU.

        This is the process's memory. What it takes of the GPU's is not measured.
        """
        files = sum(f.stat().st_size for f in Path(artifact.path).rglob("*") if f.is_file())
        return Resources(memory_bytes=4 * files + 1024 * MIB)

    def lacking(self) -> str:
        """What is not there, and how to get it; empty where everything seems to be.

        Nothing is opened: control asks, which holds no engine.
        """
        missing = []
        if not self._provider_library().is_file():
            missing.append(
                f"this ONNX Runtime has no {self._label()} provider: pip uninstall onnxruntime, "
                f"then {CUDA_CURE}"
            )
        if not self.has_driver():
            missing.append("no NVIDIA driver found")
        return "; ".join(missing)

    def has_driver(self) -> bool:
        """Whether NVIDIA's driver is there."""
        return any(Path(path).exists() for path in self._driver)

    def load(self, artifact: Artifact, device: Device) -> OnnxServable:
        """Opens a session on the GPU.

        Raises:
            MaasError: FAILED_PRECONDITION where something is missing, or the model does not open.
        """
        missing = self.lacking()
        if missing:
            raise self._cannot(missing)
        absent = self._prepare()
        sessions = {}
        try:
            for name, file in files_of(artifact).items():
                providers = self._providers(artifact.signatures.get(name))
                sessions[name] = self._open(file, device.threads, providers, absent)
        except MaasError as error:
            raise MaasError(ErrorKind.FAILED_PRECONDITION, error.message) from error
        return OnnxServable(sessions, artifact.signatures)

    def _open(self, file: Path, threads: int, providers: list[Any], absent: tuple[str, ...]) -> Any:
        """Opens a session that has the provider.

        Raises:
            MaasError: FAILED_PRECONDITION where it has not, INVALID_ARGUMENT for the model.
        """
        try:
            session = open_session(file, threads, providers)
        except MaasError as error:
            if NOT_STARTED not in error.message:
                raise
            session = None
        # ONNX Runtime leaves a provider out that it cannot start, and says so in its log alone.
        if session is None or self.provider not in session.get_providers():
            named = f" ({', '.join(absent)})" if absent else ""
            raise self._cannot(
                f"ONNX Runtime could not start its {self._label()} provider; libraries that it "
                f"needs are missing or of other versions{named}: {self._cure()}"
            )
        return session

    def _providers(self, signature: Signature | None) -> list[Any]:
        return [(CUDA, CUDA_OPTIONS), CPU]

    def _prepare(self) -> tuple[str, ...]:
        """Loads CUDA's libraries from their wheels, where they are installed so.

        Returns:
            The names of those that are not there.
        """
        import onnxruntime

        # What it does not find it prints, and stdout is not for that.
        with contextlib.redirect_stdout(io.StringIO()) as said:
            onnxruntime.preload_dlls()
        return tuple(dict.fromkeys(_ABSENT.findall(said.getvalue())))

    def _provider_library(self) -> Path:
        folder = self._libraries
        if folder is None:
            spec = find_spec("onnxruntime")
            places = spec.submodule_search_locations if spec is not None else None
            folder = Path(next(iter(places or ("",)))) / "capi"
        return folder / f"libonnxruntime_providers_{self.device}.so"

    def _label(self) -> str:
        return "CUDA"

    def _cure(self) -> str:
        return CUDA_CURE

    def _cannot(self, reason: str) -> MaasError:
        return MaasError(
            ErrorKind.FAILED_PRECONDITION, f"{self.name} cannot serve on this machine: {reason}"
        )


class OnnxTensorRTRuntime(OnnxCudaRuntime):
    """Serves `onnx` artifacts with TensorRT, which compiles them when they are loaded."""

    name = "onnx-tensorrt"
    device = "tensorrt"
    provider = TENSORRT

    def lacking(self) -> str:
        """What is not there, and how to get it; empty where everything seems to be."""
        missing = [text for text in (super().lacking(),) if text]
        if ctypes.util.find_library("nvinfer") is None and find_spec("tensorrt_libs") is None:
            missing.append(f"TensorRT's libraries are not installed: {TENSORRT_CURE}")
        return "; ".join(missing)

    def _providers(self, signature: Signature | None) -> list[Any]:
        options = {} if signature is None else profile_of(signature)
        return [(TENSORRT, options), (CUDA, CUDA_OPTIONS), CPU]

    def _prepare(self) -> tuple[str, ...]:
        # Read by CUDA's libraries when they start; this host, or this try, is TensorRT's alone.
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
        absent = super()._prepare()
        spec = find_spec("tensorrt_libs")
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            for library in NVINFER:
                if (Path(folder) / library).exists():
                    ctypes.CDLL(str(Path(folder) / library), mode=ctypes.RTLD_GLOBAL)
        return absent

    def _label(self) -> str:
        return "TensorRT"

    def _cure(self) -> str:
        return f"{CUDA_CURE}, {TENSORRT_CURE}"


def profile_of(signature: Signature) -> dict[str, str]:
    """The sizes that TensorRT compiles for: it would compile anew for each that it has not met.

    Args:
        signature: of the file.

    Returns:
        Options of its provider; none for a signature whose sizes are all fixed.

    Raises:
        MaasError: FAILED_PRECONDITION for texts, and where other sizes than that of the batch vary.
    """
    for spec in (*signature.inputs, *signature.outputs):
        if spec.dtype is DType.BYTES:
            raise _unfit(f"{spec.name!r} holds texts, which it does not take")
    for spec in signature.inputs:
        if None in spec.shape[1:] or (None in spec.shape and not signature.batched):
            raise _unfit(f"sizes of {describe_spec(spec)} vary, and it is compiled for each")
    if not signature.batched:
        return {}
    return {
        f"trt_profile_{which}_shapes": ",".join(
            f"{spec.name}:{'x'.join(map(str, (rows, *spec.shape[1:])))}"
            for spec in signature.inputs
        )
        for which, rows in zip(("min", "opt", "max"), ROWS, strict=True)
    }


def _unfit(reason: str) -> MaasError:
    return MaasError(ErrorKind.FAILED_PRECONDITION, f"TensorRT cannot run the model: {reason}")
