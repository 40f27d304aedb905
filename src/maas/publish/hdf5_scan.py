"""Looks through an HDF5 file: nothing in it may lead out of it, or unpack beyond measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.runtimes.tf_process import missing
from maas.runtimes.wording import one_sentence

BEYOND = 256 << 20
"""Bytes that datasets may hold beyond the file's own size (`security.md`, archive bombs)."""
MOST_OBJECTS = 200_000
DEEPEST = 64
MODEL_CONFIG = "model_config"
_ATTRIBUTES = (MODEL_CONFIG, "keras_version", "backend")


def scan_hdf5(path: Path, size: int, what: str) -> dict[str, str]:
    """Checks every link and dataset.

    Args:
        path: the file.
        size: its size in bytes.
        what: what to call it in messages.

    Returns:
        The root's attributes that Keras writes, as text.

    Raises:
        MaasError: INVALID_ARGUMENT for a damaged file, or a link, virtual or external dataset,
            TOO_LARGE for datasets beyond measure.
    """
    try:
        import h5py
    except ImportError as error:
        raise missing("h5py") from error
    try:
        with h5py.File(path, "r") as file:
            _walk(file, size, what)
            return {name: _text(file.attrs[name]) for name in _ATTRIBUTES if name in file.attrs}
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise invalid(
            f"{what} is cut off or damaged ({one_sentence(error, 80)}); save it again"
        ) from error


def _walk(file: Any, size: int, what: str) -> None:
    import h5py

    objects = total = 0
    pending = [(file, 0)]
    while pending:
        group, depth = pending.pop()
        for name in group:
            objects += 1
            if objects > MOST_OBJECTS or depth > DEEPEST:
                raise invalid(f"{what} holds too many or too deeply nested objects; save it again")
            # Nothing is followed before its link is known to stay inside this file.
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise invalid(
                    f"{what} holds a link {name[:60]!r} that may lead out of it; expected plain "
                    "groups and datasets"
                )
            child = group[name]
            if isinstance(child, h5py.Group):
                pending.append((child, depth + 1))
            elif isinstance(child, h5py.Dataset):
                total += _check_dataset(child, name, what)
    if total > size + BEYOND:
        raise MaasError(
            ErrorKind.TOO_LARGE,
            f"{what} unpacks to more than 256 MiB beyond its own size; save it again",
        )


def _check_dataset(dataset: Any, name: str, what: str) -> int:
    """Its size in memory.

    Raises:
        MaasError: where its values lie in another file, or are references.
    """
    import h5py

    if dataset.is_virtual or dataset.external:
        raise invalid(
            f"{what} keeps {name[:60]!r} in another file; save the model into one file again"
        )
    if h5py.check_ref_dtype(dataset.dtype) is not None:
        raise invalid(f"{what} holds a reference {name[:60]!r}; expected numbers and texts")
    return int(dataset.size or 0) * max(int(dataset.dtype.itemsize), 1)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
