"""Any GGUF, through llama.cpp.

    add ─▶ room in the KV cache? ─▶ a thread in the library's call ─▶ messages ─▶ step ─▶ pieces

One thread for each choice waits in the library, which batches them itself. The KV cache is one for
all: each choice holds what it has written and a little more. Where that does not fit any more the
youngest one steps back, and goes on later from what it had written.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.generation import Feature, FinishReason, GenerateRequest, TokenLogprob
from maas.core.ports import Artifact, Device, GenerationBounds, Generative, Resources
from maas.runtimes.language.backend import Piece
from maas.runtimes.language.card import TOKENIZER, read_card
from maas.runtimes.language.engine import LanguageModel
from maas.runtimes.language.llamacpp_call import SPARE_TOKENS, Arrival, Attempt, Call, body_of, run
from maas.runtimes.language.llamacpp_layout import cell_bytes
from maas.runtimes.language.llamacpp_server import open_server
from maas.runtimes.language.llamacpp_stream import Candidate, Gaps, Message, read_message
from maas.runtimes.language.prompts import Prompter
from maas.runtimes.language.sampling_grammar import Grammars, refused
from maas.runtimes.language.tokens import Vocabulary

MIB = 1 << 20
STEP_S = 0.01
"""How long a step waits for the next token: then new choices may be added."""
FULL = "Context size has been exceeded"
"""The library's words where it ran ahead of us and the KV cache is full: it ends all that run."""
PATIENCE = 20
"""How often in turn a choice may find it so before it gives up."""
MOST_ASKED = 8
"""Tokens of one message that are asked for again. A character has four bytes; more than that are of
none, and nobody is to wait for them."""
UNKNOWN = -9999.0
"""OpenAI's figure for a token whose likelihood cannot be said."""
REFUSED = range(400, 500)
"""The library speaks in HTTP's codes."""


class LlamaCppRuntime:
    """Serves `gguf` artifacts of language models, each in a host of its own."""

    name = "llamacpp"
    platform = "llamacpp"
    formats = frozenset({"gguf"})
    host: Literal["shared", "dedicated"] = "dedicated"
    confined = False

    def estimate(self, artifact: Artifact) -> Resources:
        """The weights twice (as a file and repacked), one context of KV cache, and 512 MiB."""
        context = artifact.generative.context_tokens if artifact.generative else 0
        weights = artifact.file.stat().st_size
        return Resources(2 * weights + context * cell_bytes(artifact.file) + 512 * MIB)

    def load(self, artifact: Artifact, device: Device) -> Generative:
        """Loads the weights.

        Raises:
            MaasError: FAILED_PRECONDITION without llama.cpp, where it cannot read the file, or
                where the KV cache is too small for one answer.
        """
        folder, bounds = Path(artifact.path), device.generation
        card = read_card(folder)
        vocabulary = Vocabulary(folder / TOKENIZER, card)
        context = artifact.generative.context_tokens if artifact.generative else card.context_tokens
        grammars = Grammars(folder / TOKENIZER, card.vocabulary, card.end_tokens)
        prompter = Prompter(card, vocabulary, bounds, context)

        def open_backend() -> LlamaCppBackend:
            return LlamaCppBackend(artifact.file, vocabulary, grammars, bounds, context)

        return LanguageModel(open_backend, prompter, vocabulary, card, bounds, context)


