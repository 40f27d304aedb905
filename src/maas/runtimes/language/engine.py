"""Many callers, one engine: what is asked waits, runs together, and is told as it is written.

    start ─▶ preparing threads ─▶ ready ─▶ engine thread: admit ─▶ step ─▶ Writers ─▶ deliver
             template, tokens     waits                   ▲                  │
                                  for a place             └── until nothing runs

A call is one request; each of its choices takes a place of its own in the engine. First come, first
served. The engine thread alone touches the backend; it opens it, too, so that it can be told which
threads are the engine's.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import (
    Delta,
    Feature,
    GenerateRequest,
    GenerationCounts,
    Usage,
)
from maas.core.ports import Deliver, GenerationBounds
from maas.runtimes.language.backend import Backend, Piece
from maas.runtimes.language.calls import (
    Call,
    Choice,
    Deltas,
    Outbox,
    derived_seed,
    echoed,
    joined,
    prepare,
    scores_prompt,
)
from maas.runtimes.language.card import LanguageCard
from maas.runtimes.language.preparing import Preparing
from maas.runtimes.language.priority import Yielding
from maas.runtimes.language.prompts import Prompter
from maas.runtimes.language.tokens import Vocabulary
from maas.runtimes.language.writing import Writer

log = logging.getLogger("maas.language")

RETRY_AFTER_S = 1.0
"""For callers that find too many waiting, or whose answer was cut short."""
FAILED = 75
"""The exit status of a process whose engine broke: sysexits' `EX_TEMPFAIL`."""


