"""The contract of a language model's engine, as checks that anybody's can be put through.

    def test_my_engine(tmp_path):
        model = MyRuntime().load(artifact, Device())
        check_generative(model, prompt="Hello", spec=artifact.generative)

Each check raises AssertionError with what was expected. Small random models do: nothing is asked
of what is written, only that it is written as it should be.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence

from msgspec import structs

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import (
    Delta,
    Feature,
    GenerateRequest,
    GenerativeSpec,
    Grammar,
    Sampling,
    TextPrompt,
    TokenPrompt,
    Usage,
)
from maas.core.ports import Generative

LONGEST_S = 120.0
TOKENS = 24


class Answer:
    """What came of one call: every delta, until the usage or an error."""

    def __init__(self) -> None:
        self.deltas: list[Delta] = []
        self.error: MaasError | None = None
        self.over = threading.Event()

    @property
    def usage(self) -> Usage:
        """Of the call.

        Raises:
            AssertionError: it has none.
        """
        usage = self.deltas[-1].usage if self.deltas else None
        assert usage is not None, f"an answer ends with its usage; got {self.error or self.deltas}"
        return usage

    def text(self, index: int = 0) -> str:
        """Of one choice."""
        return "".join(delta.text for delta in self.deltas if delta.index == index)

    def tokens(self, index: int = 0) -> int:
        """Of one choice."""
        return sum(delta.tokens for delta in self.deltas if delta.index == index)


class Caller:
    """Starts calls of a model and gathers their answers.

    Args:
        model: of which they are.
    """

    def __init__(self, model: Generative):
        self.model = model
        self._answers: dict[int, Answer] = {}

    def deliver(self, items: Sequence[tuple[int, Delta | MaasError]]) -> None:
        """Takes what a step gave."""
        for number, item in items:
            answer = self._answers[number]
            assert not answer.over.is_set(), "nothing follows the usage or an error"
            if isinstance(item, MaasError):
                answer.error = item
                answer.over.set()
            else:
                answer.deltas.append(item)
                if item.usage is not None:
                    answer.over.set()

    def start(self, request: GenerateRequest) -> tuple[int, Answer]:
        """Starts a call; gives its number and what will come of it."""
        number = len(self._answers) + 1
        answer = self._answers[number] = Answer()
        self.model.start(number, request, self.deliver)
        return number, answer

    def ask(self, request: GenerateRequest) -> Answer:
        """Makes a call and waits for its end."""
        _, answer = self.start(request)
        assert answer.over.wait(LONGEST_S), f"no end of an answer within {LONGEST_S:g} s"
        return answer


def check_generative(model: Generative, prompt: str, spec: GenerativeSpec) -> None:
    """Puts an engine through everything below, then closes it.

    Args:
        model: just loaded; it has room for at least four choices.
        prompt: a text of a few words.
        spec: what publishing would say of it.

    Raises:
        AssertionError: where the contract is broken.
    """
    caller = Caller(model)
    greedy = GenerateRequest(
        TextPrompt(prompt), Sampling(max_tokens=TOKENS, temperature=0.0, ignore_end=True)
    )
    check_answers(caller, greedy)
    check_seeds(caller, greedy)
    check_choices(caller, greedy)
    check_stops(caller, greedy)
    check_cancels(caller, greedy, spec)
    check_refusals(caller, spec)
    if Feature.LOGPROBS not in spec.lacks:
        check_logprobs(caller, greedy, spec)
    if Feature.JSON_SCHEMA not in spec.lacks:
        check_schema(caller, greedy)
    model.close()


def check_answers(caller: Caller, greedy: GenerateRequest) -> None:
    """Lengths are obeyed and counted, and the likeliest answer is one."""
    first, second = caller.ask(greedy), caller.ask(greedy)
    assert first.usage.completion_tokens == first.tokens() == TOKENS, "max_tokens are written"
    assert first.usage.prompt_tokens > 0, "a prompt has tokens"
    assert first.deltas[-1].finish == "length", "an answer cut at max_tokens ends with `length`"
    assert first.text() == second.text(), "temperature 0 gives one answer"


def check_seeds(caller: Caller, greedy: GenerateRequest) -> None:
    """The same seed repeats, no seed does not."""
    warm = structs.replace(greedy.sampling, temperature=1.0)
    seeded = structs.replace(greedy, sampling=structs.replace(warm, seed=7))
    assert caller.ask(seeded).text() == caller.ask(seeded).text(), "the same seed repeats"
    free = structs.replace(greedy, sampling=warm)
    texts = {caller.ask(free).text() for _ in range(4)}
    assert len(texts) > 1, "calls without a seed differ"


def check_choices(caller: Caller, greedy: GenerateRequest) -> None:
    """Several choices are several answers, and one usage."""
    warm = structs.replace(greedy.sampling, temperature=1.0, seed=3)
    answer = caller.ask(structs.replace(greedy, sampling=warm, choices=3))
    assert {delta.index for delta in answer.deltas} == {0, 1, 2}, "every choice is written"
    assert answer.usage.completion_tokens == 3 * TOKENS, "usage counts every choice"
    assert len({answer.text(index) for index in range(3)}) > 1, "choices differ"
    ends = [delta for delta in answer.deltas if delta.finish is not None]
    assert sorted(delta.index for delta in ends) == [0, 1, 2], "every choice ends once"


def check_stops(caller: Caller, greedy: GenerateRequest) -> None:
    """A stop string ends the answer before it."""
    text = caller.ask(greedy).text()
    stop = text[len(text) // 2 :][:2]
    sampling = structs.replace(greedy.sampling, stop=(stop,))
    answer = caller.ask(structs.replace(greedy, sampling=sampling))
    assert answer.text() == text[: text.index(stop)], "the answer ends before the stop string"
    assert answer.deltas[-1].finish == "stop", "and says so"


def check_cancels(caller: Caller, greedy: GenerateRequest, spec: GenerativeSpec) -> None:
    """Cancelled calls leave nothing behind, and the others are whole."""
    wanted = caller.ask(greedy).text()
    long = structs.replace(
        greedy, sampling=structs.replace(greedy.sampling, max_tokens=spec.context_tokens // 2)
    )
    started = [caller.start(long if n % 2 else greedy) for n in range(16)]
    for number, _ in started[1::2]:
        caller.model.cancel(number, caller.deliver)
    for _, answer in started[::2]:
        assert answer.over.wait(LONGEST_S), "a call beside cancelled ones ends"
        assert answer.tokens() == TOKENS, "and is whole"
    assert caller.ask(greedy).text() == wanted, "what is written afterwards is as before"
    counts = caller.model.counts()
    assert (counts.running, counts.waiting) == (0, 0), f"nothing is left behind; got {counts}"


def check_refusals(caller: Caller, spec: GenerativeSpec) -> None:
    """What cannot be is refused, and the next call is served."""
    long = GenerateRequest(TokenPrompt((1,) * (spec.context_tokens + 1)), Sampling(max_tokens=1))
    error = caller.ask(long).error
    assert error is not None, "a prompt beyond the context is refused"
    assert error.kind is ErrorKind.CONTEXT_EXCEEDED, f"as CONTEXT_EXCEEDED; got {error.kind}"
    unknown = GenerateRequest(TokenPrompt((spec.vocabulary + 10**6,)), Sampling(max_tokens=1))
    error = caller.ask(unknown).error
    assert error is not None, "a token that there is not is refused"
    assert error.kind is ErrorKind.INVALID_ARGUMENT, f"as INVALID_ARGUMENT; got {error.kind}"


def check_logprobs(caller: Caller, greedy: GenerateRequest, spec: GenerativeSpec) -> None:
    """Every token has its log-probability, and those asked for beside it."""
    top = 0 if Feature.TOP_LOGPROBS in spec.lacks else 3
    sampling = structs.replace(greedy.sampling, logprobs=top)
    answer = caller.ask(structs.replace(greedy, sampling=sampling))
    tokens = [one for delta in answer.deltas for one in delta.logprobs or ()]
    assert len(tokens) == TOKENS, f"a log-probability for each token; got {len(tokens)}"
    assert all(one.logprob is not None and one.logprob <= 1e-4 for one in tokens), "at most 0"
    assert all(len(one.top) == top for one in tokens), f"{top} others with each"
    text = b"".join(one.token for one in tokens).decode(errors="replace")
    assert text.startswith(answer.text().rstrip("�")), "their bytes are those of the text"


def check_schema(caller: Caller, greedy: GenerateRequest) -> None:
    """What a schema allows is all that is written."""
    schema = (
        '{"type":"object","properties":{"n":{"type":"integer","minimum":1,"maximum":99},'
        '"word":{"enum":["yes","no"]}},"required":["n","word"],"additionalProperties":false}'
    )
    for seed in range(4):
        sampling = Sampling(max_tokens=200, seed=seed)
        answer = caller.ask(structs.replace(greedy, sampling=sampling, grammar=Grammar(schema)))
        value = json.loads(answer.text())
        assert set(value) == {"n", "word"}, f"an object of the schema; got {value}"
        assert 1 <= value["n"] <= 99, f"a number within its bounds; got {value}"
        assert answer.deltas[-1].finish == "stop", "it ends where the value is complete"
