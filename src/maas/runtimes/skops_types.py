"""Which types a skops file may hold, and how one is opened.

skops trusts by default (read in skops 0.13 to 0.16, `skops/io/_trusted_types.py` and each node's
`_get_trusted`): Python's primitives and containers, NumPy arrays, dtypes, random states and
ufuncs, SciPy's ufuncs and sparse matrices, scikit-learn's public estimators and loss functions.
None of them runs a function that the file chooses. `functools.partial`, `operator.*`, bound
methods and plain functions are not trusted, and are not listed here either.

The types below are what common estimators need beyond that. Each was read for what its
construction does: they are plain data with methods of scikit-learn's own. Some hold indices that
compiled code follows unchecked; `maas.runtimes.soundness` checks or rebuilds those after loading.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.runtimes.wording import one_sentence

REVIEWED = (
    # Indices followed by compiled code: checked by soundness.
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    # Indices followed by compiled code: thrown away and rebuilt from the points by soundness.
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.metrics._dist_metrics.ManhattanDistance64",
    "sklearn.metrics._dist_metrics.ChebyshevDistance64",
    "sklearn.metrics._dist_metrics.MinkowskiDistance64",
    # Indices followed by compiled code: checked by soundness.
    "scipy.sparse._csr.csr_array",
    "scipy.sparse._csr.csr_matrix",
    # Plain Python over NumPy arrays.
    "numpy.dtype",
    "sklearn.utils._bunch.Bunch",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.CompoundKernel",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.DotProduct",
    "sklearn.gaussian_process.kernels.ExpSineSquared",
    "sklearn.gaussian_process.kernels.Exponentiation",
    "sklearn.gaussian_process.kernels.Matern",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.gaussian_process.kernels.RationalQuadratic",
    "sklearn.gaussian_process.kernels.Sum",
    "sklearn.gaussian_process.kernels.WhiteKernel",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
)
"""Full names, never taken from a file."""

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
