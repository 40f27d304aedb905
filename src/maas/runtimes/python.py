"""Models written in Python: `maas.PythonModel`, in the sandbox for as long as they serve."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.ports import Artifact, Device, Resources
from maas.core.pythonmodel import PythonModel
from maas.core.signature import Signature, describe_spec
from maas.core.tensor import DType, Tensors, TensorSpec
from maas.runtimes.python_source import (
    CODE,
    in_words,
    make,
    open_class,
    read_settings,
    search_here,
)
from maas.runtimes.text import to_bytes, to_str
from maas.runtimes.wording import one_sentence

MIB = 1 << 20
log = logging.getLogger("maas.model")


def code_resources(artifact: Artifact) -> Resources:
    """Bytes that a model of code is taken to need: four times its files, and an interpreter."""
    files = sum(f.stat().st_size for f in Path(artifact.path).rglob("*") if f.is_file())
    return Resources(memory_bytes=4 * files + 256 * MIB)


class PythonRuntime:
    """Serves `python` artifacts: a folder with source, data, and perhaps `model.toml`."""

    name = "python"
    platform = "python"
    formats = frozenset({"python"})
    host: Literal["shared", "dedicated"] = "dedicated"
    confined = True

    def estimate(self, artifact: Artifact) -> Resources:
        """Four times the files, and 256 MiB for an interpreter with some libraries.

        What the code takes beyond that nobody knows; the watchdog bounds it.
        """
        return code_resources(artifact)

    def load(self, artifact: Artifact, device: Device) -> PythonServable:
        """Imports the model's code and makes the model; only ever in the sandbox.

        Raises:
            MaasError: FAILED_PRECONDITION with the model's own words.
        """
        search_here(Path(artifact.path) / CODE)
        folder = artifact.file.parent
        try:
            model = open_class(artifact.file, read_settings(folder))
        except MaasError as error:
            raise MaasError(ErrorKind.FAILED_PRECONDITION, error.message) from error
        return PythonServable(make(model, folder), artifact.signatures)


class NoAnswerError(MaasError):
    """What `infer` returned is no answer, whatever it was asked."""


class RawModel(PythonModel):
    """A model made for another server: texts come as the `bytes` that were sent, scalars as arrays.

    It goes through `infer` as any; its `close` is called once, when it has answered its last call.
    """

    def close(self) -> None:
        """Cleans up."""


class _Input(Struct, frozen=True):
    """What is done to one input before the model sees it."""

    name: str
    text: bool
    scalar: bool


class PythonServable:
    """A loaded Python model. Nothing that it answers is believed."""

    def __init__(self, model: PythonModel, signatures: Mapping[str, Signature]):
        self._model = model
        self._signatures = dict(signatures)
        self._inputs = {
            name: _forms(model, signature.inputs) for name, signature in self._signatures.items()
        }

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its signatures by name."""
        return self._signatures

    def infer(self, signature: str, inputs: Tensors) -> Tensors:
        """Runs one call or one batch.

        Raises:
            MaasError: INVALID_ARGUMENT where the model refuses the values (ValueError,
                LookupError, ArithmeticError), RESOURCE_EXHAUSTED where memory ran out, INTERNAL
                where it raises anything else or answers otherwise than its signature says.
        """
        form = self._signatures[signature]
        answers = _ask(self._model, self._inputs[signature], inputs)
        rows = len(inputs[form.inputs[0].name]) if form.batched else None
        return conform(answers, form.outputs, rows)

    def close(self) -> None:
        """Lets the model go; the process's end gives the memory back."""
        if isinstance(self._model, RawModel):
            self._model.close()
        del self._model


def ask(model: PythonModel, specs: tuple[TensorSpec, ...], inputs: Tensors) -> dict[str, Any]:
    """The model's own answers, as they come.

    Args:
        model: loaded.
        specs: its inputs.
        inputs: of those names and dtypes.

    Raises:
        NoAnswerError: it returned no dict.
        MaasError: as `PythonServable.infer`.
    """
    return _ask(model, _forms(model, specs), inputs)


def _forms(model: PythonModel, specs: tuple[TensorSpec, ...]) -> tuple[_Input, ...]:
    own = not isinstance(model, RawModel)
    return tuple(_Input(s.name, own and s.dtype is DType.BYTES, own and not s.shape) for s in specs)


