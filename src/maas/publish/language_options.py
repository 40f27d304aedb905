"""What may be said about language models alone is refused for any other, before it is opened."""

from __future__ import annotations

from maas.core.errors import invalid
from maas.core.records import PublishOptions
from maas.publish.engines import LANGUAGE

HUGGING_FACE = "huggingface"


def check_language_options(options: PublishOptions, format_: str) -> None:
    """Refuses options that mean nothing for what was published.

    Args:
        options: what the publisher says.
        format_: as detected.

    Raises:
        MaasError: INVALID_ARGUMENT, naming the option.
    """
    given = {
        "--quantize": options.quantize,
        "--context": options.context_tokens,
        "--served-name": options.served_names,
        "--drop-params": options.drop_params,
    }
    said = [flag for flag, value in given.items() if value]
    if said and format_ not in LANGUAGE:
        raise invalid(
            f"{said[0]} is for language models, and this is {format_}; publish it without"
        )
    if options.quantize and format_ != HUGGING_FACE:
        raise invalid(
            "--quantize is for Hugging Face folders; what was published has its weights in their "
            "final form: publish it without, or publish the folder that it was made from"
        )
