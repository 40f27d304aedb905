"""What a Python model takes and gives: from `infer`'s annotations, or from `model.toml`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin

import msgspec
import numpy as np
from msgspec import Struct

from maas.core import pythonmodel
from maas.core.errors import invalid
from maas.core.pythonmodel import Annotation, ElementType, PythonModel
from maas.core.tensor import DType, Tensors, TensorSpec
from maas.runtimes.python import as_array
from maas.runtimes.python_source import SETTINGS, ModelSettings, TensorSettings, in_words

HOW = 'write infer(self, x: Float32["n", 4]) -> dict, or [[inputs]] in model.toml'


class Form(Struct, frozen=True):
    """What a Python model says of itself.

    Args:
        inputs: at least one.
        symbols: input → the letter of each axis, `""` where there is none.
        outputs: None where it does not say.
        batches: whether its first axes may be the batch's at all.
    """

    inputs: tuple[TensorSpec, ...]
    symbols: dict[str, tuple[str, ...]]
    outputs: tuple[TensorSpec, ...] | None
    batches: bool = True

    @property
    def may_batch(self) -> bool:
        """Whether every input begins with an axis of any size, by one and the same letter."""
        firsts = {self.symbols[spec.name][:1] for spec in self.inputs}
        return (
            self.batches
            and len(firsts) == 1
            and all(spec.shape[:1] == (None,) for spec in self.inputs)
        )


class _Names(dict[str, Any]):
    """The names in annotations that are texts, where the model's own globals lack them.

    An object pickled by value leaves behind what only its annotations name; and linters take the
    quotes off a letter (`Float32[n, 4]`).
    """

    def __init__(self, own: Mapping[str, Any]):
        types = {n: v for n, v in vars(pythonmodel).items() if isinstance(v, ElementType)}
        super().__init__({name: value for name, value in types.items() if name not in own})
        self._own = own

    def __missing__(self, name: str) -> str:
        if len(name) == 1 and name not in self._own:
            return name
        raise KeyError(name)


def form_of(model: type[PythonModel], settings: ModelSettings) -> Form:
    """Reads what a model takes and gives. Nothing of the model is run but its annotations.

    Args:
        model: its class.
        settings: `model.toml`, which goes before the annotations.

    Raises:
        MaasError: INVALID_ARGUMENT: which annotation is missing or wrong, and how to write it.
    """
    if "infer" not in _own_names(model):
        raise invalid(f"{model.__name__} has no infer method; {HOW}")
    if inspect.iscoroutinefunction(model.infer):
        raise invalid(f"{model.__name__}.infer is async; expected a plain method")
    try:
        said = inspect.get_annotations(
            model.infer, eval_str=True, locals=_Names(model.infer.__globals__)
        )
    except Exception as error:
        raise invalid(
            f"the annotations of {model.__name__}.infer cannot be read ({in_words(error)}); {HOW}"
        ) from error
    if settings.inputs:
        given = tuple(_from_settings(each) for each in settings.inputs)
        shapes = {each.name: each.shape for each in settings.inputs}
    else:
        found = _from_parameters(model, said)
        given = tuple(_spec(name, each) for name, each in found.items())
        shapes = {name: each.shape for name, each in found.items()}
    _check_names(given, "input")
    symbols = {
        name: tuple(size if isinstance(size, str) else "" for size in shape)
        for name, shape in shapes.items()
    }
    return Form(given, symbols, _outputs(said.get("return"), settings))


def outputs_found(answers: list[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    """The outputs as several calls answered them; a size that varies becomes None.

    Args:
        answers: what `infer` returned, at least one.

    Raises:
        MaasError: INTERNAL for what is no tensor, INVALID_ARGUMENT where calls answer unalike.
    """
    first = answers[0]
    if not first:
        raise invalid("the model returned no outputs; expected a dict of arrays by output name")
    for name in first:
        if not isinstance(name, str) or not name:
            raise invalid(f"the model names an output {name!r}; expected a text")
    specs = []
    for name in first:
        arrays = []
        for answer in answers:
            if set(answer) != set(first):
                raise invalid(
                    f"the model returned {sorted(map(str, first))} for one call and "
                    f"{sorted(map(str, answer))} for another; expected the same outputs always"
                )
            arrays.append(as_array(name, answer[name]))
        if len({array.ndim for array in arrays}) > 1:
            raise invalid(
                f"the model's output {name!r} has {arrays[0].ndim} axes in one call and another "
                "number in the next; expected the same always"
            )
        sizes = zip(*(array.shape for array in arrays), strict=True)
        shape = tuple(one[0] if len(set(one)) == 1 else None for one in sizes)
        specs.append(TensorSpec(name, _common(name, arrays), shape))
    return tuple(specs)


def _common(name: str, arrays: list[np.ndarray]) -> DType:
    """The one dtype that holds every array's values."""
    kinds = {DType.of(array.dtype) for array in arrays}
    if len(kinds) == 1:
        return kinds.pop()
    if DType.BYTES in kinds or DType.BOOL in kinds:
        raise invalid(
            f"the model's output {name!r} is {' in one call and '.join(sorted(kinds))} in "
            "another; expected one type always"
        )
    return DType.of(np.result_type(*(array.dtype for array in arrays)))


