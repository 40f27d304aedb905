from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.language import tiny_artifact
from tests.listener import Listener

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.generation import (
    Delta,
    Feature,
    GenerateRequest,
    Sampling,
    TextPrompt,
    TokenLogprob,
    TokenPrompt,
)
from maas.core.ports import GenerationBounds, Generative
from maas.runtimes.language import preparing
from maas.runtimes.language.backend import Piece
from maas.runtimes.language.card import TOKENIZER, LanguageCard, read_card
from maas.runtimes.language.engine import LanguageModel
from maas.runtimes.language.prompts import Prompter
from maas.runtimes.language.tokens import Vocabulary

PROMPT = TokenPrompt((1, 2, 3))
PLENTY = 10_000


class Script:
    """An engine that counts: choice after choice is given the tokens of its script, one a step."""

    lacks: frozenset[Feature] = frozenset()
    worn = False

    def __init__(self, tokens: Sequence[int] = tuple(range(100, 200))):
        self.tokens = tokens
        self.seeds: list[int] = []
        self.asked: list[GenerateRequest] = []
        self.cancelled: list[int] = []
        self.most = 0
        self.closed = False
        self.fails: Exception | None = None
        self.refuses: MaasError | None = None
        self.may_step = threading.Semaphore(PLENTY)
        self.stepping = threading.Event()
        self._running: dict[int, tuple[GenerateRequest, int]] = {}

    def add(self, key: int, prompt: list[int], request: GenerateRequest, seed: int) -> None:
        if self.refuses:
            raise self.refuses
        self.seeds.append(seed)
        self.asked.append(request)
        self._running[key] = (request, 0)
        self.most = max(self.most, len(self._running))

    def step(self) -> Sequence[Piece]:
        self.stepping.set()
        self.may_step.acquire()
        if self.fails:
            raise self.fails
        assert self._running, "a step of nothing"
        pieces = []
        for key, (request, done) in list(self._running.items()):
            most = request.sampling.max_tokens
            assert most is not None
            last = done + 1 >= most
            token = self.tokens[done % len(self.tokens)]
            logprobs = (
                (TokenLogprob(b"x", -1.0),) if request.sampling.logprobs is not None else None
            )
            piece = Piece(key, (token,), logprobs, "length" if last else None)
            if not done:
                piece.cached_tokens = 2
            pieces.append(piece)
            if last:
                del self._running[key]
            else:
                self._running[key] = (request, done + 1)
        return pieces

    def cancel(self, key: int) -> None:
        self._running.pop(key, None)
        self.cancelled.append(key)

    def kv_used(self) -> float:
        return len(self._running) / 100

    def close(self) -> None:
        assert not self._running or self.cancelled is not None
        self.closed = True


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_artifact(tmp_path_factory.mktemp("model"))


Open = Callable[..., tuple[Script, LanguageModel, Listener]]


@pytest.fixture
def opened(folder: Path) -> Iterator[Open]:
    models: list[LanguageModel] = []

    def open_model(
        script: Script | None = None,
        context: int = 256,
        bounds: GenerationBounds | None = None,
        on_failure: Callable[[], object] = lambda: None,
    ) -> tuple[Script, LanguageModel, Listener]:
        script = script or Script()
        model = model_of(folder, lambda: script, context, bounds or GenerationBounds(), on_failure)
        models.append(model)
        return script, model, Listener(model)

    yield open_model
    for model in models:
        model.close()


def model_of(
    folder: Path,
    open_backend: Callable[[], Script],
    context: int,
    bounds: GenerationBounds,
    on_failure: Callable[[], object],
) -> LanguageModel:
    card = read_card(folder)
    vocabulary = Vocabulary(folder / TOKENIZER, card)
    prompter = Prompter(card, vocabulary, bounds, context)
    return LanguageModel(open_backend, prompter, vocabulary, card, bounds, context, on_failure)


@contextmanager
def held(script: Script) -> Iterator[None]:
    """Nothing is written while it lasts; a step that has begun waits, too."""
    script.may_step = threading.Semaphore(0)
    try:
        yield
    finally:
        script.may_step.release(PLENTY)


