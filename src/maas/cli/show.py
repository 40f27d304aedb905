"""`maas show`: one model or version, and code that calls it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from maas.cli import options
from maas.cli.output import print_json, say, say_raw
from maas.core.errors import ErrorKind, MaasError

if TYPE_CHECKING:
    from maas.core.records import ModelRecord, VersionRecord


class Code(StrEnum):
    """Clients that a snippet can be for."""

    CURL = "curl"
    PYTHON = "python"
    OPENAI = "openai"
    TRITON = "triton"
    TRITON_GRPC = "triton-grpc"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("show", epilog="Example: maas show iris:2 --code python")(show)


def show(
    ref: Annotated[str, typer.Argument(metavar="NAME[:VERSION]", help="Or NAME@ALIAS.")],
    code: Annotated[
        Code | None, typer.Option("--code", help="Print a call of it that runs as it stands.")
    ] = None,
    url: options.Url = None,
    key: options.Key = None,
    json: options.Json = False,
) -> None:
    """Show a model: signature, engine, proof, figures."""
    from maas.cli.snippets import snippet
    from maas.core.identity import parse_ref

    target = parse_ref(ref)
    with options.connect(url, key) as client:
        if target.version is not None:
            model, version = None, client.version(target.name, target.version)
        else:
            model = client.model(target.name)
            version = pick(model, target.alias)
        if code is not None:
            info = client.info()
            if code is Code.TRITON_GRPC and not info.grpc:
                raise MaasError(
                    ErrorKind.FAILED_PRECONDITION,
                    f"this server answers no gRPC, since its front is {info.front}; "
                    "use --code triton, or see maas doctor",
                )
            locked = info.auth == "required"
            say_raw(snippet(code, client.url, target, version, locked))
            return
    if json:
        print_json(model if model is not None and target.alias is None else version)
        return
    if model is not None:
        _print_model(model)
    _print_version(version)


def pick(model: ModelRecord, alias: str | None) -> VersionRecord:
    """The version that a name or an alias means: what serves, else what should, else the newest.

    Raises:
        MaasError: NOT_FOUND for an unknown alias or a model without versions.
    """
    wanted = (
        (model.aliases.get(alias),)
        if alias is not None
        else (model.serving_version, model.default_version)
    )
    for number in wanted:
        for version in model.versions:
            if version.version == number:
                return version
    if alias is not None:
        there = ", ".join(sorted(model.aliases)) or "none"
        raise MaasError(
            ErrorKind.NOT_FOUND, f"{model.name} has no alias {alias!r}; there is: {there}"
        )
    if not model.versions:
        raise MaasError(ErrorKind.NOT_FOUND, f"{model.name} has no version")
    return model.versions[0]


def _print_model(model: ModelRecord) -> None:
    _line("model", model.name)
    _line("versions", ", ".join(str(version.version) for version in model.versions))
    _line("serving", "none" if model.serving_version is None else str(model.serving_version))
    if model.default_version != model.serving_version:
        _line("default", "none" if model.default_version is None else str(model.default_version))
    if model.previous_version is not None:
        _line("rollback to", str(model.previous_version))
    for alias, number in sorted(model.aliases.items()):
        _line("alias", f"{alias} = {number}")
    _line("state", f"{model.state}: {model.reason}" if model.reason else model.state)
    say()


def _print_version(version: VersionRecord) -> None:
    from maas.cli.report import report_lines
    from maas.core.signature import describe_spec

    _line("version", f"{version.name}:{version.version}")
    _line("state", f"{version.state}: {version.reason}" if version.reason else version.state)
    if version.description:
        _line("description", version.description)
    if version.accuracy is not None:
        _line("accuracy", f"{version.accuracy:g}")
    for name, value in sorted(version.metrics.items()):
        _line("metric", f"{name} = {value:g}")
    for name, text in sorted(version.tags.items()):
        _line("tag", f"{name} = {text}")
    if version.aliases:
        _line("aliases", ", ".join(version.aliases))
    for signature in version.signatures.values():
        _line("signature", f"{signature.name}{', batched' if signature.batched else ''}")
        for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
            for spec in specs:
                what = "columns" if kind == "input" else "labels"
                labels = f"; {what} {', '.join(spec.labels)}" if spec.labels else ""
                _line(f"  {kind}", describe_spec(spec) + labels)
    for label, text in report_lines(version.report):
        _line(label, text)
    _line("digest", version.digest)
    _line("published", f"{version.created_at} by {version.created_by}")
    if version.process:
        _line("process", version.process)


def _line(label: str, text: str) -> None:
    say(f"{label:<13} {text}".rstrip())
