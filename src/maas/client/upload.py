"""What a publish sends: one raw file, or one tar stream of regular files, never held in memory."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from maas.client.call import segment
from maas.client.files import Member, code_files, model_files, one_file, upstream_file
from maas.client.sample import sample_file
from maas.core.errors import invalid
from maas.core.identity import check_publish_name
from maas.core.records import OperationEvent, PublishOptions
from maas.core.upstreams import looks_like_upstream

BLOCK = tarfile.BLOCKSIZE


class Upload(Struct, frozen=True):
    """A publish request, ready to be sent.

    Args:
        path: the route.
        params: the query.
        content_type: `application/octet-stream` for one raw file, `application/x-tar` for more.
        members: what it holds, in order.
        size: of the body, bytes.
    """

    path: str
    params: tuple[tuple[str, str], ...]
    content_type: str
    members: tuple[Member, ...]
    size: int

    def chunks(self) -> Iterator[bytes]:
        """Yields the body.

        Raises:
            MaasError: INVALID_ARGUMENT where a file can no longer be read, or has changed size.
        """
        if self.content_type == "application/octet-stream":
            yield from self.members[0].content()
            return
        for member in self.members:
            yield _header(member)
            yield from member.content()
            yield b"\0" * (-member.size % BLOCK)
        yield b"\0" * (2 * BLOCK)


def prepare(
    source: str | os.PathLike[str],
    name: str,
    options: PublishOptions,
    *,
    sample: Any = None,
    card: str | os.PathLike[str] | None = None,
    code: Sequence[str | os.PathLike[str]] = (),
) -> Upload:
    """Looks at the files and builds the request; nothing is read but their sizes.

    Args:
        source: the model's file or folder, or an upstream's URL.
        name: the model's name.
        options: what the publisher says about the version.
        sample: None, a file, or rows as `sample_file` takes them.
        card: None or the model card's file.
        code: files and folders of modules that the model imports.

    Raises:
        MaasError: INVALID_ARGUMENT for a name, path or figure that cannot be published, and for
            code without trust.
    """
    path = f"/api/models/{segment(check_publish_name(name))}/versions"
    params = _params(options)
    if code and not options.trust:
        raise invalid(
            "code travels only with a model that is trusted; add --trust (trust=True in Python) "
            "if you know where it comes from: it runs in the server's sandbox"
        )
    url = os.fspath(source)
    if looks_like_upstream(url):
        members = [upstream_file(url)]
        single = True
    else:
        root = Path(source).expanduser()
        members = model_files(root)
        single = root.is_file()
    extra = ([] if sample is None else [sample_file(sample)]) + (
        [] if card is None else [one_file(Path(card).expanduser(), "card/README.md")]
    )
    extra += code_files(code)
    if single and not extra:
        (member,) = members
        query = (("filename", member.name.removeprefix("model/")), *params)
        return Upload(path, query, "application/octet-stream", (member,), member.size)
    every = (*members, *extra)
    size = sum(len(_header(m)) + m.size + (-m.size % BLOCK) for m in every) + 2 * BLOCK
    return Upload(path, params, "application/x-tar", every, size)


def upload_step(sent: int, size: int) -> OperationEvent:
    """The progress event of an upload; the job's own fraction has not begun to move."""
    unit, scale = ("MB", 1e6) if size >= 1e6 else ("kB", 1e3)
    message = f"uploaded {sent / scale:.1f} of {size / scale:.1f} {unit}"
    return OperationEvent(-1, "upload", message, 0.0)


def _params(options: PublishOptions) -> tuple[tuple[str, str], ...]:
    for figure, value in {"accuracy": options.accuracy, **options.metrics}.items():
        if value is not None and not np.isfinite(value):
            raise invalid(f"the metric {figure!r} is {value}; expected a finite number")
    if options.accuracy is not None and not 0 <= options.accuracy <= 1:
        raise invalid(f"the accuracy is {options.accuracy}; expected a number from 0 to 1")
    for key in (*options.metrics, *options.tags):
        if not key or "=" in key:
            raise invalid(f"{key!r} cannot name a metric or tag: it is empty or holds a '='")
    return (
        *((("description", options.description),) if options.description else ()),
        *((("accuracy", repr(options.accuracy)),) if options.accuracy is not None else ()),
        *(("metric", f"{key}={value!r}") for key, value in options.metrics.items()),
        *(("tag", f"{key}={value}") for key, value in options.tags.items()),
        *(("alias", alias) for alias in options.alias),
        ("promote", "true" if options.promote else "false"),
        *((("trust", "true"),) if options.trust else ()),
        *((("engine", options.engine),) if options.engine else ()),
        *((("quantize", options.quantize),) if options.quantize else ()),
        *((("context", str(options.context_tokens)),) if options.context_tokens else ()),
        *(("served_name", served) for served in options.served_names),
        *((("drop_params", "true"),) if options.drop_params else ()),
    )


def _header(member: Member) -> bytes:
    # The same files give the same bytes: no times, owners or modes of this machine.
    entry = tarfile.TarInfo(member.name)
    entry.size, entry.mode = member.size, 0o644
    return entry.tobuf(tarfile.PAX_FORMAT)
