"""The query string of a request."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

from maas.core.errors import invalid

MAX_FIELDS = 64


def query_values(query: bytes) -> Mapping[bytes, bytes]:
    """Reads `a=1&b=2`, percent-decoded; of a name that stands twice, the first value.

    Raises:
        MaasError: INVALID_ARGUMENT for more than `MAX_FIELDS` of them.
    """
    if not query:
        return {}
    try:
        fields = parse_qs(query, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise invalid(f"the query has more than {MAX_FIELDS} fields") from None
    return {name: values[0] for name, values in fields.items()}
