"""Pickles an object so that it opens elsewhere: what only this machine has travels by value.

object ─▶ record: which modules does it name? ─▶ those of one's own by value ─▶ file
"""

from __future__ import annotations

import io
import pickle  # objects are written here, never opened
import sys
import sysconfig
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

from maas.core.errors import ErrorKind, MaasError, invalid

MAIN = "__main__"
INSTALLED = ("site-packages", "dist-packages")
PROTOCOL = 5


def dump(thing: Any, file: Path, *, by_value: bool) -> None:
    """Writes an object as a pickle.

    Args:
        thing: the object.
        file: where to.
        by_value: whether the publisher's own modules are put into the pickle; else they are
            named in it, and have to travel beside it.

    Raises:
        MaasError: FAILED_PRECONDITION where that takes cloudpickle, which is not installed;
            INVALID_ARGUMENT for an object that cannot be pickled.
    """
    library = _cloudpickle()
    if library is None:
        own = own_modules(thing, library)
        if MAIN in own:
            raise MaasError(
                ErrorKind.FAILED_PRECONDITION,
                f"the {type(thing).__name__} holds classes or functions of this notebook or "
                "script, and they can travel only with cloudpickle; run: pip install cloudpickle",
            )
        with file.open("wb") as sink, _in_words(thing):
            pickle.dump(thing, sink, protocol=PROTOCOL)
        return
    carried = _by_value(thing, library) if by_value else nullcontext()
    with carried, file.open("wb") as sink, _in_words(thing):
        library.dump(thing, sink, protocol=PROTOCOL)


def own_modules(thing: Any, library: Any = None) -> set[str]:
    """Names of the modules that an object's pickle refers to and that nobody installed.

    They are files of the publisher's own, and `__main__` for a notebook or a script. What the
    object holds by value is looked through as well, where `library` puts it into the pickle.

    Args:
        thing: the object.
        library: cloudpickle, or None for the standard library's pickle.
    """
    base: Any = pickle.Pickler if library is None else library.Pickler
    named: set[str] = set()

    class Recorder(base):  # type: ignore[misc]  # which pickler there is, is known now only
        def reducer_override(self, value: Any) -> Any:
            """Hears of everything that is no plain value."""
            if isinstance(value, ModuleType):
                named.add(value.__name__)
            kind = value if hasattr(value, "__qualname__") else type(value)
            named.add(getattr(kind, "__module__", None) or "")
            inherited = getattr(super(), "reducer_override", None)
            return NotImplemented if inherited is None else inherited(value)

    with _in_words(thing):
        Recorder(_Nowhere(), protocol=PROTOCOL).dump(thing)
    return {name for name in named if name == MAIN or is_own(sys.modules.get(name))}


def is_own(module: ModuleType | None) -> bool:
    """Whether a module is a file of the publisher's own: neither installed nor Python's."""
    file = getattr(module, "__file__", None)
    if module is None or not file or module.__name__.partition(".")[0] == "maas":
        return False
    path = Path(file).resolve()
    if any(part in INSTALLED for part in path.parts):
        return False
    return not path.is_relative_to(Path(sysconfig.get_path("stdlib")).resolve())


@contextmanager
def _by_value(thing: Any, library: Any) -> Iterator[None]:
    """Has cloudpickle put one's own modules into the pickle, and those that they need in turn."""
    known: Collection[str] = library.list_registry_pickle_by_value()
    added: list[ModuleType] = []
    try:
        while True:
            names = own_modules(thing, library) - {MAIN, *known}
            fresh = [sys.modules[name] for name in sorted(names)]
            fresh = [module for module in fresh if module not in added]
            if not fresh:
                break
            for module in fresh:
                library.register_pickle_by_value(module)
                added.append(module)
        yield
    finally:
        for module in added:
            library.unregister_pickle_by_value(module)


@contextmanager
def _in_words(thing: Any) -> Iterator[None]:
    """Turns what pickling raises into a sentence.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    try:
        yield
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise invalid(
            f"the {type(thing).__name__} cannot be pickled: {said}; take out what belongs to this "
            "process alone, such as open files, connections, locks and generators"
        ) from error


class _Nowhere(io.RawIOBase):
    """A file that keeps nothing: recording must not take the model's size once more."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return memoryview(data).nbytes


def _cloudpickle() -> Any:
    try:
        import cloudpickle
    except ImportError:
        return None
    return cloudpickle
