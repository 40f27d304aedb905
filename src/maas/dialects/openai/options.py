"""How a request is to be answered: by which model, at once or as it is written."""

from __future__ import annotations

from msgspec import Struct

from maas.dialects.openai.errors import ParameterError
from maas.dialects.openai.fields import Fields

MAX_MODEL = 256


class Options(Struct, frozen=True):
    """How a request is answered.

    Args:
        stream: as it is written.
        usage: the stream ends with what was used.
    """

    stream: bool = False
    usage: bool = False


def read_options(fields: Fields) -> Options:
    """Reads `stream` and `stream_options`.

    Raises:
        MaasError: INVALID_ARGUMENT naming the parameter.
    """
    stream = fields.flag("stream")
    about = fields.fields("stream_options")
    if about is None:
        return Options(stream)
    if not stream:
        raise ParameterError("stream_options", "stream_options goes with stream: true alone")
    return Options(stream, about.flag("include_usage"))


def read_model(fields: Fields) -> str | None:
    """Reads `model`; an empty one is the same as none.

    Raises:
        MaasError: INVALID_ARGUMENT naming the parameter.
    """
    return fields.text("model", MAX_MODEL) or None
