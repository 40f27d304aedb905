"""Tensors on disk: samples and answers of a publish, a proving sample. msgpack, never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from maas.core.errors import invalid
from maas.core.tensor import DType, Tensors

SAMPLES = "samples.msgpack"
"""In the work folder of a job: what the model was tried on."""
ANSWERS = "answers.msgpack"
"""Beside it: what the original answered."""
PROVING = "proving.msgpack"
"""In a version's folder: a call that the model must answer before it serves."""
MOST_BYTES = 2 << 30
MOST_PROVING = 32 << 20
"""The server itself reads a proving sample; short texts take a dozen times their bytes."""


class _Stored(Struct, frozen=True):
    dtype: DType
    shape: tuple[int, ...]
    data: bytes | tuple[bytes, ...]


_File = dict[str, dict[str, _Stored]]


def write_tensors(path: Path, tensors: Mapping[str, Tensors]) -> None:
    """Writes the tensors of each signature.

    Args:
        path: the file.
        tensors: signature's name → its tensors; texts as `bytes` in object arrays.
    """
    stored = {
        signature: {name: _store(array) for name, array in arrays.items()}
        for signature, arrays in tensors.items()
    }
    path.write_bytes(msgspec.msgpack.encode(stored))


def read_tensors(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Reads what `write_tensors` wrote.

    Raises:
        MaasError: INVALID_ARGUMENT where the file is something else.
    """
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MOST_BYTES:
        raise invalid("the samples of this model could not be read back; publish it again")
    try:
        stored = msgspec.msgpack.decode(path.read_bytes(), type=_File)
        return {
            signature: {name: _restore(each) for name, each in arrays.items()}
            for signature, arrays in stored.items()
        }
    except (msgspec.DecodeError, ValueError, TypeError, OverflowError, RecursionError):
        raise invalid(
            "the samples of this model could not be read back; publish it again"
        ) from None


def _store(array: np.ndarray) -> _Stored:
    dtype = DType.of(array.dtype)
    if dtype is DType.BYTES:
        data: bytes | tuple[bytes, ...] = tuple(
            each if isinstance(each, bytes) else str(each).encode() for each in array.ravel()
        )
    else:
        data = np.ascontiguousarray(array, dtype.numpy).tobytes()
    return _Stored(dtype, array.shape, data)


def _restore(stored: _Stored) -> np.ndarray:
    if stored.dtype is DType.BYTES:
        if isinstance(stored.data, bytes):
            raise ValueError("texts are stored one by one")
        array = np.empty(len(stored.data), object)
        array[:] = stored.data
        return array.reshape(stored.shape)
    if not isinstance(stored.data, bytes):
        raise ValueError("numbers are stored in one piece")
    return np.frombuffer(stored.data, stored.dtype.numpy).reshape(stored.shape)
