"""CSV → a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.signature import Signature
from maas.core.tensor import DType
from maas.dialects.table.columns import Table, first_twice
from maas.dialects.tensorjson.document import MAX_OBJECTS

MAX_COLUMNS = 65_536
_TRUTH = frozenset(("True", "False", "true", "false"))


def decode_text(body: bytes, *, utf8: bool) -> str:
    """Decodes UTF-8, with or without a byte-order mark; else GB18030, unless UTF-8 was declared.

    Raises:
        MaasError: INVALID_ARGUMENT for neither.
    """
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start
    if not utf8:
        try:
            text = body.decode("gb18030")
        except UnicodeDecodeError:
            pass
        else:
            if "\0" not in text:
                return text
    raise invalid(f"the CSV is not UTF-8 at byte {at}; send it as UTF-8")


def read_csv(text: str, signature: Signature, *, header: bool | None = None) -> Table:
    """Reads rows of comma-separated cells; empty lines are left out.

    Args:
        text: the file.
        signature: of the model, which says whether a first row of numbers can be a row of values.
        header: whether the first row holds the columns' names; None to look. Then it does, unless
            all of its cells are numbers and the model takes numbers only. `0,1,2` and so on are
            names, as pandas writes them for columns that have none.

    Raises:
        MaasError: INVALID_ARGUMENT for broken quotes, rows of unequal lengths, a name that stands
            twice, no rows, or a first row that may be either; TOO_LARGE.
    """
    # Every cell becomes a string: they are counted before they are made.
    if text.count(",") + text.count("\n") + text.count("\r") > MAX_OBJECTS:
        raise MaasError(
            ErrorKind.TOO_LARGE,
            f"the CSV holds more than {MAX_OBJECTS} cells; send fewer rows in one call, or JSON",
        )
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise invalid(f"the body is not CSV: {error}") from None
    if not rows:
        raise invalid("the CSV is empty; expected a header and at least one row")
    width = len(rows[0])
    if width > MAX_COLUMNS:
        raise invalid(f"the CSV has {width} columns; expected at most {MAX_COLUMNS}")
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise invalid(f"row {number} of the CSV has {len(row)} cells where row 1 has {width}")
    names = None
    if _is_header(rows[0], signature) if header is None else header:
        names = tuple(cell.strip() for cell in rows.pop(0))
        twice = first_twice(names)
        if twice is not None:
            raise invalid(f"the CSV names the column {twice[:80]!r} twice")
        if not rows:
            raise invalid("the CSV has a header and no rows; send at least one")
    return Table(names, [list(column) for column in zip(*rows, strict=True)], texts=True)


def _is_header(cells: Sequence[str], signature: Signature) -> bool:
    known = {name for spec in signature.inputs for name in (spec.name, *(spec.labels or ()))}
    if known.intersection(cell.strip() for cell in cells):
        return True
    if any(spec.dtype is DType.BYTES for spec in signature.inputs):
        return True
    if not all(_is_number(cell) for cell in cells):
        return True
    if list(cells) != [str(index) for index in range(len(cells))]:
        return False
    if len(cells) > 2:
        return True
    raise invalid(
        f"the first row of the CSV, {','.join(cells)}, may be names or values; say which with "
        "content-type text/csv; header=present or text/csv; header=absent"
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell.strip() in _TRUTH
    return True