class LlamaCppBackend:
    """llama.cpp with one model.

    The presence penalty counts the prompt's tokens, too: the library does so.

    Args:
        file: the GGUF.
        vocabulary: of the model.
        grammars: what constrains answers.
        bounds: threads, sequences, memory of the KV cache.
        context_tokens: prompt and answer of one choice, at most.

    Raises:
        MaasError: FAILED_PRECONDITION where it cannot be loaded.
    """

    worn = False

    def __init__(
        self,
        file: Path,
        vocabulary: Vocabulary,
        grammars: Grammars,
        bounds: GenerationBounds,
        context_tokens: int,
    ):
        self._cells = cells_of(cell_bytes(file), bounds, context_tokens)
        self._vocabulary = vocabulary
        self._grammars = grammars
        self._gaps = Gaps(vocabulary)
        self.lacks = grammars.lacks | {Feature.PROMPT_LOGPROBS}
        self._server = open_server(file, bounds, self._cells)
        self._calls: dict[int, Call] = {}
        self._waiting: deque[Call] = deque()
        self._attempts: set[Attempt] = set()
        """Those that the library has not let go of."""
        self._arrived: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self._told: dict[Attempt, deque[Message | Exception | None]] = {}
        """What has come and not been looked at: whose turn is next is first."""

    def add(self, key: int, prompt: list[int], request: GenerateRequest, seed: int) -> None:
        """Takes one choice; see `Backend`."""
        guard = self._grammars.matcher(request.grammar) if request.grammar else None
        call = Call(key, prompt, request, seed, guard)
        self._calls[key] = call
        self._waiting.append(call)

    def step(self) -> Sequence[Piece]:
        """What has been written since, after a hundredth of a second at the latest."""
        self._begin()
        self._sort()
        pieces: list[Piece] = []
        until = time.monotonic() + STEP_S
        # Some take long (see `_asked`): all choices have their turns, and calls that come or go
        # wait for one of them, not for all that has been written.
        while self._told:
            attempt = next(iter(self._told))
            told = self._told.pop(attempt)
            if attempt.call.attempt is not attempt:
                continue
            piece = self._piece(attempt, told.popleft())
            if piece:
                pieces.append(piece)
            if told:
                self._told[attempt] = told
            if time.monotonic() > until:
                break
        while self._held() > self._cells and self._step_back():
            pass
        return pieces

    def _sort(self) -> None:
        """Sorts what has come by choice; waits for it where nothing is left from before."""
        with contextlib.suppress(queue.Empty):
            attempt, told = (
                self._arrived.get_nowait() if self._told else self._arrived.get(timeout=STEP_S)
            )
            while True:
                if not isinstance(told, Message):
                    self._attempts.discard(attempt)
                self._told.setdefault(attempt, deque()).append(told)
                attempt, told = self._arrived.get_nowait()

    def cancel(self, key: int) -> None:
        """Frees a choice; the library stops at its next token, or part of the prompt."""
        call = self._calls.pop(key, None)
        if call is None:
            return
        if call.attempt:
            call.attempt.leave()
        else:
            self._waiting.remove(call)

    def kv_used(self) -> float:
        """What running choices have in the KV cache; prompts kept for later do not count."""
        running = (call for call in self._calls.values() if call.attempt)
        tokens = sum(len(call.prompt) + len(call.written) for call in running)
        return min(1.0, tokens / self._cells)

    def close(self) -> None:
        """Ends the library's threads, once it has let go of what was cancelled."""
        for attempt in self._attempts:
            attempt.over = True
        while self._attempts:
            attempt, told = self._arrived.get()
            if not isinstance(told, Message):
                self._attempts.discard(attempt)
        self._server = None

    def _begin(self) -> None:
        """Starts those that wait, oldest first, while there is room."""
        while self._waiting:
            held = sum(attempt.held for attempt in self._attempts)
            call = self._waiting[0]
            if self._attempts and held + call.held > self._cells:
                return
            self._waiting.popleft()
            call.attempt = Attempt(call, len(call.written))
            self._attempts.add(call.attempt)
            threading.Thread(
                target=run,
                args=(self._server, body_of(call), call.attempt, self._arrived),
                name=f"llamacpp-{call.key}",
                daemon=True,
            ).start()

    def _step_back(self) -> bool:
        """Has the youngest wait again, if it may and is not the only one."""
        running = [call for call in self._calls.values() if call.attempt]
        able = [call for call in running if not call.guard]
        if not able or len(running) == 1:
            return False
        self._wait_again(able[-1])
        return True

    def _wait_again(self, call: Call) -> None:
        assert call.attempt is not None
        call.attempt.leave()
        at = sum(other.key < call.key for other in self._waiting)
        self._waiting.insert(at, call)

    def _held(self) -> int:
        return sum(call.held for call in self._calls.values() if call.attempt)

    def _piece(self, attempt: Attempt, told: Message | Exception | None) -> Piece | None:
        """A message as what it adds to its choice."""
        call = attempt.call
        if told is None:
            return self._ended(call, error=_failed("its answer ended without a reason"))
        if isinstance(told, Exception):
            raise told
        if told.error:
            call.crowded += 1
            if told.error.message.startswith(FULL) and not call.guard and call.crowded < PATIENCE:
                self._wait_again(call)
                return None
            return self._ended(call, error=_refused(told))
        timings, cached = told.timings, 0
        if timings and not call.told_cached and (told.token or told.finish):
            cached, call.told_cached = timings.cache_n, True
        if told.token is None or timings is None:
            if told.finish is None:
                return None
            return self._last(call, told, cached)
        count = max(1, timings.predicted_n - attempt.seen)
        attempt.seen = timings.predicted_n
        tokens = self._gaps.tokens(told.token, count)[: call.most - len(call.written)]
        if call.guard and (error := self._guarded(call, tokens)):
            return self._ended(call, error=error)
        logprobs = self._logprobs(call, tokens, told.token, count)
        call.written += tokens
        call.crowded = 0
        if len(call.written) < call.most:
            return Piece(call.key, tuple(tokens), logprobs, cached_tokens=cached)
        return self._ended(
            call, tokens=tuple(tokens), logprobs=logprobs, finish="length", cached_tokens=cached
        )

    def _last(self, call: Call, told: Message, cached: int) -> Piece:
        """The end, with the tokens since the last one told of: a character began and never ended.

        What they were is not told. Unless it is the end token alone, others stand for them that
        show as unreadable, too.
        """
        assert call.attempt is not None
        finish: FinishReason = "length" if told.finish == "length" else "stop"
        count = told.timings.predicted_n - call.attempt.seen if told.timings else 0
        count = min(count, call.most - len(call.written)) - (finish == "stop")
        tokens = (self._gaps.unreadable,) * max(0, count)
        logprobs = None
        if call.request.sampling.logprobs is not None:
            logprobs = tuple(self._logprob(token, UNKNOWN, ()) for token in tokens)
        return self._ended(
            call, tokens=tokens, logprobs=logprobs, finish=finish, cached_tokens=cached
        )

    def _ended(self, call: Call, **piece: Any) -> Piece:
        assert call.attempt is not None
        call.attempt.leave()
        del self._calls[call.key]
        return Piece(call.key, **piece)

    def _guarded(self, call: Call, tokens: Iterable[int]) -> MaasError | None:
        """Follows the grammar: where the library's own gives up, it lets anything through."""
        for token in tokens:
            if token in self._vocabulary.controls:
                if call.guard.is_accepting():
                    continue
                taken: Sequence[int] = (token,)
            else:
                taken = self._grammars.spelled(token, self._vocabulary.bytes_of(token))
            if not all(call.guard.consume_token(each) for each in taken):
                return refused(call.guard)
        return None

    def _logprobs(
        self, call: Call, tokens: list[int], last: Candidate, count: int
    ) -> tuple[TokenLogprob, ...] | None:
        if call.request.sampling.logprobs is None:
            return None
        most = call.request.sampling.logprobs
        sofar = call.prompt + call.written
        return tuple(
            self._logprob(token, last.logprob, last.top_logprobs[:most])
            if place == count - 1
            else self._asked(sofar + tokens[:place], token, last.id, most)
            if place >= count - 1 - MOST_ASKED
            else self._logprob(token, UNKNOWN, ())
            for place, token in enumerate(tokens)
        )

    def _asked(self, before: list[int], token: int, sure: int, most: int) -> TokenLogprob:
        """How likely a token was whose message never came.

        Asks for one token after what was before, with all candidates. What is written must be a
        token that has a message, such as the one that came after.
        """
        body = {
            "prompt": before,
            "n_predict": 1,
            "n_probs": self._vocabulary.size,
            "temperature": 0.0,
            "logit_bias": [[sure, 1e6]],
        }
        got: list[str] = []
        self._server.handle_completions(msgspec.json.encode(body).decode(), got.append)
        told = read_message(got[0])
        every = told.token.top_logprobs if told.token else []
        said = next((each.logprob for each in every if each.id == token), UNKNOWN)
        return self._logprob(token, said, every[:most])

    def _logprob(self, token: int, logprob: float | None, top: Iterable[Candidate]) -> TokenLogprob:
        bytes_of = self._vocabulary.bytes_of
        likeliest = tuple((bytes_of(each.id), each.logprob) for each in top)
        return TokenLogprob(bytes_of(token), logprob, likeliest)


def cells_of(token_bytes: int, bounds: GenerationBounds, context_tokens: int) -> int:
    """How many tokens the KV cache holds: what its memory allows, and no more than is of use.

    Raises:
        MaasError: FAILED_PRECONDITION where one context does not fit.
    """
    one = context_tokens + SPARE_TOKENS
    room = bounds.kv_bytes // max(1, token_bytes)
    if room < one:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            f"one context of {context_tokens} tokens takes {one * token_bytes / MIB:.0f} MiB of KV "
            f"cache, and {bounds.kv_bytes / MIB:.0f} MiB are allowed; publish the model with a "
            "smaller --context, or raise generation.kv_bytes",
        )
    return -(-min(room, bounds.sequences * one) // 256) * 256


def _refused(told: Message) -> MaasError:
    assert told.error is not None
    if told.error.code in REFUSED:
        return invalid(f"llama.cpp refuses this: {told.error.message[:200]}")
    return _failed(told.error.message[:200])


def _failed(reason: str) -> MaasError:
    return MaasError(ErrorKind.UNAVAILABLE, f"llama.cpp failed: {reason}")
