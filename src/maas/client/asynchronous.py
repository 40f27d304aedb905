"""`AsyncClient`: the SDK for asyncio, with the methods of `Client`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from maas.client import api, transport
from maas.client.address import find_address
from maas.client.arguments import (
    UploadMeter,
    code_paths,
    publish_options,
    published,
    silent,
    version_patch,
)
from maas.client.call import Call, Flow, reader
from maas.client.chats import AsyncChat
from maas.client.events import JobStream, LogLine, StreamLines, log_params, log_path, read_log_line
from maas.client.inference import ModelMetadata, Predictor
from maas.client.objects import packed
from maas.client.upload import Upload
from maas.core.errors import MaasError
from maas.core.records import (
    ImportRecord,
    KeyRecord,
    ModelRecord,
    NewKey,
    Operation,
    OperationEvent,
    ProcessRecord,
    PublishOptions,
    ServerInfo,
    VersionRecord,
)

T = TypeVar("T")
Progress = Callable[[OperationEvent], None]


class AsyncClient:
    """A connection to a MaaS server, for asyncio.

    Every method raises `ApiError` (with the server's `ErrorKind` and sentence) where the server
    refuses, `ServerUnreachable` where no answer comes, and `MaasError` (INVALID_ARGUMENT) where
    an argument is wrong before anything is sent. Use it within one event loop.

    Args:
        url: the server; MAAS_URL, else `http://127.0.0.1:8080` (its port from MAAS_PORT).
        key: the key; MAAS_API_KEY, else on a loopback URL the local owner's.
        timeout_s: how long one answer may take, seconds; uploads and jobs take what they need.
    """

    def __init__(
        self, url: str | None = None, key: str | None = None, timeout_s: float = 60
    ) -> None:
        import httpx

        address = find_address(url, key, os.environ)
        self.url = address.url
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(**transport.settings(address, timeout_s))
        self._errors = httpx.HTTPError
        self._predictor = Predictor()
        self.chat = AsyncChat(self._http, self.url, timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def info(self) -> ServerInfo:
        """Says what runs there."""
        return await self._send(api.info())

    async def ready(self) -> bool:
        """Whether the server takes predictions (`/readyz`); False where none answers."""
        try:
            return (await self._http.get("/readyz")).is_success
        except self._errors:
            return False

    async def models(self) -> list[ModelRecord]:
        """Lists every model."""
        return await self._run(api.models())

    async def model(self, name: str) -> ModelRecord:
        """Shows one model with its versions."""
        return await self._send(api.model(name))

    async def version(self, name: str, version: int) -> VersionRecord:
        """Shows one version with its signature and report."""
        return await self._send(api.version(name, version))

    async def publish(
        self,
        source: Any,
        name: str,
        *,
        alias: str | Sequence[str] = (),
        description: str = "",
        accuracy: float | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        sample: Any = None,
        card: str | os.PathLike[str] | None = None,
        promote: bool = True,
        trust: bool = False,
        engine: str = "",
        quantize: str = "",
        context_tokens: int = 0,
        served_names: str | Sequence[str] = (),
        drop_params: bool = False,
        code: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
        progress: Progress | None = None,
    ) -> VersionRecord:
        """Publishes a model and waits until its version is READY.

        The same file and options again give the version that is there.

        Args:
            source: a file or folder; or an object: a fitted scikit-learn, XGBoost or LightGBM
                estimator, a Keras model, a `PythonModel` or a class of one.
            name: the model's name.
            alias: one or more aliases to set on the version.
            description: free text.
            accuracy: measured on held-out data, 0 to 1.
            metrics: further measured figures by name.
            tags: short labels by name.
            sample: rows that the served form is proven on: a file, an array, a DataFrame, or a
                mapping of input names to arrays.
            card: the model card, a Markdown file.
            promote: whether unversioned calls go to the new version.
            trust: open a format that carries code (a pickle, `.h5`, Python): in the sandbox.
            engine: what is to serve it (`onnx`, `openvino`, `sklearn`, …); the fastest that
                agrees where empty.
            quantize: of a language model's weights: `f16`, `q8_0` or `q4_0`; empty for the default.
            context_tokens: a smaller context than a language model's own; 0 for its own.
            served_names: further names that requests may give as `model`, of a language model.
            drop_params: leave out parameters that its engine lacks, instead of refusing.
            code: files or folders of modules that the model imports; they travel with it.
            progress: called with every step; stage `upload` while bytes are sent.
        """
        operation = await self.publish_job(
            source,
            name,
            publish_options(
                alias,
                description,
                accuracy,
                metrics,
                tags,
                promote,
                trust,
                engine,
                quantize,
                context_tokens,
                served_names,
                drop_params,
            ),
            sample=sample,
            card=card,
            code=code,
            progress=progress,
        )
        return published(operation)

    async def publish_job(
        self,
        source: Any,
        name: str,
        options: PublishOptions,
        *,
        sample: Any = None,
        card: str | os.PathLike[str] | None = None,
        code: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
        progress: Progress | None = None,
    ) -> Operation:
        """Publishes and returns the whole operation, failed ones too: see `created`, `events`."""
        report = progress or silent
        parts = packed(source, name, options, sample=sample, card=card, code=code_paths(code))
        with ExitStack() as stack:
            # Saving an object takes time: not on the loop.
            upload = await asyncio.to_thread(stack.enter_context, parts)
            accepted = await self._upload(upload, report)
        stream = JobStream(accepted.id)
        while stream.operation is None:
            try:
                await self._listen(stream, report)
                reason: str | None = "it ended early"
            except (MaasError, self._errors) as error:
                reason = transport.listen_failed(error)
            if stream.operation is None:
                await asyncio.sleep(stream.lost(reason))
        return stream.operation

    async def alias(self, name: str, alias: str, version: int) -> ModelRecord:
        """Points an alias at a version."""
        return await self._send(api.alias(name, alias, version))

    async def delete_alias(self, name: str, alias: str) -> ModelRecord:
        """Takes an alias away."""
        return await self._send(api.delete_alias(name, alias))

    async def rollback(self, name: str) -> ModelRecord:
        """Gives unversioned calls back to the version that served before."""
        return await self._send(api.rollback(name))

    async def deploy(self, name: str, traffic: Mapping[int, int]) -> ModelRecord:
        """Sends unversioned calls to versions by weight, in percent: `{3: 100}`."""
        return await self._send(api.deploy(name, traffic))

    async def delete(self, name: str, version: int | None = None) -> None:
        """Deletes a version, or the model with every version."""
        await self._send(api.delete(name, version))

    async def patch(
        self,
        name: str,
        version: int,
        *,
        description: str | None = None,
        accuracy: float | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> VersionRecord:
        """Changes what is said about a version; None leaves a field as it is."""
        change = version_patch(description, accuracy, metrics, tags)
        return await self._send(api.patch(name, version, change))

    async def metadata(self, model: str) -> ModelMetadata:
        """Says what a model (`name`, `name:3`, `name@prod`) takes and gives."""
        return await self._send(self._predictor.metadata(model))

    async def predict(
        self, model: str, inputs: Any, *, outputs: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Calls a model.

        Args:
            model: `name`, `name:3` or `name@prod`.
            inputs: the values of the only input (lists, array, Series), a dict of input names to
                values, or a DataFrame of pandas or polars, whose columns are taken by name. Values
                one rank short are taken as one row, and the answer's batch axis is taken off
                again.
            outputs: names of the outputs wanted; None for all.

        Returns:
            An array per output, of the model's dtype; texts as an object array of str.
        """
        return await self._run(self._predictor.predict(model, inputs, outputs))

    async def processes(self) -> list[ProcessRecord]:
        """Lists the server's processes."""
        return await self._send(api.processes())

    async def imports(self) -> list[ImportRecord]:
        """Lists what the server found in the folder that it watches, and what came of it."""
        return await self._send(api.imports())

    async def logs(
        self, name: str | None = None, *, lines: int = 200, follow: bool = False
    ) -> AsyncIterator[LogLine]:
        """Yields log lines, oldest first; of one model, or of everything.

        Args:
            name: a model, or None.
            lines: how many of the latest.
            follow: go on with new ones until the iterator is closed.
        """
        timeout = None if follow else self._timeout_s
        try:
            async with self._http.stream(
                "GET", log_path(name), params=list(log_params(lines, follow)), timeout=timeout
            ) as response:
                if not response.is_success:
                    await response.aread()
                transport.check(response)
                split = StreamLines()
                async for chunk in response.aiter_bytes():
                    for line in split.feed(chunk):
                        if (record := read_log_line(line)) is not None:
                            yield record
        except self._errors as error:
            raise transport.explain(error, self.url, self._timeout_s) from None

    async def create_key(self, name: str, role: str = "caller") -> NewKey:
        """Makes a key; the answer is the only place where it is ever shown."""
        return await self._send(api.create_key(name, role))

    async def keys(self) -> list[KeyRecord]:
        """Lists the keys, without the keys themselves."""
        return await self._send(api.keys())

    async def revoke_key(self, key_id: str) -> KeyRecord:
        """Revokes a key."""
        return await self._send(api.revoke_key(key_id))

    async def _send(self, call: Call[T]) -> T:
        try:
            response = await self._http.request(**transport.arguments(call))
        except self._errors as error:
            raise transport.explain(error, self.url, self._timeout_s) from None
        return call.parse(transport.check(response).content)

    async def _run(self, flow: Flow[T]) -> T:
        try:
            call = next(flow)
            while True:
                try:
                    answer = await self._send(call)
                except MaasError as error:
                    call = flow.throw(error)
                else:
                    call = flow.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _upload(self, upload: Upload, report: Progress) -> Operation:
        import httpx

        try:
            response = await self._http.post(
                upload.path,
                params=list(upload.params),
                content=_reporting(upload, report),
                headers={"Content-Type": upload.content_type, "Content-Length": str(upload.size)},
                timeout=httpx.Timeout(transport.UPLOAD_WAIT_S, connect=self._timeout_s),
            )
        except self._errors as error:
            raise transport.explain(error, self.url, transport.UPLOAD_WAIT_S) from None
        return reader(Operation)(transport.check(response).content)

    async def _listen(self, stream: JobStream, report: Progress) -> None:
        async with self._http.stream(
            "GET", stream.path, headers=stream.headers, timeout=transport.EVENT_WAIT_S
        ) as response:
            if not response.is_success:
                await response.aread()
            transport.check(response)
            async for chunk in response.aiter_bytes():
                for step in stream.feed(chunk):
                    report(step)
                if stream.operation is not None:
                    return


async def _reporting(upload: Upload, report: Progress) -> AsyncIterator[bytes]:
    meter = UploadMeter(upload)
    chunks = upload.chunks()
    # Reading a file may wait for a disk: not on the loop.
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
        if (event := meter.add(len(chunk))) is not None:
            report(event)
