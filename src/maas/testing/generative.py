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
from collections.abc import Iterable, Sequence

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
PROMPTS = 5


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
    sampling = Sampling(max_tokens=TOKENS, temperature=0.0, ignore_end=True)
    prompts = [f"{prompt}{' again' * n}" for n in range(PROMPTS)]
    several = [GenerateRequest(TextPrompt(each), sampling) for each in prompts]
    greedy = several[0]
    check_answers(caller, several)
    check_seeds(caller, several)
    check_choices(caller, greedy)
    check_stops(caller, several)
    check_cancels(caller, several, spec)
    check_refusals(caller, spec)
    if Feature.LOGPROBS not in spec.lacks:
        check_logprobs(caller, greedy, spec)
    if Feature.JSON_SCHEMA not in spec.lacks:
        check_schema(caller, greedy)
    model.close()


def mostly(equal: Iterable[bool]) -> bool:
    """Whether more than half hold.

    What an engine computes for several callers together is rounded otherwise than for one alone.
    Where two tokens are as likely, it may then take either: of one prompt, but not of most.
    """
    found = list(equal)
    return 2 * sum(found) > len(found)


def check_answers(caller: Caller, several: Sequence[GenerateRequest]) -> None:
    """Lengths are obeyed and counted, and the likeliest answer is one."""
    first = [caller.ask(greedy) for greedy in several]
    second = [caller.ask(greedy) for greedy in several]
    for answer in first:
        assert answer.usage.completion_tokens == answer.tokens() == TOKENS, "max_tokens are written"
        assert answer.usage.prompt_tokens > 0, "a prompt has tokens"
        assert answer.deltas[-1].finish == "length", "one cut at max_tokens ends with `length`"
    same = (a.text() == b.text() for a, b in zip(first, second, strict=True))
    assert mostly(same), "temperature 0 gives one answer"


def check_seeds(caller: Caller, several: Sequence[GenerateRequest]) -> None:
    """The same seed repeats, no seed does not."""
    warm = structs.replace(several[0].sampling, temperature=1.0)
    seeded = [structs.replace(each, sampling=structs.replace(warm, seed=7)) for each in several]
    same = (caller.ask(each).text() == caller.ask(each).text() for each in seeded)
    assert mostly(same), "the same seed repeats"
    free = structs.replace(several[0], sampling=warm)
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


def check_stops(caller: Caller, several: Sequence[GenerateRequest]) -> None:
    """A stop string ends the answer before it."""

    def stops(greedy: GenerateRequest) -> bool:
        text = caller.ask(greedy).text()
        stop = text[len(text) // 2 :][:2]
        sampling = structs.replace(greedy.sampling, stop=(stop,))
        answer = caller.ask(structs.replace(greedy, sampling=sampling))
        assert stop not in answer.text(), "an answer does not contain the stop string"
        before = answer.text() == text[: text.index(stop)]
        return before and answer.deltas[-1].finish == "stop"

    stopped = (stops(each) for each in several)
    assert mostly(stopped), "the answer ends before the stop string, and says `stop`"


def check_cancels(caller: Caller, several: Sequence[GenerateRequest], spec: GenerativeSpec) -> None:
    """Cancelled calls leave nothing behind, and the others are whole."""
    greedy = several[0]
    wanted = [caller.ask(each).text() for each in several]
    long = structs.replace(
        greedy, sampling=structs.replace(greedy.sampling, max_tokens=spec.context_tokens // 2)
    )
    started = [caller.start(long if n % 2 else greedy) for n in range(16)]
    for number, _ in started[1::2]:
        caller.model.cancel(number, caller.deliver)
    for _, answer in started[::2]:
        assert answer.over.wait(LONGEST_S), "a call beside cancelled ones ends"
        assert answer.tokens() == TOKENS, "and is whole"
    same = (caller.ask(each).text() == text for each, text in zip(several, wanted, strict=True))
    assert mostly(same), "what is written afterwards is as before"
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
