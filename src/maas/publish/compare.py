"""Whether two sets of answers to the same rows are the same."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from maas.core.records import Parity
from maas.core.tensor import Tensors

RTOL = 1e-3
"""Relative tolerance. A float32 engine is right to about 1e-7 an operation, and 1e-5 after sums
over thousands of terms and an exponential; a wrong one (another tokeniser, another kernel) is off
by percents. 1e-3 lies well between."""
ATOL = 1e-5
"""Absolute tolerance, as a share of the output's largest magnitude where that is above 1: what
float32 loses where large terms cancel."""
HALF = 10
"""So many times wider both are for float16, whose own steps are 1e-3 wide."""


class Difference(Struct, frozen=True):
    """How far apart two sets of answers are.

    Args:
        rows: rows compared.
        wrong: rows that differ by more than the tolerances.
        max_abs: largest absolute difference of any number.
        max_rel: largest relative difference, where the reference is not within the absolute
            tolerance of 0.
        output: the output in which most rows differ; empty when none does.
    """

    rows: int
    wrong: int
    max_abs: float
    max_rel: float
    output: str

    @property
    def agrees(self) -> bool:
        """Whether every row is within tolerance."""
        return self.wrong == 0

    def describe(self) -> str:
        """Writes it out: `12 of 512 rows differ in 'label'`, with the largest difference."""
        if self.agrees:
            return f"equal on {self.rows} rows (largest difference {self.max_abs:.1e})"
        text = f"{self.wrong} of {self.rows} rows differ in {self.output!r}"
        return f"{text} (by up to {self.max_abs:.2g})" if self.max_abs else text


def compare(
    reference: Tensors, candidate: Tensors, undecided: np.ndarray | None = None
) -> Difference:
    """Compares two answers, row by row of the first axis.

    Args:
        reference: right by definition; each array [rows, …].
        candidate: the same outputs.
        undecided: bool [rows]: where the reference is torn between two labels, so that either
            is right; numbers are compared all the same.
    """
    rows = max((len(a) for a in reference.values() if a.ndim), default=1)
    wrong = np.zeros(rows, dtype=bool)
    max_abs = max_rel = 0.0
    most, output = 0, ""
    for name, want in reference.items():
        got = candidate[name]
        bad: np.ndarray
        if want.shape != got.shape:
            return Difference(rows, max(rows, 1), max_abs, max_rel, name)
        if want.dtype.kind in "fcV":
            wider = HALF if want.dtype == np.float16 else 1
            bad, largest, relative = _numbers(
                want.astype(np.float64), got.astype(np.float64), wider
            )
            max_abs, max_rel = max(max_abs, largest), max(max_rel, relative)
        else:
            bad = np.not_equal(want, got)
        if want.ndim and len(want) == rows:
            bad = np.any(bad, axis=tuple(range(1, bad.ndim)))
        else:
            bad = np.full(rows, bool(bad.any()))
        if undecided is not None and want.dtype.kind not in "fcV":
            bad = np.logical_and(bad, ~undecided)
        if bad.sum() > most:
            most, output = int(bad.sum()), name
        wrong |= bad
    return Difference(rows, int(wrong.sum()), max_abs, max_rel, output)


def _numbers(want: np.ndarray, got: np.ndarray, wider: int) -> tuple[np.ndarray, float, float]:
    """Which elements differ, and the largest absolute and relative difference."""
    finite = np.isfinite(want) & np.isfinite(got)
    same = finite | (want == got) | (np.isnan(want) & np.isnan(got))
    gap = np.abs(np.where(finite, want, 0) - np.where(finite, got, 0))
    size = np.abs(np.where(finite, want, 0))
    floor = wider * ATOL * max(1.0, float(size.max(initial=0)))
    bad = ~same | (gap > floor + wider * RTOL * size)
    large = size > floor
    relative = float((gap[large] / size[large]).max(initial=0))
    return np.asarray(bad), float(gap.max(initial=0)), relative


def distinct_answers(answers: Tensors) -> int:
    """How many different answers there are: of the first output, numbers to 4 digits."""
    first = next(iter(answers.values()))
    if first.dtype.kind in "fcV":
        first = np.nan_to_num(first.astype(np.float64))
        places = 3 - np.floor(np.log10(np.maximum(np.abs(first), 1e-300)))
        unit = np.power(10.0, np.clip(-places, -290, 290))
        first = np.round(first / unit) * unit
    flat = first.reshape(len(first), -1) if first.ndim else first.reshape(1, 1)
    return len({tuple(row) for row in flat.tolist()})


def parity_of(difference: Difference, distinct: int, source: str) -> Parity:
    """The proof that a report shows.

    Args:
        difference: of the original's answers and the lowered form's.
        distinct: how many different answers the original gave; one proves nothing.
        source: where the rows are from, as in `Parity`.
    """
    note = ""
    if distinct == 1:
        note = (
            f"all {difference.rows} samples gave one answer, which proves nothing; publish it with "
            "--sample and rows that are answered differently"
        )
    return Parity(
        samples=difference.rows,
        source=source,
        max_abs=difference.max_abs,
        max_rel=difference.max_rel,
        distinct_answers=distinct,
        agrees=difference.agrees and distinct > 1,
        note=note,
    )
