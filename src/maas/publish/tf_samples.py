"""The rows that a TensorFlow model is proved on: given, or drawn from what it says about itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from msgspec import Struct

from maas.core.errors import MaasError, invalid
from maas.core.tensor import DType, Tensors, TensorSpec
from maas.publish.batch import rows_at_once, take
from maas.publish.messages import Job
from maas.publish.sample_file import read_sample

Run = Callable[[Tensors], Tensors]

FEWEST = 256
"""Rows drawn at least, whatever the setting, where time and memory allow."""
LEAST = 8
"""Rows drawn however slow or large they are."""
BUDGET_S = 20.0
"""Seconds that answering all rows once may take."""
MOST_BYTES = 320 << 20
"""Of all rows together; 256 images of [299, 299, 3] float32 fit."""
SIZES = (16, 32, 64, 128, 224, 299, 8, 512, 4, 2, 1)
"""Sizes tried for axes of any size other than the batch."""
OTHER_SIZES = (11, 48, 96, 160, 288, 5, 3)
"""Sizes that are tried besides, so that a size frozen into the lowered form is noticed."""
MOST_CALLS = 256
"""Calls made to a model without a batch axis."""
TEXTS = ("服务很好,态度也好", "质量太差了", "a good film", "very bad service", "价格便宜", "no", "")


class Hint(Struct, frozen=True):
    """What a model says about the values of one input.

    Args:
        kind: `index` (0 to `high` - 1), `scaled` (around `mean`, by `deviation`), `pixels`
            (0 to `high`), `words` (of `words`), `examples` (any of `examples`, whole).
        mean: one, or an array that broadcasts against the input.
        deviation: likewise.
    """

    kind: Literal["index", "scaled", "pixels", "words", "examples"]
    high: int = 2
    mean: np.ndarray | float = 0.0
    deviation: np.ndarray | float = 1.0
    words: tuple[str, ...] = ()
    examples: tuple[bytes, ...] = ()


class Samples(Struct, frozen=True):
    """Calls that the original answers, with its answers.

    Args:
        groups: inputs of one call each; where there is a batch axis, some rows.
        answers: the original's, for each group.
        alike: how many of the groups, from the first, have rows of one shape.
        rows_axis: whether the first axis of every input is of any size.
        source: `given`, or `model`.
    """

    groups: tuple[dict[str, np.ndarray], ...]
    answers: tuple[Tensors, ...]
    alike: int
    rows_axis: bool
    source: str

    def inputs(self) -> dict[str, np.ndarray]:
        """One call: all rows of one shape, or the first call where there is no batch axis."""
        return _join(self.groups[: self.alike]) if self.rows_axis else self.groups[0]

    def outputs(self) -> dict[str, np.ndarray]:
        """The original's answers to `inputs()`."""
        alike = self.answers[: self.alike]
        return _join(alike) if self.rows_axis else dict(alike[0])


def collect_samples(
    run: Run, specs: tuple[TensorSpec, ...], hints: Mapping[str, Hint], job: Job, given: bool = True
) -> Samples:
    """Reads the publisher's rows or draws some, and has the original answer them.

    Args:
        run: the original.
        specs: its inputs.
        hints: what is known of them, by name.
        job: what to do; its sample, if any, is used where `given`.
        given: whether the sample of the job is for this signature.

    Raises:
        MaasError: INVALID_ARGUMENT where the sample does not fit or nothing is answered.
    """
    rows_axis = all(spec.shape and spec.shape[0] is None for spec in specs)
    if given and job.sample:
        rows = read_sample(Path(job.sample), job.sample_name, specs, job.samples)
        if rows_axis and len({len(array) for array in rows.values()}) != 1:
            raise invalid("the inputs of the given sample have different numbers of rows")
        groups = list(_chunks(rows)) if rows_axis else [rows]
        try:
            answers = [run(group) for group in groups]
        except MaasError as error:
            raise invalid(f"the model does not answer the given sample: {error.message}") from error
        return _samples(groups, answers, len(groups), rows_axis, "given")
    rng = np.random.default_rng(0)
    draw = _Draw(specs, hints, rng)
    size, took = _answered_size(run, draw)
    wanted = _affordable(specs, draw.rows(1, size), took, max(job.samples, FEWEST))
    if rows_axis:
        groups = list(_chunks(draw.rows(wanted, size)))
    else:
        groups = [draw.rows(1, size) for _ in range(min(wanted, MOST_CALLS))]
    groups, answers = _answered(run, groups, rows_axis)
    alike = len(groups)
    if draw.open_sizes:
        others, more = _other_sizes(run, draw)
        groups, answers = [*groups, *others], [*answers, *more]
    return _samples(groups, answers, alike, rows_axis, "model")


