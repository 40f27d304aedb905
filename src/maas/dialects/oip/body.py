"""A body of two parts: JSON, then the tensors that are sent in binary, in their order."""

from __future__ import annotations

from maas.core.errors import invalid

HEADER = "Inference-Header-Content-Length"


def read_json_length(value: bytes, size: int) -> int | None:
    """How many bytes of a body are JSON.

    Args:
        value: the header's; empty where it is not there.
        size: of the body, decompressed.

    Returns:
        None for all of them, 0 for none: the body is the only input's tensor.

    Raises:
        MaasError: INVALID_ARGUMENT for what is no number, or one beyond the body.
    """
    if not value:
        return None
    value = value.strip()
    if not value.isdigit() or len(value) > 18:
        raise invalid(
            f"{HEADER} is {value.decode('latin-1')[:20]!r}; expected how many bytes of the body "
            "are JSON"
        )
    length = int(value)
    if length > size:
        raise invalid(
            f"{HEADER} is {length} and the body has {size} bytes; it counts the JSON at the "
            "body's beginning, after decompression"
        )
    return None if length == size > 0 else length


class Blobs:
    """What follows the JSON, taken tensor by tensor.

    Args:
        data: all of it.
    """

    __slots__ = ("_at", "_data")

    def __init__(self, data: memoryview):
        self._data = data
        self._at = 0

    def take(self, size: int, what: str) -> memoryview:
        """The next so many bytes.

        Raises:
            MaasError: INVALID_ARGUMENT where there are fewer.
        """
        start = self._at
        left = len(self._data) - start
        if size > left:
            raise invalid(
                f"{what} says binary_data_size {size} and {left} bytes of the body are left; send "
                f"each tensor's bytes after the JSON, whose length is in {HEADER}"
            )
        self._at = start + size
        return self._data[start : self._at]

    def end(self) -> None:
        """Checks that all has been taken.

        Raises:
            MaasError: INVALID_ARGUMENT.
        """
        left = len(self._data) - self._at
        if left:
            raise invalid(
                f"{left} bytes of the body are left over after the last tensor; every tensor in "
                "binary has its length as the parameter binary_data_size"
            )