def request(most: int | None = 4, choices: int = 1, **sampling: object) -> GenerateRequest:
    return GenerateRequest(PROMPT, Sampling(max_tokens=most, **sampling), choices=choices)


def card(folder: Path) -> LanguageCard:
    return read_card(folder)


def test_it_is_a_generative(opened: Open) -> None:
    _, model, _ = opened()
    assert isinstance(model, Generative)
    assert model.lacks == frozenset()


def test_an_answer_of_so_many_tokens(opened: Open) -> None:
    _, model, listener = opened()
    number = listener.start(request(4))
    (answer,) = listener.answers(number)
    assert answer.finish == "length"
    assert answer.tokens == 4
    usage = listener.usage(number)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (3, 4, 2)
    counts = model.counts()
    assert (counts.running, counts.waiting) == (0, 0)
    assert (counts.prefix_tokens, counts.prefix_hits) == (3, 2)


def test_without_a_limit_the_context_is_filled(opened: Open) -> None:
    _, _, listener = opened(context=20)
    (answer,) = listener.ask(request(None))
    assert (answer.tokens, answer.finish) == (17, "length")


def test_a_limit_beyond_the_context_is_the_context(opened: Open) -> None:
    _, _, listener = opened(context=20)
    (answer,) = listener.ask(request(1000))
    assert answer.tokens == 17


def test_the_bounds_limit_answers_without_a_limit(opened: Open) -> None:
    _, _, listener = opened(bounds=GenerationBounds(max_tokens=5))
    assert listener.ask(request(None))[0].tokens == 5
    assert listener.ask(request(9))[0].tokens == 9


def test_no_tokens_at_all(opened: Open) -> None:
    script, _, listener = opened()
    number = listener.start(request(0))
    (answer,) = listener.answers(number)
    assert (answer.text, answer.tokens, answer.finish) == ("", 0, "length")
    assert listener.usage(number).completion_tokens == 0
    assert not script.asked


def test_an_end_token_stops(opened: Open, folder: Path) -> None:
    end = card(folder).end_tokens[0]
    script, _, listener = opened(Script((100, 101, end, 102)))
    number = listener.start(request(10))
    (answer,) = listener.answers(number)
    assert (answer.finish, answer.tokens) == ("stop", 3)
    assert script.cancelled  # the engine was not told of end tokens, and would have gone on
    assert listener.usage(number).completion_tokens == 3


def test_a_stop_string_stops(opened: Open, folder: Path) -> None:
    vocabulary = Vocabulary(folder / TOKENIZER, card(folder))
    script, _, listener = opened(Script(vocabulary.encode("Hello world, how", special=False)))
    number = listener.start(request(50, stop=(" world",)))
    (answer,) = listener.answers(number)
    assert (answer.text, answer.finish) == ("Hello", "stop")
    assert script.cancelled


def test_choices_share_one_usage_and_have_seeds_of_their_own(opened: Open) -> None:
    script, _, listener = opened()
    number = listener.start(request(3, choices=4, seed=7))
    answers = listener.answers(number)
    assert [answer.tokens for answer in answers] == [3, 3, 3, 3]
    usage = listener.usage(number)
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 12)
    assert script.seeds[0] == 7
    assert len(set(script.seeds)) == 4
    again, script.seeds = script.seeds, []
    listener.ask(request(3, choices=4, seed=7))
    assert script.seeds == again
    script.seeds = []
    for _ in range(3):
        listener.ask(request(1))
    assert len(set(script.seeds)) == 3
    assert all(0 <= seed < 1 << 63 for seed in [*script.seeds, *again])


def test_usage_comes_once_with_the_last_delta(opened: Open) -> None:
    _, _, listener = opened()
    number = listener.start(request(3, choices=3))
    listener.wait(number)
    deltas = [item for item in listener.items[number] if isinstance(item, Delta)]
    assert [delta.usage is not None for delta in deltas] == [False] * (len(deltas) - 1) + [True]


