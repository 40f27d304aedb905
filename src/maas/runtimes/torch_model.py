"""PyTorch's saved programs as functions from tensors to tensors.

An exported program (`.pt2`) says what it takes. TorchScript says only how many tensors and their
names.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.signature import Signature
from maas.core.tensor import DType, Tensors, TensorSpec
from maas.runtimes.torch_process import import_torch
from maas.runtimes.wording import one_sentence

DTYPES = {
    DType.BOOL: "bool",
    DType.UINT8: "uint8",
    DType.UINT16: "uint16",
    DType.UINT32: "uint32",
    DType.UINT64: "uint64",
    DType.INT8: "int8",
    DType.INT16: "int16",
    DType.INT32: "int32",
    DType.INT64: "int64",
    DType.FP16: "float16",
    DType.BF16: "bfloat16",
    DType.FP32: "float32",
    DType.FP64: "float64",
}
"""The protocols' types → PyTorch's names."""
NO_MEMORY = ("can't allocate memory", "not enough memory")
"""What its allocator says."""

Run = Callable[[Sequence[Any]], Mapping[str, Any]]
"""Takes tensors in the order of the inputs, gives tensors by output name."""


class TorchProgram(Struct, frozen=True):
    """A program that has been loaded.

    Args:
        loaded: an `ExportedProgram` or a `ScriptModule`.
        run: runs it.
        inputs: what it takes; of TorchScript only the names are known, see `names`.
        outputs: what it gives; empty for TorchScript.
        names: of the inputs, in order.
    """

    loaded: Any
    run: Run
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    names: tuple[str, ...]


def open_pt2(file: Path, threads: int = 1) -> TorchProgram:
    """Opens what `torch.export.save` wrote. Only after `torch_scan` has let it through.

    Raises:
        MaasError: INVALID_ARGUMENT with PyTorch's reason, FAILED_PRECONDITION without PyTorch.
    """
    torch = import_torch(threads)
    from torch.utils import _pytree as pytree

    try:
        with warnings.catch_warnings(), file.open("rb") as stream:
            warnings.simplefilter("ignore")
            program = torch.export.load(stream)
            # Guards are source code in the file.
            module = program.module(check_guards=False)
    except MemoryError:
        raise
    except Exception as error:
        raise invalid(
            f"PyTorch {torch.__version__} cannot load the program: {one_sentence(error)}; export "
            "it again with this version"
        ) from error
    call = program.module_call_graph[0].signature
    values = {n.name: n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder"}
    given = list(program.graph_signature.user_inputs)
    inputs = tuple(
        _spec(torch, name, values[name], "input") for name in given if isinstance(name, str)
    )
    places = _places(pytree.tree_unflatten(range(call.out_spec.num_leaves), call.out_spec))
    outputs = _outputs(torch, program, places)

    def run(tensors: Sequence[Any]) -> Mapping[str, Any]:
        waiting = iter(tensors)
        flat = [next(waiting) if isinstance(name, str) else name for name in given]
        arguments, named = pytree.tree_unflatten(flat, call.in_spec)
        leaves = pytree.tree_leaves(module(*arguments, **named))
        return {name: leaves[place] for name, place in places.items()}

    return TorchProgram(program, run, inputs, outputs, tuple(spec.name for spec in inputs))


def open_torchscript(file: Path, threads: int = 1) -> TorchProgram:
    """Opens what `torch.jit.save` wrote. It is code: only ever in the sandbox.

    Raises:
        MaasError: INVALID_ARGUMENT with PyTorch's reason, or where it takes something other than
            tensors; FAILED_PRECONDITION without PyTorch.
    """
    torch = import_torch(threads)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = torch.jit.load(str(file), map_location="cpu")
            module.eval()
            arguments = module.forward.schema.arguments[1:]
    except MemoryError:
        raise
    except Exception as error:
        raise invalid(
            f"PyTorch {torch.__version__} cannot load the TorchScript: {one_sentence(error)}"
        ) from error
    needed = [argument for argument in arguments if not argument.has_default_value()]
    for argument in needed:
        if str(argument.type) != "Tensor":
            raise invalid(
                f"the model's forward takes {argument.name[:60]!r}, a {str(argument.type)[:60]}; "
                "expected tensors only"
            )
    if not needed:
        raise invalid("the model's forward takes no tensor; expected at least one")

    def run(tensors: Sequence[Any]) -> Mapping[str, Any]:
        return _named(module(*tensors))

    return TorchProgram(module, run, (), (), tuple(argument.name for argument in needed))


class TorchServable:
    """A loaded program under its signature."""

    def __init__(self, signatures: Mapping[str, Signature], run: Run):
        self._signatures = dict(signatures)
        self._run: Run | None = run

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its signatures by name."""
        return self._signatures

    def infer(self, signature: str, inputs: Tensors) -> Tensors:
        """Runs one call or one batch.

        Raises:
            MaasError: INVALID_ARGUMENT where the model refuses the values, RESOURCE_EXHAUSTED
                where memory ran out, INTERNAL where it answers otherwise than it should.
        """
        assert self._run is not None
        wanted = self._signatures[signature]
        answers = answer(self._run, wanted.inputs, inputs)
        missing = [spec.name for spec in wanted.outputs if spec.name not in answers]
        if missing:
            raise MaasError(ErrorKind.INTERNAL, f"the model gave no {missing[0]!r}")
        return {spec.name: answers[spec.name] for spec in wanted.outputs}

    def close(self) -> None:
        """Lets go of the program; the process's end gives back the rest."""
        self._run = None


