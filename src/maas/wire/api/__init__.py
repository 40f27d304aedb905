"""The control API: Litestar routes over `maas.admin`, its OpenAPI page, and who may use what."""

from maas.wire.api.app import create_api
from maas.wire.api.services import ApiServices

__all__ = ["ApiServices", "create_api"]
