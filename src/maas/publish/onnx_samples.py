"""Draws rows for an ONNX model that came without any."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from maas.core.tensor import DType, TensorSpec

GUESSES = (8, 16, 32, 64, 128, 224, 256, 1, 2, 3, 4, 512)
"""Sizes tried for symbolic dimensions other than the batch."""
WORDS = ("a", "b", "yes", "no", "服务", "模型", "hello world", "1", "")
MOST_ELEMENTS = 1 << 22


def draw_inputs(
    specs: tuple[TensorSpec, ...],
    symbols: dict[str, tuple[str, ...]],
    rows: int,
    rng: np.random.Generator,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields attempts, one for each guess of the symbolic sizes; only one if there are none.

    Args:
        specs: the inputs.
        symbols: names of their symbolic dimensions; equal names get equal sizes.
        rows: size of a symbolic first axis.
        rng: the source of randomness.
    """
    # A symbol that names some tensor's first axis is the batch wherever it stands.
    batch = {symbols[spec.name][0] for spec in specs if spec.shape and spec.shape[0] is None}
    open_sizes = any(None in spec.shape[1:] for spec in specs)
    for guess in GUESSES if open_sizes else (1,):
        shapes = {
            spec.name: tuple(
                _size(size, symbols[spec.name][i], i, guess, rows, batch)
                for i, size in enumerate(spec.shape)
            )
            for spec in specs
        }
        if sum(int(np.prod(shape)) for shape in shapes.values()) > MOST_ELEMENTS * max(rows, 1):
            continue
        yield {spec.name: _values(spec.dtype, shapes[spec.name], rng) for spec in specs}


def _size(size: int | None, symbol: str, axis: int, guess: int, rows: int, batch: set[str]) -> int:
    if size is not None:
        return size
    return rows if axis == 0 or (symbol and symbol in batch) else guess


def _values(dtype: DType, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if dtype is DType.BYTES:
        flat = np.empty(int(np.prod(shape)), dtype=object)
        flat[:] = [WORDS[i].encode() for i in rng.integers(0, len(WORDS), flat.size)]
        return flat.reshape(shape)
    if dtype is DType.BOOL:
        return rng.random(shape) < 0.5
    if dtype.is_integer:
        # Indices into an embedding, tokens, masks: small numbers are in everyone's range.
        return rng.integers(0, 2, shape).astype(dtype.numpy)
    spread = np.asarray(rng.choice([0.3, 1.0, 5.0], (shape[0] if shape else 1,)))
    values = rng.standard_normal(shape)
    return (values * spread.reshape(-1, *[1] * (len(shape) - 1)) if shape else values).astype(
        dtype.numpy
    )
