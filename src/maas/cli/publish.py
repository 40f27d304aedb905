"""`maas publish`: a file, a folder or a URL becomes a version."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maas.cli import options
from maas.cli.output import note, print_json, say
from maas.cli.progress import JobProgress
from maas.core.errors import invalid
from maas.core.generation import Feature

if TYPE_CHECKING:
    from maas.core.records import Operation, PublishOptions

READY_WAIT_S = 60.0


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        epilog="Example: maas publish iris.onnx --name iris --alias prod --accuracy 0.97; "
        "maas publish qwen2.5-0.5b/ --name assistant --quantize q8_0 --served-name gpt-4o-mini"
    )(publish)


def publish(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Files, folders, upstreams' URLs.")
    ],
    name: options.PublishName = None,
    alias: options.Alias = None,
    description: options.Description = "",
    accuracy: options.Accuracy = None,
    metric: options.Metric = None,
    tag: options.Tag = None,
    card: options.Card = None,
    sample: options.Sample = None,
    code: options.Code = None,
    trust: options.Trust = False,
    engine: options.Engine = "",
    quantize: options.Quantize = "",
    context: options.Context = 0,
    served_name: options.ServedName = None,
    drop_params: options.DropParams = False,
    no_promote: options.NoPromote = False,
    url: options.Url = None,
    key: options.Key = None,
    json: options.Json = False,
    key_file: Annotated[str | None, typer.Option("--key-file", hidden=True)] = None,
    wait_ready: Annotated[bool, typer.Option("--wait-ready", hidden=True)] = False,
) -> None:
    """Publish a file, a folder or another server's model: check, prove, serve it."""
    from maas.client.arguments import publish_options, published

    named = name_models(paths, name)
    about = publish_options(
        alias or (),
        description,
        accuracy,
        options.parse_metrics(metric),
        options.parse_tags(tag),
        not no_promote,
        trust,
        engine,
        quantize,
        context,
        served_name or (),
        drop_params,
    )
    if wait_ready:
        wait_until_ready(url)
    if key_file is not None and key is None:
        key = Path(key_file).read_text(encoding="utf-8").strip()
    done: list[Operation] = []
    with options.connect(url, key) as client:
        for path, model in named:
            try:
                with JobProgress(f"publishing {model}") as progress:
                    operation = client.publish_job(
                        path,
                        model,
                        about,
                        sample=sample,
                        card=card,
                        code=code or (),
                        progress=progress,
                    )
            except KeyboardInterrupt:
                note(
                    f"what had been uploaded the server still publishes: maas show {model} says "
                    f"what became of it, maas rollback {model} goes back"
                )
                raise
            published(operation)
            done.append(operation)
            if not json:
                _report(operation, about, client.url)
    if json:
        print_json(done[0] if len(done) == 1 else done)


def name_models(paths: Sequence[str], name: str | None) -> list[tuple[str, str]]:
    """Pairs each path with the name it is published under: `--name`, else its own without ending.

    A URL's own name is that of the model there.

    Raises:
        MaasError: INVALID_ARGUMENT for a path that is not there, one name for several paths, two
            paths of one name, or a name that a model cannot have.
    """
    from maas.core.identity import check_publish_name
    from maas.core.upstreams import looks_like_upstream, parse_upstream

    if name is not None and len(paths) > 1:
        raise invalid("--name goes with one PATH; several are named after their files")
    named: dict[str, str] = {}
    for path in paths:
        if looks_like_upstream(path):
            stem = parse_upstream(path).model
        else:
            full = Path(path).expanduser()
            if not full.exists():
                raise invalid(f"{path}: no such file or folder")
            stem = full.resolve().stem
        model = check_publish_name(name if name is not None else stem)
        if model in named:
            raise invalid(f"{path} and {named[model]} would both be called {model!r}")
        named[model] = path
    return [(path, model) for model, path in named.items()]


def wait_until_ready(url: str | None) -> None:
    """Waits for `/readyz`.

    Raises:
        ServerUnreachable: it took more than READY_WAIT_S.
    """
    from maas.client import Client, ServerUnreachable

    deadline = time.monotonic() + READY_WAIT_S
    with Client(url, key="", timeout_s=2) as client:
        while not client.ready():
            if time.monotonic() > deadline:
                raise ServerUnreachable(
                    f"{client.url} was not ready within {READY_WAIT_S:.0f} s; see its log"
                )
            time.sleep(0.1)


def _report(operation: Operation, about: PublishOptions, url: str) -> None:
    version = operation.version
    if version is None:
        return
    report = version.report
    state = "published" if operation.created else "already there, unchanged"
    say(f"{version.name}:{version.version} {state}: {report.format}, served by {report.engine}")
    if report.reason:
        say(f"  {report.reason}")
    for warning in report.warnings:
        note(f"warning: {warning}")
    ref = version.name
    if not about.promote:
        ref = f"{version.name}:{version.version}"
        say(f"  unversioned calls stay where they were; call {ref}")
    if report.generative is not None and Feature.CHAT not in report.generative.lacks:
        say(f"  talk to it: maas chat {ref}")
    say(f"  call it: maas show {ref} --code curl")
