"""States of a servable, with TensorFlow Serving's names."""

from __future__ import annotations

from enum import StrEnum


class ServableState(StrEnum):
    """Where a version is on its way; it only moves forward, and a new load begins at START."""

    START = "START"
    """Known and wanted; nothing has been done yet."""
    LOADING = "LOADING"
    """Its host is reading it, warming it up and running one proving sample."""
    AVAILABLE = "AVAILABLE"
    """It answers calls."""
    UNLOADING = "UNLOADING"
    """It takes no new calls; it goes once every ingress knows."""
    END = "END"
    """It is not loaded: never wanted, unloaded, or failed (then there is a reason)."""

    # Enum's own hash is a Python function; the router asks for the state of every call's version.
    __hash__ = str.__hash__
