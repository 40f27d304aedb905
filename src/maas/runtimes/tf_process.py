"""Imports TensorFlow and Keras into a process that is theirs, on the CPU and quietly."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import MutableMapping
from typing import Any

from maas.core.errors import ErrorKind, MaasError

SETTINGS = {
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "-1",
    # Errors only: TensorFlow's C++ side writes greetings and hints to stderr otherwise.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # oneDNN announces itself whatever the level, and sums in another order for another batch.
    "TF_ENABLE_ONEDNN_OPTS": "0",
}
"""Read by TensorFlow and Keras when they are imported, never later."""


DISTRIBUTIONS = ("tensorflow", "tensorflow-cpu")
"""What carries TensorFlow; one of them is installed."""


def open_tensorflow(threads: int = 1, environ: MutableMapping[str, str] = os.environ) -> Any:
    """Imports TensorFlow.

    Args:
        threads: threads one operation may use. The first caller in a process decides.
        environ: of this process, which holds nothing but this model.

    Raises:
        MaasError: FAILED_PRECONDITION where it is not installed.
    """
    environ.update(SETTINGS)
    environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))
    environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations among its own modules
            import tensorflow
    except ImportError as error:
        raise missing("TensorFlow") from error
    tensorflow.get_logger().setLevel(logging.ERROR)
    return tensorflow


def open_keras(threads: int = 1) -> Any:
    """Imports Keras 3 on TensorFlow.

    Raises:
        MaasError: FAILED_PRECONDITION where it is not installed, or is Keras 2.
    """
    open_tensorflow(threads)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import keras
    except ImportError as error:
        raise missing("Keras") from error
    if keras.version().split(".")[0] == "2":
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            f"Keras {keras.version()} is installed here and Keras 3 is needed; "
            "install it with: pip install 'maas-server[tensorflow]'",
        )
    return keras


def missing(what: str) -> MaasError:
    """The error where a framework of this extra is not installed."""
    return MaasError(
        ErrorKind.FAILED_PRECONDITION,
        f"{what} is not installed here; install it with: pip install 'maas-server[tensorflow]'",
    )
