"""Every dialect's routes, joined: from a raw path to what is asked of which model."""

from __future__ import annotations

from maas.wire.kserve import routes as kserve
from maas.wire.mlflow import routes as mlflow
from maas.wire.oip import routes as oip
from maas.wire.openai import routes as openai
from maas.wire.plain import routes as plain
from maas.wire.routes import Family, Route, no_route, planned
from maas.wire.tfserving import routes as tfserving
from maas.wire.torchserve import routes as torchserve

FAMILIES: tuple[Family, ...] = (
    oip.FAMILY,
    tfserving.FAMILY,
    kserve.FAMILY,
    mlflow.FAMILY,
    torchserve.FAMILY,
    openai.FAMILY,
    plain.FAMILY,
)
"""In the order in which they are asked; the plain calls take what no other does."""

_FIXED = {path: route for family in FAMILIES for path, route in family.fixed.items()}
_PLANNED = (b"/v1/embeddings", b"/v1/responses", b"/console")
_PLANNED_BELOW = (b"/console/",)


def family_of(path: bytes) -> Family:
    """Whose shape an error on that path has, however malformed the path is."""
    for family in FAMILIES:
        if path in family.fixed or path.startswith(family.prefixes):
            return family
    return plain.FAMILY


def match(path: bytes) -> Route:
    """Understands a raw path.

    Args:
        path: percent-encoded, without the query.

    Raises:
        MaasError: NOT_FOUND for no route, UNIMPLEMENTED for one that is planned,
            INVALID_ARGUMENT for a malformed name or version.
    """
    fixed = _FIXED.get(path)
    if fixed is not None:
        return fixed
    if not path.startswith(b"/"):
        raise no_route(path)
    if path in _PLANNED or path.startswith(_PLANNED_BELOW):
        raise planned(path)
    return family_of(path).match(path)
