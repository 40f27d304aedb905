"""Model-as-a-Service: publish a model file, call it over the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maas.client import AsyncClient, Client
    from maas.core.pythonmodel import (
        BFloat16,
        Bool,
        Float16,
        Float32,
        Float64,
        Int8,
        Int16,
        Int32,
        Int64,
        PythonModel,
        Text,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
    )

__version__ = "0.1.0"
__all__ = [
    "AsyncClient",
    "BFloat16",
    "Bool",
    "Client",
    "Float16",
    "Float32",
    "Float64",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "PythonModel",
    "Text",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Imports the SDK when it is first asked for, so that `import maas` costs nothing."""
    if name in ("Client", "AsyncClient"):
        from maas import client

        return getattr(client, name)
    if name in __all__:
        from maas.core import pythonmodel

        return getattr(pythonmodel, name)
    raise AttributeError(f"module 'maas' has no attribute {name!r}")
