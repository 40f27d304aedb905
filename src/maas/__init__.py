"""Model-as-a-Service: publish a model file, call it over the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maas.client import AsyncClient, Client

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "__version__"]


def __getattr__(name: str) -> Any:
    """Imports the SDK when it is first asked for, so that `import maas` costs nothing."""
    if name in ("Client", "AsyncClient"):
        from maas import client

        return getattr(client, name)
    raise AttributeError(f"module 'maas' has no attribute {name!r}")
