"""What is said about the wrong kind of model is refused before it is opened."""

from __future__ import annotations

from maas.core.errors import invalid
from maas.core.records import PublishOptions
from maas.publish.engines import LANGUAGE
from maas.publish.uploads import Upload

HUGGING_FACE = "huggingface"


def check_language_options(upload: Upload, options: PublishOptions, format_: str) -> None:
    """Refuses options that mean nothing for what was published.

    Args:
        upload: what came with it.
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
    if upload.sample is not None and format_ in LANGUAGE:
        raise invalid(
            "--sample is for models of tensors; a language model is proven on texts of the "
            "server's own: publish it without"
        )
    if upload.code is not None and format_ in LANGUAGE:
        raise invalid("--code is for models that carry code, and a language model carries none")
    if options.quantize and format_ != HUGGING_FACE:
        raise invalid(
            "--quantize is for Hugging Face folders; what was published has its weights in their "
            "final form: publish it without, or publish the folder that it was made from"
        )