def _samples(
    groups: list[dict[str, np.ndarray]],
    answers: list[Tensors],
    alike: int,
    rows_axis: bool,
    source: str,
) -> Samples:
    rowwise = rows_axis and all(
        array.ndim and len(array) == len(next(iter(group.values())))
        for group, answer in zip(groups, answers, strict=True)
        for array in answer.values()
    )
    return Samples(tuple(groups), tuple(answers), alike, rowwise, source)


class _Draw:
    """Draws calls for some specs."""

    def __init__(
        self, specs: tuple[TensorSpec, ...], hints: Mapping[str, Hint], rng: np.random.Generator
    ):
        self._specs = specs
        self._hints = hints
        self._rng = rng
        self.open_sizes = any(None in spec.shape[1:] for spec in specs)

    def rows(self, count: int, size: int) -> dict[str, np.ndarray]:
        """Inputs of one call: `count` rows, and `size` on every other axis of any size."""
        drawn = {}
        for spec in self._specs:
            shape = tuple(
                (count if axis == 0 else size) if want is None else want
                for axis, want in enumerate(spec.shape)
            )
            drawn[spec.name] = _values(spec, shape, self._hints.get(spec.name), self._rng)
        return drawn


def _answered_size(run: Run, draw: _Draw) -> tuple[int, float]:
    """A size that the original answers, and the seconds that a row of it takes."""
    reason = ""
    for size in SIZES if draw.open_sizes else (1,):
        one = draw.rows(1, size)
        try:
            run(one)
            began = time.monotonic()
            run(one)
        except MaasError as error:
            reason = reason or error.message
        else:
            return size, time.monotonic() - began
    raise invalid(
        f"no drawn sample was answered ({reason}); publish it with --sample and a few rows that "
        "it does answer"
    )