def test_echo_begins_with_the_prompt(opened: Open) -> None:
    _, _, listener = opened()
    text = "Hello world"
    asked = GenerateRequest(TextPrompt(text), Sampling(max_tokens=2), choices=2, echo=True)
    number = listener.start(asked)
    for answer in listener.answers(number):
        assert answer.text.startswith(text)
        assert answer.tokens == 2
    first = listener.items[number][0]
    assert first == Delta(0, text, 0)


def test_one_delivery_a_step_whatever_runs(opened: Open) -> None:
    script, _, listener = opened(Script((100,)))
    with held(script):
        numbers = [listener.start(request(5)) for _ in range(8)]
        script.stepping.wait()
    listener.wait(*numbers)
    # All but the one that was being stepped alone go together.
    assert max(map(len, listener.batches)) >= 7
    assert len(listener.batches) <= 12


def test_places_and_their_order(opened: Open) -> None:
    script, model, listener = opened(bounds=GenerationBounds(sequences=2))
    with held(script):
        numbers = [listener.start(request(3, seed=seed)) for seed in range(6)]
        script.stepping.wait()
        counts = model.counts()
        assert counts.running <= 2
        assert counts.running + counts.waiting == 6
    listener.wait(*numbers)
    assert script.most == 2
    assert script.seeds == list(range(6))


def test_choices_of_one_call_wait_for_places_one_by_one(opened: Open) -> None:
    script, _, listener = opened(bounds=GenerationBounds(sequences=2))
    assert len(listener.ask(request(3, choices=5))) == 5
    assert script.most == 2


def test_too_many_that_wait_are_refused(opened: Open) -> None:
    bounds = GenerationBounds(sequences=1, waiting=2)
    script, model, listener = opened(bounds=bounds)
    with held(script):
        numbers = [listener.start(request(2)) for _ in range(2)]
        script.stepping.wait()
        numbers.append(listener.start(request(2)))
        refused = listener.start(request(2, choices=2))
        with pytest.raises(MaasError, match="wait for this model already") as caught:
            listener.answers(refused)
        assert caught.value.kind is ErrorKind.RESOURCE_EXHAUSTED
        assert caught.value.retry_after_s
    listener.wait(*numbers)
    assert listener.ask(request(2))
    assert model.counts().waiting == 0


def test_a_prompt_that_is_too_long(opened: Open) -> None:
    _, model, listener = opened(context=4)
    number = listener.start(GenerateRequest(TokenPrompt((1, 2, 3, 4)), Sampling()))
    with pytest.raises(MaasError, match="4 tokens"):
        listener.answers(number)
    assert model.counts().waiting == 0


def test_what_the_engine_refuses(opened: Open) -> None:
    script, model, listener = opened()
    script.refuses = invalid("no such schema")
    with pytest.raises(MaasError, match="no such schema"):
        listener.ask(request(2, choices=3))
    script.refuses = None
    assert listener.ask(request(2))
    assert model.counts().running == 0


def test_cancelled_while_it_is_written(opened: Open) -> None:
    script, model, listener = opened()
    with held(script):
        gone, kept = listener.start(request(100, choices=2)), listener.start(request(30))
        script.may_step.release(3)
        listener.until(lambda: len(listener.items[gone]) > 1)
        model.cancel(gone, listener.deliver)
    assert listener.answers(kept)[0].tokens == 30
    assert not listener.ended(gone)
    assert len(script.cancelled) == 2
    assert model.counts().running == 0
    model.cancel(gone, listener.deliver)
    model.cancel(12345, listener.deliver)


def test_a_cancelled_answer_leaves_the_cache(opened: Open) -> None:
    script, model, listener = opened()
    script.may_step = threading.Semaphore(3)
    number = listener.start(request(100))
    listener.until(lambda: model.counts().kv_used > 0)
    model.cancel(number, listener.deliver)
    script.may_step.release(PLENTY)
    listener.until(lambda: not model.counts().running)
    # Once the next has been taken, what there was to do after the last is done.
    assert listener.ask(request(0))
    assert model.counts().kv_used == 0