def under_names(run: Run, names: tuple[str, ...]) -> Run:
    """A program with other names for what it gives, in the same order: its own are numbers.

    Args:
        run: the program.
        names: one for each output.
    """

    def renamed(tensors: Sequence[Any]) -> Mapping[str, Any]:
        return dict(zip(names, run(tensors).values(), strict=False))

    return renamed


def answer(run: Run, specs: tuple[TensorSpec, ...], inputs: Tensors) -> dict[str, np.ndarray]:
    """Runs a program on arrays, without gradients.

    Raises:
        MaasError: as `TorchServable.infer`.
    """
    import torch

    try:
        tensors = [_tensor(torch, inputs[spec.name], spec.dtype) for spec in specs]
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {name: _array(torch, value, name) for name, value in run(tensors).items()}
    except MaasError:
        raise
    except MemoryError as error:
        raise _no_memory() from error
    except Exception as error:
        if any(words in str(error) for words in NO_MEMORY):
            raise _no_memory() from error
        raise invalid(f"the model refused these values: {_first(error)}") from error


def dtype_of(torch: Any, tensor: Any, role: str, name: str) -> DType:
    """The protocols' type of a tensor.

    Raises:
        MaasError: INVALID_ARGUMENT for one that they do not carry.
    """
    for ours, theirs in DTYPES.items():
        if getattr(tensor, "dtype", None) is getattr(torch, theirs):
            return ours
    what = str(getattr(tensor, "dtype", type(tensor).__name__)).removeprefix("torch.")
    raise invalid(
        f"{role} {name!r} is a {what[:40]}, which no protocol here carries; expected a tensor of "
        "numbers or truth values"
    )


def _spec(torch: Any, name: str, value: Any, role: str) -> TensorSpec:
    """A spec from what tracing left in the graph; a size that is a symbol is any."""
    dtype = dtype_of(torch, value, role, name)
    sizes = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorSpec(name, dtype, sizes)


def _outputs(torch: Any, program: Any, places: dict[str, int]) -> tuple[TensorSpec, ...]:
    """Specs of the outputs that are tensors; takes the others out of `places`."""
    (last,) = (node for node in program.graph.nodes if node.op == "output")
    wanted = list(program.graph_signature.user_outputs)
    nodes = {getattr(node, "name", None): node for node in last.args[0]}
    specs = []
    for name, place in list(places.items()):
        node = nodes.get(wanted[place]) if isinstance(wanted[place], str) else None
        if node is None or not isinstance(node.meta["val"], torch.Tensor):
            del places[name]  # a constant, None mostly, or a size
        else:
            specs.append(_spec(torch, name, node.meta["val"], "output"))
    if not specs:
        raise invalid("the program gives no tensor; expected at least one")
    return tuple(specs)


def _places(answer: Any) -> dict[str, int]:
    """Output names → their places among the leaves, from an answer that holds those places."""
    from torch.utils import _pytree as pytree

    if isinstance(answer, Mapping) and all(isinstance(v, int) for v in answer.values()):
        return {str(name): place for name, place in answer.items()}
    leaves = pytree.tree_leaves(answer)
    return dict(zip(_numbered(len(leaves)), leaves, strict=True))


def _named(answer: Any) -> dict[str, Any]:
    """What TorchScript gave, by name."""
    if isinstance(answer, Mapping):
        return {str(name): value for name, value in answer.items()}
    values = list(answer) if isinstance(answer, list | tuple) else [answer]
    return dict(zip(_numbered(len(values)), values, strict=True))


def _numbered(count: int) -> list[str]:
    return ["output"] if count == 1 else [f"output_{i}" for i in range(count)]


def _tensor(torch: Any, array: np.ndarray, dtype: DType) -> Any:
    """A tensor of its own: a program may write into what it is given."""
    own = np.array(array, order="C")
    if dtype is DType.BF16:  # PyTorch reads NumPy's own types only
        return torch.from_numpy(own.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(own)


def _array(torch: Any, tensor: Any, name: str) -> np.ndarray:
    dtype = dtype_of(torch, tensor, "output", name)
    plain = tensor.detach().cpu().contiguous()
    if dtype is DType.BF16:
        return np.asarray(plain.view(torch.int16).numpy().view(dtype.numpy))
    return np.asarray(plain.numpy())


def _first(error: Exception) -> str:
    """PyTorch's own words, without the stack of the script that it prints before them."""
    text = str(error).strip()
    return one_sentence(text.rpartition("RuntimeError: ")[2] or error)


def _no_memory() -> MaasError:
    return MaasError(ErrorKind.RESOURCE_EXHAUSTED, "memory ran out while the model was running")
