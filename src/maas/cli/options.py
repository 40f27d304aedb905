"""Options that several commands share, and the client they lead to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from maas.core.errors import invalid
from maas.core.generation import QUANTIZATIONS

if TYPE_CHECKING:
    from maas.client import Client
    from maas.core.identity import ModelRef

Url = Annotated[
    str | None,
    typer.Option("--url", help="The server; MAAS_URL, else http://127.0.0.1:8080."),
]
Key = Annotated[
    str | None,
    typer.Option("--key", help="The key; MAAS_API_KEY, else the local owner's."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Name = Annotated[str, typer.Argument(metavar="NAME", help="The model's name.")]
Ref = Annotated[str, typer.Argument(metavar="NAME[:VERSION]", help="A model, or one version.")]

PublishName = Annotated[
    str | None,
    typer.Option("--name", help="The model's name; the file's name without its ending."),
]
Alias = Annotated[
    list[str] | None,
    typer.Option("--alias", help="An alias to set on the version; repeatable."),
]
Description = Annotated[str, typer.Option("--description", help="What the model is.")]
Accuracy = Annotated[
    float | None,
    typer.Option("--accuracy", help="Measured on held-out data, 0 to 1."),
]
Metric = Annotated[
    list[str] | None,
    typer.Option("--metric", metavar="NAME=NUMBER", help="A measured figure; repeatable."),
]
Tag = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="NAME=TEXT", help="A short label; repeatable."),
]
Card = Annotated[str | None, typer.Option("--card", help="The model card, a Markdown file.")]
Sample = Annotated[
    str | None,
    typer.Option("--sample", help="A file of rows that the served form is proven on."),
]
Code = Annotated[
    list[str] | None,
    typer.Option(
        "--code",
        metavar="FILE|DIR",
        help="A module or package that the model imports; repeatable; wants --trust.",
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Open formats that carry code (pickle, .h5, Python): in the sandbox."
    ),
]
Engine = Annotated[
    str,
    typer.Option("--engine", metavar="NAME", help="What serves it; the fastest that agrees."),
]


def _check_quantize(value: str) -> str:
    """Refuses a wrong one before gigabytes are sent for nothing."""
    if value and value not in QUANTIZATIONS:
        raise invalid(f"{value[:40]!r} is no quantisation; expected {', '.join(QUANTIZATIONS)}")
    return value


Quantize = Annotated[
    str,
    typer.Option(
        "--quantize",
        metavar="|".join(QUANTIZATIONS),
        help="How a language model's weights are kept; q8_0.",
        callback=_check_quantize,
    ),
]
Context = Annotated[
    int,
    typer.Option(
        "--context",
        metavar="TOKENS",
        help="A smaller context than a language model's own.",
        show_default=False,
        min=0,
    ),
]
ServedName = Annotated[
    list[str] | None,
    typer.Option(
        "--served-name",
        metavar="NAME",
        help="A further name that requests may give as `model`; repeatable.",
    ),
]
DropParams = Annotated[
    bool,
    typer.Option(
        "--drop-params", help="Leave out parameters that its engine lacks instead of refusing."
    ),
]
NoPromote = Annotated[
    bool,
    typer.Option("--no-promote", help="Leave unversioned calls with the version they have."),
]

ModelRepository = Annotated[
    str | None,
    typer.Option(
        "--model-repository",
        metavar="DIR",
        help="Watch a Triton model repository: DIR/NAME/1/, DIR/NAME/2/ …",
    ),
]
ModelBasePath = Annotated[
    str | None,
    typer.Option(
        "--model-base-path",
        "--model_base_path",
        metavar="DIR",
        help="Watch the versions of one model, as TensorFlow Serving: DIR/1/, DIR/2/ …",
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option("--model-name", "--model_name", help="The model's name in --model-base-path."),
]
ModelConfigFile = Annotated[
    str | None,
    typer.Option(
        "--model-config-file",
        "--model_config_file",
        metavar="FILE",
        help="Watch the models that a TensorFlow Serving models.config names.",
    ),
]
PollSeconds = Annotated[
    float | None,
    typer.Option(
        "--repository-poll-secs",
        "--file-system-poll-wait-seconds",
        "--file_system_poll_wait_seconds",
        metavar="SECONDS",
        help="How often to look at what is watched; 2. 0 looks once.",
    ),
]


def connect(url: str | None, key: str | None) -> Client:
    """Makes the client that a command talks through."""
    from maas.client import Client

    return Client(url, key)


def parse_metrics(pairs: Sequence[str] | None) -> dict[str, float]:
    """Reads `NAME=NUMBER`, such as `rmse=3.1`.

    Raises:
        MaasError: INVALID_ARGUMENT for a pair of another form.
    """
    metrics: dict[str, float] = {}
    for name, text in _pairs(pairs, "--metric").items():
        try:
            metrics[name] = float(text)
        except ValueError:
            raise invalid(
                f"--metric {name}={text}: {text!r} is not a number, as in --metric rmse=3.1"
            ) from None
    return metrics


def parse_tags(pairs: Sequence[str] | None) -> dict[str, str]:
    """Reads `NAME=TEXT`, such as `team=vision`.

    Raises:
        MaasError: INVALID_ARGUMENT for a pair of another form.
    """
    return _pairs(pairs, "--tag")


def parse_target(text: str) -> ModelRef:
    """Reads `NAME` or `NAME:VERSION`.

    Raises:
        MaasError: INVALID_ARGUMENT for an alias, which this command does not take.
        MaasError: INVALID_ARGUMENT for what cannot be a name.
    """
    from maas.core.identity import parse_ref

    ref = parse_ref(text)
    if ref.alias is not None:
        raise invalid(f"{text!r} names an alias; expected NAME or NAME:VERSION")
    return ref


def _pairs(pairs: Sequence[str] | None, option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs or ():
        name, separator, value = pair.partition("=")
        if not name or not separator:
            raise invalid(f"{option} {pair!r} has no '='; expected NAME=VALUE")
        if name in found:
            raise invalid(f"{option} {name} is given twice")
        found[name] = value
    return found
