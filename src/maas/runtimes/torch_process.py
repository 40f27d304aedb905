"""Imports PyTorch into a process that is its own, on the CPU."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import MutableMapping
from typing import Any

from maas.core.errors import ErrorKind, MaasError

SETTINGS = {
    # torch.export.load falls back to unpickling anything; with this no torch.load ever does.
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
    "CUDA_VISIBLE_DEVICES": "",
}
"""Read by PyTorch when it is imported or asked, so they are there before."""


def import_torch(threads: int = 1, environ: MutableMapping[str, str] = os.environ) -> Any:
    """Imports PyTorch.

    Args:
        threads: threads one operation may use. The first caller in a process decides.
        environ: of this process, which holds nothing but this model.

    Raises:
        MaasError: FAILED_PRECONDITION where it is not installed.
    """
    environ.update(SETTINGS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch
    except ImportError as error:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            "PyTorch is not installed here; install it with: pip install 'maas-server[torch]'",
        ) from error
    logging.getLogger("torch").setLevel(logging.CRITICAL)
    torch.set_num_threads(threads)
    with contextlib.suppress(RuntimeError):  # it may be set once, before anything has run
        torch.set_num_interop_threads(1)
    return torch