def test_cancelled_while_it_waits(opened: Open) -> None:
    script, model, listener = opened(bounds=GenerationBounds(sequences=1))
    with held(script):
        first = listener.start(request(5))
        script.stepping.wait()
        waiting = [listener.start(request(5)) for _ in range(3)]
        for number in waiting:
            model.cancel(number, listener.deliver)
        assert model.counts().waiting == 0
    listener.wait(first)
    assert listener.ask(request(1))
    assert not any(listener.items[number] for number in waiting)
    assert len(script.seeds) == 2


def test_a_listener_that_is_gone_harms_no_other(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    script, model, listener = opened()

    def gone(_: object) -> None:
        raise ConnectionResetError("gone")

    with held(script):
        model.start(0, request(100), gone)
        number = listener.start(request(10))
    assert listener.answers(number)[0].tokens == 10
    listener.ask(request(2))
    assert model.counts().running == 0
    assert "could not be delivered" in caplog.text


def test_an_engine_that_breaks_ends_every_call(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    failed = threading.Event()
    script, model, listener = opened(on_failure=failed.set)
    with held(script):
        numbers = [listener.start(request(50)) for _ in range(3)]
        script.stepping.wait()
        script.fails = RuntimeError("out of bounds")
    assert failed.wait(30)
    with pytest.raises(MaasError, match="engine failed"):
        listener.start(request(1))
    for number in numbers:
        with pytest.raises(MaasError, match="engine failed") as caught:
            listener.answers(number)
        assert caught.value.kind is ErrorKind.UNAVAILABLE
    assert "out of bounds" in caplog.text
    counts = model.counts()
    assert (counts.running, counts.waiting) == (0, 0)


def test_a_prompt_that_hangs_ends_every_call_and_the_model(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, failed = threading.Event(), threading.Event()
    monkeypatch.setattr(preparing, "LONGEST_S", 0.2)
    script, model, listener = opened(on_failure=failed.set)
    monkeypatch.setattr(model._prompter, "tokens", lambda request: hangs.wait(30))
    number = listener.start(request(5))
    try:
        assert failed.wait(30)
        with pytest.raises(MaasError, match="tokenizer does not come to an end") as caught:
            listener.answers(number)
    finally:
        hangs.set()
    assert caught.value.kind is ErrorKind.UNAVAILABLE
    assert script.closed


def test_closing_ends_what_is_under_way(opened: Open) -> None:
    script, model, listener = opened()
    with held(script):
        number = listener.start(request(1000))
        script.stepping.wait()
    model.close()
    with pytest.raises(MaasError, match="unloaded"):
        listener.answers(number)
    assert script.closed
    model.close = lambda: None  # type: ignore[method-assign]  # once is enough


def test_a_backend_that_cannot_be_opened(folder: Path) -> None:
    def fail() -> Script:
        raise MaasError(ErrorKind.FAILED_PRECONDITION, "no such file")

    before = set(threading.enumerate())
    with pytest.raises(MaasError, match="no such file"):
        model_of(folder, fail, 256, GenerationBounds(), lambda: None)
    assert set(threading.enumerate()) <= before


def test_logprobs_come_with_their_tokens(opened: Open) -> None:
    _, _, listener = opened()
    (answer,) = listener.ask(request(6, logprobs=0))
    assert len(answer.logprobs) == 6


def test_a_worn_engine_ends_once_nothing_is_asked_of_it(opened: Open) -> None:
    script, model, listener = opened()
    ended = threading.Event()
    model.on_failure = ended.set
    with held(script):
        number = listener.start(request(5))
        script.stepping.wait()
        script.worn = True
    assert listener.answers(number)[0].tokens == 5, "what is under way is written to its end"
    assert ended.wait(10)
    with pytest.raises(MaasError, match="starts anew") as caught:
        listener.start(request(1))
    assert caught.value.kind is ErrorKind.UNAVAILABLE
    assert script.closed