def _affordable(specs: tuple[TensorSpec, ...], one: Tensors, took: float, wanted: int) -> int:
    size = sum(one[spec.name].nbytes for spec in specs)
    return max(LEAST, min(wanted, int(BUDGET_S / max(took, 1e-6)), MOST_BYTES // max(size, 1)))


def _other_sizes(run: Run, draw: _Draw) -> tuple[list[dict[str, np.ndarray]], list[Tensors]]:
    for size in OTHER_SIZES:
        group = draw.rows(4, size)
        try:
            return [group], [run(group)]
        except MaasError:
            continue  # this model does not take that size
    return [], []


def _answered(
    run: Run, groups: list[dict[str, np.ndarray]], rows_axis: bool
) -> tuple[list[dict[str, np.ndarray]], list[Tensors]]:
    """The groups that the original answers; a refused one is tried row by row.

    Raises:
        MaasError: INVALID_ARGUMENT where none is answered.
    """
    kept: list[dict[str, np.ndarray]] = []
    answers: list[Tensors] = []
    reason = ""
    for group in groups:
        count = len(next(iter(group.values()))) if rows_axis else 1
        try:
            answer = run(group)
        except MaasError as error:
            reason = error.message
        else:
            kept.append(group)
            answers.append(answer)
            continue
        for row in range(count if count > 1 else 0):
            one = take(group, slice(row, row + 1))
            try:
                answer = run(one)
            except MaasError as error:
                reason = error.message
            else:
                kept.append(one)
                answers.append(answer)
    if not kept:
        raise invalid(
            f"the model answers none of the rows drawn for it ({reason}); publish it with "
            "--sample and a few rows that it does answer"
        )
    return kept, answers


def _chunks(rows: Tensors) -> Iterator[dict[str, np.ndarray]]:
    count, step = len(next(iter(rows.values()))), rows_at_once(rows)
    for start in range(0, count, step):
        yield take(rows, slice(start, start + step))


def _join(groups: tuple[Tensors, ...]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([group[name] for group in groups]) for name in groups[0]}


def _values(
    spec: TensorSpec, shape: tuple[int, ...], hint: Hint | None, rng: np.random.Generator
) -> np.ndarray:
    if spec.dtype is DType.BYTES:
        return _texts(shape, hint, rng)
    if spec.dtype is DType.BOOL:
        return rng.random(shape) < 0.5
    if hint is not None and hint.kind == "index":
        return rng.integers(0, max(hint.high, 1), shape).astype(spec.dtype.numpy)
    if hint is not None and hint.kind == "scaled":
        spread = _per_row(shape, (0.3, 1.0, 2.0), rng) * _fitting(hint.deviation, shape)
        scaled = _fitting(hint.mean, shape) + spread * rng.standard_normal(shape)
        return np.asarray(scaled).astype(spec.dtype.numpy)
    image = _like_image(spec.shape) or (hint is not None and hint.kind == "pixels")
    if spec.dtype.is_integer:
        high = 256 if image else 2  # tokens, indices, masks: small numbers are in everyone's range
        return rng.integers(0, min(high, np.iinfo(spec.dtype.numpy).max), shape).astype(
            spec.dtype.numpy
        )
    if image:
        highs = (255.0,) if hint is not None and hint.high > 1 else (1.0, 255.0)
        light = _per_row(shape, (0.3, 0.6, 1.0), rng) * _per_row(shape, highs, rng)
        return np.asarray(rng.random(shape) * light).astype(spec.dtype.numpy)
    normal = rng.standard_normal(shape) * _per_row(shape, (0.3, 1.0, 5.0), rng)
    uniform = rng.random(shape) * _per_row(shape, (1.0, 10.0), rng)
    chosen = np.where(_per_row(shape, (0.0, 1.0), rng) > 0, normal, uniform)
    return np.asarray(chosen).astype(spec.dtype.numpy)


def _per_row(
    shape: tuple[int, ...], among: tuple[float, ...], rng: np.random.Generator
) -> np.ndarray:
    """One number for each row, so that rows of several magnitudes are drawn."""
    if not shape:
        return np.asarray(rng.choice(among))
    return np.asarray(rng.choice(among, (shape[0], *[1] * (len(shape) - 1))))


def _fitting(values: np.ndarray | float, shape: tuple[int, ...]) -> np.ndarray:
    """The values where they broadcast to the shape, else their mean.

    They do not where the layer that told them sees several inputs side by side.
    """
    array = np.asarray(values)
    try:
        fits = np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        fits = False
    return array if fits else np.asarray(array.mean())


def _like_image(shape: tuple[int | None, ...]) -> bool:
    """Whether rows look like images: [height, width, channels] with 1, 3 or 4 channels."""
    return (
        len(shape) == 4 and shape[3] in (1, 3, 4) and all(s is None or s >= 8 for s in shape[1:3])
    )


def _texts(shape: tuple[int, ...], hint: Hint | None, rng: np.random.Generator) -> np.ndarray:
    words = hint.words if hint is not None and hint.words else TEXTS
    flat = np.empty(int(np.prod(shape)), dtype=object)
    if hint is not None and hint.examples:
        flat[:] = [hint.examples[i] for i in rng.integers(0, len(hint.examples), flat.size)]
        return flat.reshape(shape)
    # Words of one character are written together, as in Chinese.
    space = "" if all(len(word) < 2 for word in words) else " "
    flat[:] = [
        space.join(words[i] for i in rng.integers(0, len(words), rng.integers(1, 9))).encode()
        for _ in range(flat.size)
    ]
    return flat.reshape(shape)
