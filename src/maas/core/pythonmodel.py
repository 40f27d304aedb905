"""The base class of models written in Python, and the annotations that give their signature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from maas.core.tensor import DType


class Annotation(Struct, frozen=True):
    """What `Float32["n", 4]` makes: an element type and a shape.

    Args:
        dtype: element type.
        shape: sizes; a letter (or `""`, written None) where any size goes. Equal letters on the
            first axis of every input say that it is the batch axis.
    """

    dtype: DType
    shape: tuple[int | str, ...]


class ElementType:
    """One element type: `Float32["n", 4]`, `Text["n"]`, `Float32[()]` for a scalar."""

    def __init__(self, dtype: DType):
        self.dtype = dtype

    def __getitem__(self, shape: int | str | tuple[int | str | None, ...] | None) -> Annotation:
        """Gives it a shape.

        Raises:
            TypeError: for a size that is neither a number from 0 on, nor a letter, nor None.
        """
        sizes = shape if isinstance(shape, tuple) else (shape,)
        return Annotation(self.dtype, tuple(_size(size) for size in sizes))


def _size(size: object) -> int | str:
    if size is None:
        return ""
    if isinstance(size, str) and size.isidentifier():
        return size
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    raise TypeError(
        f"{size!r} is no size of an axis; expected a number from 0 on, or a letter such as 'n' "
        "where any size goes"
    )


Bool = ElementType(DType.BOOL)
Int8 = ElementType(DType.INT8)
Int16 = ElementType(DType.INT16)
Int32 = ElementType(DType.INT32)
Int64 = ElementType(DType.INT64)
UInt8 = ElementType(DType.UINT8)
UInt16 = ElementType(DType.UINT16)
UInt32 = ElementType(DType.UINT32)
UInt64 = ElementType(DType.UINT64)
Float16 = ElementType(DType.FP16)
Float32 = ElementType(DType.FP32)
Float64 = ElementType(DType.FP64)
BFloat16 = ElementType(DType.BF16)
Text = ElementType(DType.BYTES)


class PythonModel:
    """A model written in Python. Published with `--trust`; it runs in the sandbox.

    A subclass gives `infer`, whose annotations are the signature::

        class Doubler(PythonModel):
            def infer(self, x: Float32["n", 4]) -> {"y": Float32["n", 4]}:
                return {"y": 2 * x}

    `-> dict` will do as well: then the outputs are found by running samples.

    Attributes:
        requires: distributions it needs, as pip writes them (`"pandas>=2"`). They are checked at
            publish and never installed.
    """

    requires: tuple[str, ...] = ()

    def load(self, folder: Path) -> None:
        """Reads what the model needs from its folder; called once, before the first `infer`.

        An object that was published itself, from a notebook, comes with what it holds: `load` is
        not called again.

        Args:
            folder: where the model's files lie, read-only.
        """

    def infer(self, *args: Any, **inputs: Any) -> dict[str, Any]:
        """Answers one call or batch: arrays by input name → arrays by output name.

        Texts come and go as object arrays of `str`; a scalar (`Float32[()]`) comes as a number.
        A `ValueError` says that the caller's values are wrong.
        """
        raise NotImplementedError(f"{type(self).__name__} has no infer method")
