"""ModelStreamInfer: requests as they come, answers in their order, errors in the stream.

Several requests of a stream are under way at once, so that one client fills batches too; a request
that fails is answered with its error and the stream goes on, as Triton has it.
"""

from __future__ import annotations

import asyncio
import logging

from maas.core.errors import MaasError
from maas.dialects.oip_grpc.encode import varint
from maas.protos import message, parse
from maas.wire.exchange import LARGE_BYTES
from maas.wire.grpc.infer import ModelInfer
from maas.wire.grpc.rpc import Stream

log = logging.getLogger("maas.dataplane")

_INFER_RESPONSE = b"\x12"
"""Key of `infer_response`: field 2, wire type 2."""
UNDER_WAY = 32
"""Requests of one stream that are worked on at once; the next is not read before one is done."""


class ModelStreamInfer:
    """Answers ModelStreamInfer.

    Args:
        infer: answers each request.
    """

    def __init__(self, infer: ModelInfer):
        self._infer = infer
        self._request = message("inference.ModelInferRequest")
        self._response = message("inference.ModelStreamInferResponse")

    async def __call__(self, stream: Stream) -> None:
        """Serves one stream until the client has sent its last request and has every answer."""
        waiting: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(UNDER_WAY)
        reader = asyncio.create_task(self._read(stream, waiting))
        try:
            while (answering := await waiting.get()) is not None:
                await stream.send(await answering)
                waiting.task_done()
            await reader
        finally:
            reader.cancel()
            while not waiting.empty():
                left = waiting.get_nowait()
                if left is not None:
                    left.cancel()

    async def _read(
        self, stream: Stream, waiting: asyncio.Queue[asyncio.Task[bytes] | None]
    ) -> None:
        try:
            while (data := await stream.next()) is not None:
                await waiting.put(asyncio.create_task(self._answer(stream, data)))
                if len(data) >= LARGE_BYTES:
                    # Of large ones a stream holds one, and the next as it comes.
                    del data
                    await waiting.join()
        finally:
            # The writer waits for this, also where what came was no message.
            await waiting.put(None)

    async def _answer(self, stream: Stream, data: bytes) -> bytes:
        exchange = stream.exchange()
        try:
            answer = await self._infer(exchange, data)
        except MaasError as error:
            return self._refused(data, error.message)
        except Exception:
            log.exception("a request failed", extra={"request_id": exchange.context.request_id})
            return self._refused(
                data, f"the server failed on this request; its id is {exchange.context.request_id}"
            )
        return _INFER_RESPONSE + varint(len(answer)) + answer

    def _refused(self, data: bytes, sentence: str) -> bytes:
        """An error, with the id of its request, by which clients know which one it was."""
        answer = self._response(error_message=sentence)
        try:
            request = parse(self._request, data)
        except MaasError:
            request = self._request()
        answer.infer_response.id = request.id
        answer.infer_response.model_name = request.model_name
        answer.infer_response.model_version = request.model_version
        packed: bytes = answer.SerializeToString()
        return packed