def batch_first(outputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """The outputs of a model whose first axis is the batch's."""
    return tuple(
        msgspec.structs.replace(spec, shape=(None, *spec.shape[1:])) if spec.shape else spec
        for spec in outputs
    )


def loosen(
    outputs: tuple[TensorSpec, ...], calls: list[Tensors], form: Form
) -> tuple[TensorSpec, ...]:
    """The outputs, with None where a size may follow one of the inputs' that no call varied.

    Args:
        outputs: found by running.
        calls: what was run.
        form: says which sizes of the inputs may be any.
    """
    free = set()
    for spec in form.inputs:
        for axis, size in enumerate(spec.shape):
            tried = {call[spec.name].shape[axis] for call in calls}
            if size is None and len(tried) == 1:
                free |= tried
    return tuple(
        msgspec.structs.replace(
            spec, shape=tuple(None if size in free else size for size in spec.shape)
        )
        for spec in outputs
    )


def _own_names(model: type[PythonModel]) -> set[str]:
    return {name for base in model.__mro__ if base is not PythonModel for name in vars(base)}


def _from_parameters(model: type[PythonModel], said: dict[str, Any]) -> dict[str, Annotation]:
    found: dict[str, Annotation] = {}
    for parameter in list(inspect.signature(model.infer).parameters.values())[1:]:
        name = parameter.name
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise invalid(f"infer takes *{name}, so its inputs have no names; {HOW}")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise invalid(f"infer's {name!r} cannot be given by name; take the '/' away")
        if name not in said and parameter.default is not parameter.empty:
            continue  # no input: a constant that the model gives itself
        found[name] = _annotation(name, said.get(name))
    if not found:
        raise invalid(f"infer takes no inputs; {HOW}")
    return found


def _annotation(name: str, said: Any) -> Annotation:
    if get_origin(said) is Annotated:
        for each in get_args(said)[1:]:
            if isinstance(each, Annotation):
                return each
    if isinstance(said, Annotation):
        return said
    if isinstance(said, ElementType):
        raise invalid(f"infer's {name!r} has a type without a shape; {HOW}")
    what = "is not annotated" if said is None else f"is annotated with {_short(said)}"
    raise invalid(f"infer's {name!r} {what}, which says no type and shape; {HOW}")


def _short(said: Any) -> str:
    return str(getattr(said, "__name__", said))[:60]


def _spec(name: str, said: Annotation) -> TensorSpec:
    return TensorSpec(
        name, said.dtype, tuple(s if isinstance(s, int) else None for s in said.shape)
    )


def _outputs(said: Any, settings: ModelSettings) -> tuple[TensorSpec, ...] | None:
    if settings.outputs:
        found = tuple(_from_settings(each) for each in settings.outputs)
        _check_names(found, "output")
        return found
    if get_origin(said) is Annotated:
        said = next((each for each in get_args(said)[1:] if isinstance(each, dict)), None)
    if isinstance(said, (Annotation, ElementType)):
        raise invalid(
            "infer's return annotation has no name for its output; "
            'write -> {"y": Float32["n", 4]}, or -> dict'
        )
    if not isinstance(said, dict):
        return None
    specs = tuple(
        _spec(str(name), each) for name, each in said.items() if isinstance(each, Annotation)
    )
    if len(specs) != len(said) or not specs:
        raise invalid(
            "infer's return annotation is a dict with something other than types and shapes; "
            'write -> {"y": Float32["n", 4]}, or -> dict'
        )
    return specs


def _from_settings(each: TensorSettings) -> TensorSpec:
    shape = []
    for size in each.shape:
        if isinstance(size, int) and size < -1:
            raise invalid(f"{SETTINGS} gives {each.name!r} the size {size}; expected -1 or more")
        shape.append(size if isinstance(size, int) and size >= 0 else None)
    return TensorSpec(each.name, _dtype(each), tuple(shape), each.labels)


def _dtype(each: TensorSettings) -> DType:
    said = each.dtype.strip()
    if said.upper() in DType.__members__:
        return DType[said.upper()]
    if said.lower() in ("text", "str", "string"):
        return DType.BYTES
    try:
        return DType.of(np.dtype(said.lower()))
    except (TypeError, ValueError):
        raise invalid(
            f"{SETTINGS} gives {each.name!r} the dtype {said[:40]!r}; expected one of "
            f"{', '.join(DType)}"
        ) from None


def _check_names(specs: tuple[TensorSpec, ...], what: str) -> None:
    names = [spec.name for spec in specs]
    if len(set(names)) != len(names) or not all(names):
        raise invalid(f"{SETTINGS} gives two {what}s one name, or an empty one; name them apart")