def _ask(model: PythonModel, forms: tuple[_Input, ...], inputs: Tensors) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for form in forms:
        array = inputs[form.name]
        if form.text:
            array = to_str(form.name, array)
        elif not array.flags.writeable:
            array = array.copy()  # it came out of a frame; the model may work in place
        given[form.name] = array[()] if form.scalar else array
    try:
        answers: object = model.infer(**given)
    except (ValueError, LookupError, ArithmeticError) as error:
        log.warning("the model refused the values of a call", exc_info=error)
        raise invalid(f"the model refused these values: {in_words(error)}") from error
    except MemoryError as error:
        raise MaasError(
            ErrorKind.RESOURCE_EXHAUSTED, "memory ran out while the model was running"
        ) from error
    except (Exception, SystemExit) as error:
        log.warning("the model failed in a call", exc_info=error)
        raise MaasError(ErrorKind.INTERNAL, f"the model raised {in_words(error)}") from error
    if not isinstance(answers, dict):
        if inspect.iscoroutine(answers):
            answers.close()
        raise NoAnswerError(
            ErrorKind.INTERNAL,
            f"the model's infer returned {_a(answers)}; expected a dict of arrays by output name",
        )
    return answers


def conform(
    answers: Mapping[str, Any], specs: tuple[TensorSpec, ...], rows: int | None
) -> dict[str, np.ndarray]:
    """Checks a model's answers against its outputs.

    A float is rounded to the precision that the signature promises; beyond that, dtypes change
    only where every value stays what it is.

    Args:
        answers: what `infer` returned.
        specs: the outputs.
        rows: how many the first axis must have; None where there is no batch axis.

    Raises:
        MaasError: INTERNAL: which output is wrong, and how.
    """
    if len(answers) != len(specs) or any(spec.name not in answers for spec in specs):
        wanted = ", ".join(repr(spec.name) for spec in specs)
        got = ", ".join(repr(str(name)[:40]) for name in list(answers)[:8]) or "nothing"
        raise _wrong(f"the model returned {got} where its signature has {wanted}")
    return {spec.name: _one(answers[spec.name], spec, rows) for spec in specs}


def as_array(name: str, value: object) -> np.ndarray:
    """What a model returned under a name, as an array of a dtype that the protocols carry.

    Raises:
        MaasError: INTERNAL where it is none.
    """
    try:
        array = np.asarray(value)
        DType.of(array.dtype)
    except (ValueError, TypeError) as error:
        raise _wrong(
            f"the model's output {name!r} is no tensor ({one_sentence(error)}); expected an "
            "array of numbers or texts"
        ) from error
    if array.dtype == object and not all(
        isinstance(item, str | bytes) for item in array.ravel().tolist()
    ):
        raise _wrong(
            f"the model's output {name!r} holds Python objects; expected an array of numbers or "
            "texts"
        )
    return array


def _one(value: object, spec: TensorSpec, rows: int | None) -> np.ndarray:
    name, wanted = spec.name, spec.dtype.numpy
    array = value if isinstance(value, np.ndarray) else as_array(name, value)
    if array.dtype is not wanted or spec.dtype is DType.BYTES:
        array = _cast(as_array(name, array), spec)
    shape = array.shape
    if len(shape) != len(spec.shape) or any(
        size is not None and size != got for size, got in zip(spec.shape, shape, strict=True)
    ):
        raise _wrong(
            f"the model's output {name!r} has shape {list(shape)}; expected {describe_spec(spec)}"
        )
    if rows is not None and shape[0] != rows:
        raise _wrong(f"the model's output {name!r} has {shape[0]} rows for {rows} rows of input")
    return array


def _cast(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """The array in the spec's dtype.

    Raises:
        MaasError: INTERNAL where values would become others.
    """
    wanted = spec.dtype.numpy
    given = DType.of(array.dtype)
    if DType.BYTES in (given, spec.dtype):
        if given is spec.dtype:
            return to_bytes(array)
    elif given is spec.dtype or np.can_cast(array.dtype, wanted, "safe"):
        return array.astype(wanted, copy=False)
    elif spec.dtype is not DType.BOOL:
        with np.errstate(all="ignore"):
            cast = array.astype(wanted)
            if given.is_float and spec.dtype.is_float:
                same = np.array_equal(np.isfinite(cast), np.isfinite(array))
            else:
                # The second, since a round trip through the other sign ends where it began.
                same = np.array_equal(cast.astype(array.dtype), array) and np.array_equal(
                    cast < 0, array < 0
                )
        if same:
            return cast
    raise _wrong(f"the model's output {spec.name!r} is {given}; expected {describe_spec(spec)}")


def _wrong(message: str) -> MaasError:
    return MaasError(ErrorKind.INTERNAL, message)


def _a(value: object) -> str:
    if value is None:
        return "None"
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