class LanguageModel:
    """A loaded language model: `maas.core.ports.Generative` over any backend.

    Args:
        open_backend: loads the model; called on the engine thread.
        prompter: makes tokens of prompts.
        vocabulary: the model's tokens.
        card: what is known of the model.
        bounds: places, waiting, tokens.
        context_tokens: prompt and answer together, at most.
        on_failure: called on the engine thread once the engine has broken and every call has been
            told; the model is of no more use. The attribute may be set later; at first the process
            exits with status 75, since what an engine leaves behind cannot be trusted.

    Raises:
        MaasError: what `open_backend` raises.
    """

    def __init__(
        self,
        open_backend: Callable[[], Backend],
        prompter: Prompter,
        vocabulary: Vocabulary,
        card: LanguageCard,
        bounds: GenerationBounds,
        context_tokens: int,
        on_failure: Callable[[], object] | None = None,
    ):
        self.on_failure: Callable[[], object] = on_failure or _exit
        self._prompter, self._vocabulary, self._card = prompter, vocabulary, card
        self._bounds, self._context = bounds, context_tokens
        self._changed = threading.Condition()
        self._calls: dict[tuple[Deliver, int], Call] = {}
        self._ready: OrderedDict[tuple[Deliver, int], Call] = OrderedDict()
        self._gone: list[Call] = []
        """Cancelled calls that have places."""
        self._waiting = 0
        self._over = ""
        """Why no more calls are taken."""
        self._ends = False
        """Its process is to end: a prompt is prepared for ever, or the engine is worn out."""
        self._choices: dict[int, Choice] = {}
        self._next_key = 0
        self._kv_used = 0.0
        self._prefix_tokens = self._prefix_hits = 0
        opened: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._engine = threading.Thread(
            target=self._run, args=(open_backend, opened), name="engine", daemon=True
        )
        self._engine.start()
        error = opened.get()
        if error is not None:
            self._engine.join()
            raise error
        self._preparing = Preparing(self._prepare, self._give_up)

    @property
    def lacks(self) -> frozenset[Feature]:
        """What the engine cannot do."""
        return self._backend.lacks

    def start(self, number: int, request: GenerateRequest, deliver: Deliver) -> None:
        """Takes a call; see `Generative.start`. A refusal may be delivered before it returns."""
        call = Call(number, request, deliver)
        with self._changed:
            if self._over:
                raise MaasError(ErrorKind.UNAVAILABLE, self._over)
            error = self._refusal(request.choices)
            if error is None:
                self._calls[deliver, number] = call
                self._waiting += call.waiting
        if error is None:
            self._preparing.put(call)
        else:
            deliver([(number, error)])

    def cancel(self, number: int, deliver: Deliver) -> None:
        """Frees a call's places; see `Generative.cancel`."""
        with self._changed:
            call = self._calls.get((deliver, number))
            if call is not None:
                self._end(call)
                self._gone.append(call)
                self._changed.notify()

    def counts(self) -> GenerationCounts:
        """How busy it is."""
        with self._changed:
            return GenerationCounts(
                running=len(self._choices),
                waiting=self._waiting,
                kv_used=self._kv_used,
                prefix_tokens=self._prefix_tokens,
                prefix_hits=self._prefix_hits,
            )

    def close(self) -> None:
        """Ends all threads after the step under way; calls under way end with an error."""
        with self._changed:
            self._over = self._over or "the model is being unloaded; try again"
            self._changed.notify()
        self._engine.join()
        self._preparing.close()

    def _refusal(self, choices: int) -> MaasError | None:
        if self._waiting + choices > self._bounds.waiting + self._free():
            return MaasError(
                ErrorKind.RESOURCE_EXHAUSTED,
                f"{self._waiting} answers wait for this model already, and at most"
                f" {self._bounds.waiting} may; this call wants {choices}: try again later",
                retry_after_s=RETRY_AFTER_S,
            )
        return None

    def _free(self) -> int:
        return max(0, self._bounds.sequences - len(self._choices))

    def _end(self, call: Call) -> None:
        """Forgets a call, with the lock held. Its places are freed by `_leave`."""
        call.ended = True
        self._waiting -= call.waiting
        call.waiting = 0
        key = (call.deliver, call.number)
        self._calls.pop(key, None)
        self._ready.pop(key, None)

    # The preparing threads.

    def _prepare(self, call: Call) -> None:
        if call.ended:
            return
        try:
            prepare(call, self._prompter, self._bounds, self._context)
        except MaasError as error:
            self._refuse(call, error)
        except Exception:
            log.exception("a prompt could not be prepared")
            self._refuse(call, MaasError(ErrorKind.INTERNAL, "the prompt could not be prepared"))
        else:
            with self._changed:
                if not call.ended:
                    self._ready[call.deliver, call.number] = call
                    self._changed.notify()

    def _give_up(self) -> None:
        log.error("a prompt takes too long to be made tokens of; the model is given up")
        with self._changed:
            self._ends = True
            self._over = self._over or "the model's tokenizer does not come to an end; try again"
            self._changed.notify()

    def _refuse(self, call: Call, error: MaasError) -> None:
        with self._changed:
            if call.ended:
                return
            self._end(call)
        self._send({call.deliver: [(call.number, error)]})

    # The engine thread.

    def _run(
        self,
        open_backend: Callable[[], Backend],
        opened: queue.SimpleQueue[BaseException | None],
    ) -> None:
        yielding = Yielding() if self._bounds.yielding else None
        try:
            backend = self._backend = open_backend()
        except BaseException as error:  # noqa: BLE001 - raised where the model is loaded
            opened.put(error)
            return
        if yielding:
            yielding.opened()
        opened.put(None)
        try:
            while True:
                outbox: Outbox = {}
                if not self._admit(outbox):
                    break
                if self._choices:
                    for piece in backend.step():
                        self._take(piece, outbox)
                    if yielding and not self._choices:
                        yielding.begin()
                self._kv_used = backend.kv_used() if self._choices else 0.0
                if outbox:
                    self._send(outbox)
        except Exception:
            log.exception("the engine of the model failed")
            self._drop_all("the model's engine failed while it was writing; try again")
            self.on_failure()
        else:
            self._drop_all(self._over)
            backend.close()
            if self._ends:
                self.on_failure()
        finally:
            if yielding:
                yielding.close()

    def _admit(self, outbox: Outbox) -> bool:
        """Gives places to those that wait; waits where there is nothing to do. False at the end."""
        while True:
            with self._changed:
                while not (outbox or self._over or self._gone or self._choices or self._ready):
                    if self._backend.worn and not self._calls:
                        log.info("the engine is worn out; the model's process starts anew")
                        self._over, self._ends = "the model's process starts anew", True
                        break
                    self._changed.wait()
                if self._over:
                    return False
                gone, self._gone = self._gone, []
                call = next(iter(self._ready.values())) if self._ready and self._free() else None
                if call is not None:
                    index = call.request.choices - call.waiting
                    call.waiting -= 1
                    self._waiting -= 1
                    if not call.waiting:
                        del self._ready[call.deliver, call.number]
            for each in gone:
                self._leave(each)
            if call is None:
                return True
            self._begin(call, index, outbox)

    def _begin(self, call: Call, index: int, outbox: Outbox) -> None:
        request = call.request
        key = self._next_key
        self._next_key += 1
        writer = Writer(
            index, self._vocabulary, request.sampling, request.special, self._card.end_tokens
        )
        choice = Choice(call, index, writer)
        if request.sampling.max_tokens == 0 and not scores_prompt(request):
            call.keys.add(key)
            self._choices[key] = choice
            self._take(Piece(key, finish="length"), outbox)
            return
        try:
            self._backend.add(key, call.prompt, request, derived_seed(call.seed, index))
        except MaasError as error:
            self._fail(call, error, outbox)
            return
        call.keys.add(key)
        self._choices[key] = choice

    def _take(self, piece: Piece, outbox: Outbox) -> None:
        """What a step gave to one choice; nearly always one token."""
        choice = self._choices.get(piece.key)
        if choice is None:
            return
        call = choice.call
        if piece.error is not None:
            self._fail(call, piece.error, outbox)
            return
        deltas = outbox.get(call.deliver)
        if deltas is None:
            deltas = outbox[call.deliver] = []
        if not choice.begun:
            choice.begun = True
            self._note_first(call, choice, piece, deltas)
        tokens, writer = piece.tokens, choice.writer
        call.written += len(tokens)
        delta = writer.add(tokens, piece.logprobs) if tokens else None
        if writer.stopped:
            if piece.finish is None:
                self._backend.cancel(piece.key)
        elif piece.finish is None:
            if delta is not None:
                deltas.append((call.number, delta))
            return
        else:
            delta = joined(delta, writer.end(piece.finish))
        if delta is not None:
            self._finish(piece.key, choice, delta, deltas)

    def _note_first(self, call: Call, choice: Choice, piece: Piece, deltas: Deltas) -> None:
        if choice.index == 0:
            call.cached = piece.cached_tokens
            self._prefix_tokens += len(call.prompt)
            self._prefix_hits += piece.cached_tokens
        if call.request.echo:
            delta = echoed(call, choice.index, piece.prompt_logprobs, self._vocabulary)
            deltas.append((call.number, delta))

    def _finish(self, key: int, choice: Choice, delta: Delta, deltas: Deltas) -> None:
        call = choice.call
        del self._choices[key]
        call.keys.discard(key)
        call.open -= 1
        if not call.open:
            with self._changed:
                if call.ended:  # cancelled while it was being written
                    return
                self._end(call)
            usage = Usage(len(call.prompt), call.written, call.cached)
            delta = msgspec.structs.replace(delta, usage=usage)
        deltas.append((call.number, delta))

    def _fail(self, call: Call, error: MaasError, outbox: Outbox) -> None:
        """Ends a call that cannot go on."""
        with self._changed:
            if not call.ended:
                self._end(call)
                outbox.setdefault(call.deliver, []).append((call.number, error))
        self._leave(call)

    def _leave(self, call: Call) -> None:
        for key in call.keys:
            del self._choices[key]
            self._backend.cancel(key)
        call.keys.clear()

    def _send(self, outbox: Outbox) -> None:
        for deliver, deltas in outbox.items():
            if not deltas:
                continue
            try:
                deliver(deltas)
            except Exception:
                # Whoever listened is gone; the others' answers go on.
                log.exception("answers could not be delivered")
                for number, _ in deltas:
                    self.cancel(number, deliver)

    def _drop_all(self, reason: str) -> None:
        outbox: Outbox = {}
        with self._changed:
            self._over = reason
            for call in list(self._calls.values()):
                self._end(call)
                error = MaasError(ErrorKind.UNAVAILABLE, reason, retry_after_s=RETRY_AFTER_S)
                outbox.setdefault(call.deliver, []).append((call.number, error))
            self._choices.clear()
        self._send(outbox)


def _exit() -> None:
    os._exit(FAILED)
