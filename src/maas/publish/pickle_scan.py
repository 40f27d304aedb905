"""Reads what a pickle would import, and which versions wrote it, without running any of it.

The pickle machine is run with stand-ins for every class and function that the file names: nothing
of the file's choice is imported or called. Between joblib's opcodes lie the bytes of arrays; a
stand-in for joblib's wrapper says how many to step over.
"""

from __future__ import annotations

import logging
import lzma
import math
import pickle
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.publish.pickles import open_unpacked
from maas.runtimes.wording import one_sentence

MOST_ARRAY = 1 << 40
log = logging.getLogger(__name__)
_DAMAGE = (
    EOFError,
    LookupError,
    OSError,
    lzma.LZMAError,
    pickle.UnpicklingError,
    struct.error,
    UnicodeDecodeError,
    zlib.error,
)
"""What the machine and the readers of compressed files raise where bytes are missing or wrong."""
_VERSIONS = {
    "_sklearn_version": "scikit-learn",
    "_pandas_version": "pandas",
    "xgboost_version": "xgboost",
}
"""Attributes in which libraries write down their version."""


class PickleScan(Struct, frozen=True):
    """What a pickle says about itself.

    Args:
        imports: the modules and names that opening it would look up.
        written_with: versions that its parts write down.
    """

    imports: frozenset[tuple[str, str]]
    written_with: dict[str, str]

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that it needs, without submodules, in order."""
        return tuple(sorted({module.partition(".")[0] for module, _ in self.imports}))

    @property
    def from_main(self) -> tuple[str, ...]:
        """Names that were defined in a notebook or script itself."""
        return tuple(sorted(name for module, name in self.imports if module == "__main__"))


def scan_pickle(path: Path) -> PickleScan:
    """Reads a pickle or a joblib file, compressed or not.

    Where a stand-in will not do (code that makes classes out of classes), what has been read so
    far is given: opening the file tells the rest.

    Raises:
        MaasError: INVALID_ARGUMENT where it is cut off or damaged.
    """
    imports: set[tuple[str, str]] = set()
    written: dict[str, str] = {}
    try:
        with open_unpacked(path) as stream:
            _Reader(stream, imports, written).load()
    except MaasError:
        raise
    except _DAMAGE as error:
        raise invalid(
            f"the pickle is cut off or damaged ({one_sentence(error, 80)}); save and publish it "
            "again"
        ) from error
    except Exception:
        # A stand-in may fail like anything else that is not what it stands for. This is for the
        # messages and no boundary, so what was seen until then will do.
        log.info("a pickle was read in part", exc_info=True)
    return PickleScan(frozenset(imports), written)


class _Stand:
    """Stands in for whatever a pickle would make; takes everything and does nothing."""

    def __new__(cls, *args: Any, **_: Any) -> _Stand:
        # A stand-in for a class is called as one is, though it is none.
        made = super().__new__(cls if isinstance(cls, type) else _Stand)
        made.args = args
        return made

    def __init__(self, *_: Any, **__: Any):
        self.args: tuple[Any, ...]
        self.state: Any = getattr(self, "state", None)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *_: Any, **__: Any) -> _Stand:
        return _Stand()

    def __setitem__(self, *_: Any) -> None: ...

    def append(self, *_: Any) -> None:
        """As a list."""

    def extend(self, *_: Any) -> None:
        """As a list."""

    def add(self, *_: Any) -> None:
        """As a set."""


class _Dtype(_Stand):
    """Stands in for `numpy.dtype`: its first argument says how long an element is."""


class _Wrapper(_Stand):
    """Stands in for `joblib.numpy_pickle.NumpyArrayWrapper`: an array's bytes follow it."""


_STANDS: dict[tuple[str, str], type[_Stand]] = {
    ("numpy", "dtype"): _Dtype,
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _Wrapper,
}


class _Reader(pickle._Unpickler):
    """The pickle machine in Python, whose opcodes can be listened to.

    Source: `pickle._Unpickler.load_build`; `joblib.numpy_pickle.NumpyUnpickler.load_build`.
    """

    stack: list[Any]
    """The machine's own; typeshed leaves it out."""
    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)

    def __init__(self, stream: IO[bytes], imports: set[tuple[str, str]], written: dict[str, str]):
        super().__init__(stream)
        self._stream = stream
        self._imports = imports
        self._written = written

    def find_class(self, module: str, name: str) -> Any:
        """Writes the name down and gives a stand-in."""
        self._imports.add((str(module), str(name)))
        return _STANDS.get((module, name)) or type("_Named", (_Stand,), {})

    def persistent_load(self, _: Any) -> Any:
        """Gives a stand-in for what lies outside the pickle."""
        return _Stand()

    def load_build(self) -> None:
        """Hears a state that is set; steps over the array that follows joblib's wrapper."""
        for name, value in _attributes(self.stack[-1]):
            library = _VERSIONS.get(name)
            if library and isinstance(value, str):
                self._written.setdefault(library, value[:40])
        super().load_build()  # type: ignore[misc]  # typeshed leaves the opcodes' methods out
        if isinstance(self.stack[-1], _Wrapper):
            self._step_over(dict(_attributes(self.stack[-1].state)))

    def _step_over(self, state: dict[Any, Any]) -> None:
        dtype = _element(state["dtype"])
        if dtype is None:  # Python objects: a pickle of their own
            _Reader(self._stream, self._imports, self._written).load()
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            self._skip(self._stream.read(1)[0])
        count = math.prod(int(size) for size in state["shape"])
        if not 0 <= count * dtype.itemsize <= MOST_ARRAY:
            raise ValueError("an array of impossible size")
        self._skip(count * dtype.itemsize)

    def _skip(self, count: int) -> None:
        while count:
            piece = self._stream.read(min(count, 1 << 20))
            if not piece:
                raise EOFError("an array is cut off")
            count -= len(piece)

    dispatch[pickle.BUILD[0]] = load_build  # type: ignore[assignment]  # as typeshed has it


def _element(said: Any) -> np.dtype | None:
    """The element type of a stand-in for a dtype; None for Python objects."""
    code = said.args[0] if isinstance(said, _Dtype) and said.args else said
    if not isinstance(code, str):
        raise TypeError("an array of an unknown type")
    dtype = np.dtype(code)
    return None if dtype.hasobject else dtype


def _attributes(state: Any) -> Iterator[tuple[Any, Any]]:
    """What a state sets, by attribute; some classes wrap it in a tuple with their slots."""
    for part in state if isinstance(state, tuple) else (state,):
        if isinstance(part, dict):
            yield from part.items()
