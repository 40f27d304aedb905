"""The base class of models written in Python, and the annotations that give their signature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from maas.core.tensor import DType


class Annotation(Struct, frozen=True):
    """What `Float32["n", 4]` makes: an element type and a shape; a letter where any size goes."""

    dtype: DType
    shape: tuple[int | str, ...]


class _Annotated:
    """`Float32["n", 4]`, `Text["n"]`, `Float32[()]` for a scalar."""

    def __init__(self, dtype: DType):
        self._dtype = dtype

    def __getitem__(self, shape: int | str | tuple[int | str, ...]) -> Annotation:
        return Annotation(self._dtype, shape if isinstance(shape, tuple) else (shape,))


Bool = _Annotated(DType.BOOL)
Int8 = _Annotated(DType.INT8)
Int16 = _Annotated(DType.INT16)
Int32 = _Annotated(DType.INT32)
Int64 = _Annotated(DType.INT64)
UInt8 = _Annotated(DType.UINT8)
UInt16 = _Annotated(DType.UINT16)
UInt32 = _Annotated(DType.UINT32)
UInt64 = _Annotated(DType.UINT64)
Float16 = _Annotated(DType.FP16)
Float32 = _Annotated(DType.FP32)
Float64 = _Annotated(DType.FP64)
Text = _Annotated(DType.BYTES)


class PythonModel:
    """A model written in Python. Published with `--trust`; it runs in the sandbox.

    A subclass gives `infer`, whose annotations are the signature::

        class Doubler(PythonModel):
            def infer(self, x: Float32["n", 4]) -> dict:
                return {"y": 2 * x}

    Attributes:
        requires: distributions it needs, as pip writes them (`"pandas>=2"`). They are checked at
            publish and never installed.
    """

    requires: tuple[str, ...] = ()

    def load(self, folder: Path) -> None:
        """Reads what the model needs from its folder; called once, before the first `infer`.

        Args:
            folder: where the model's files lie, read-only.
        """

    def infer(self, *args: Any, **inputs: Any) -> dict[str, Any]:
        """Answers one call or batch: arrays by input name → arrays by output name."""
        raise NotImplementedError(f"{type(self).__name__} has no infer method")
