"""Which types a skops file may hold, and how one is opened.

skops trusts by default (read in skops 0.13 to 0.16, `skops/io/_trusted_types.py` and each node's
`_get_trusted`): Python's primitives and containers, NumPy arrays, dtypes, random states and
ufuncs, SciPy's ufuncs and sparse matrices, scikit-learn's public estimators and loss functions.
None of them runs a function that the file chooses. `functools.partial`, `operator.*`, bound
methods and plain functions are not trusted.

`maas.core.reviewed` lists what common estimators need beyond that. Some of it holds indices that
compiled code follows unchecked; `maas.runtimes.soundness` checks or rebuilds those after loading.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.reviewed import REVIEWED
from maas.runtimes.wording import one_sentence

INSTALL = "pip install 'maas-server[sklearn]'"


def require_sklearn() -> None:
    """Checks that scikit-learn and skops can be imported.

    Raises:
        MaasError: FAILED_PRECONDITION, with the command that installs them.
    """
    try:
        import skops.io  # noqa: F401  (its import is the check, and imports scikit-learn)
    except ImportError as error:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            f"a skops model needs scikit-learn and skops, which are not installed here; "
            f"run: {INSTALL}",
        ) from error


def untrusted_types(file: Path) -> list[str]:
    """Names of the types in a skops file that are neither skops's defaults nor `REVIEWED`.

    Raises:
        MaasError: INVALID_ARGUMENT where skops cannot read the file.
    """
    import skops.io

    try:
        return sorted(set(skops.io.get_untrusted_types(file=file)) - set(REVIEWED))
    except Exception as error:
        raise invalid(f"skops cannot read the file: {one_sentence(error)}") from error


def load_skops(file: Path) -> Any:
    """Opens a skops file and makes sure of what it holds. There is no other way to open one.

    Returns:
        The estimator, fit to predict in one thread, its indices checked.

    Raises:
        MaasError: INVALID_ARGUMENT for unknown types, for content that cannot be loaded, and for
            indices that compiled code would follow out of bounds; FAILED_PRECONDITION without
            scikit-learn.
    """
    require_sklearn()
    import skops.io

    from maas.runtimes.soundness import make_sound

    unknown = untrusted_types(file)
    if unknown:
        raise invalid(
            f"the file holds types that are not on the list of reviewed ones: "
            f"{', '.join(unknown[:8])}{' …' if len(unknown) > 8 else ''}; "
            f"expected scikit-learn's own estimators over NumPy data"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # another scikit-learn version: the report says so
        try:
            estimator = skops.io.load(file, trusted=list(REVIEWED))
        except Exception as error:
            raise invalid(f"skops cannot load the file: {one_sentence(error)}") from error
    return make_sound(estimator)
