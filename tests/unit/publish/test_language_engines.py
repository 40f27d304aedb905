"""Which engine serves a language model, and how two engines' answers compare."""

from __future__ import annotations

import math
import threading

import pytest

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.generation import Delta, GenerationCounts, TokenLogprob, Usage
from maas.core.ports import Artifact, Resources
from maas.core.records import EngineTiming
from maas.publish.language_engines import Candidates, Tried, choose_engine, pick
from maas.publish.language_memory import MemoryPlan
from maas.publish.language_trial import CALLERS, QUESTIONS, Trial, Written, compare_answers

PLAN = MemoryPlan(1 << 20, 512, 2048, 1 << 30)


def written(*tokens: tuple[bytes, float | None]) -> Written:
    return Written(tuple(TokenLogprob(token, logprob) for token, logprob in tokens))


SAME = written((b"a", -0.1), (b"b", -0.9))
NEARLY = written((b"a", -0.11), (b"c", -0.95))
OTHER = written((b"z", -0.1), (b"z", -0.1))


@pytest.mark.parametrize(
    ("mine", "theirs", "compared", "differing"),
    [
        (SAME, SAME, 2, 0),
        (SAME, NEARLY, 1, 0),  # both about equally likely, and neither the greater part
        (SAME, OTHER, 0, 1),
        (written((b"a", -0.1)), written((b"b", -0.1)), 0, 1),  # each is sure of another
        (written((b"a", -1.0)), written((b"b", -2.0)), 0, 1),  # no tie
        (written((b"a", -1.0)), written((b"a", -2.1)), 1, 1),  # the same by luck
        (written((b"a", None)), written((b"b", None)), 0, 0),
        (written((b"a", -1.0)), written((b"a", -2.5)), 1, 1),
        (SAME, written(), 0, 0),
        (written((b"\xe4", -0.1)), written((b"b", -0.1)), 0, 0),  # a part of a character
    ],
)
def test_answers_compare_up_to_a_near_tie(mine, theirs, compared, differing):
    found = compare_answers([mine], [theirs])
    assert (found.compared, found.differing) == (compared, differing)


def test_how_much_rounding_does_is_told_by_the_tokens_that_agree():
    mine = [written(*((b"x", -1.0 - at / 10) for at in range(9)), (b"a", -2.0))]
    noisy = [written(*((b"x", -1.2 - at / 10) for at in range(9)), (b"b", -2.6))]
    assert compare_answers(mine, noisy).differing == 0
    steady = [written(*((b"x", -1.0 - at / 10) for at in range(9)), (b"b", -2.6))]
    assert compare_answers(mine, steady).differing == 1


def tried(name: str, alone: float, together: float, *answers: Written) -> Tried:
    timing = EngineTiming(name, alone, together, CALLERS)
    return Tried(Trial(timing, answers or (SAME, SAME, SAME)), frozenset())


def test_the_fastest_that_agrees_serves():
    chosen = pick(
        {"llamacpp": tried("llamacpp", 100, 90), "openvino-genai": tried("openvino-genai", 50, 20)},
        {},
        "",
    )
    assert chosen.engine == "openvino-genai"
    assert chosen.reason == "openvino-genai is 3.0 times as fast as llamacpp, and they agree"
    assert chosen.parity is not None
    assert (chosen.parity.samples, chosen.parity.agrees) == (6, True)


def test_one_that_is_hardly_faster_does_not_serve_instead_of_the_formats_own():
    engines = {"a": tried("a", 100, 90), "b": tried("b", 95, 88), "c": tried("c", 300, 200)}
    chosen = pick(engines, {}, "")
    assert chosen.engine == "a"
    assert chosen.reason == "a is the format's own reader, and none is 10% faster"
    assert [timing.note for timing in chosen.timings] == ["", "not 10% faster", "2.6 times slower"]


def test_one_that_writes_something_else_does_not_serve():
    engines = {
        "llamacpp": tried("llamacpp", 100, 90),
        "openvino-genai": tried("openvino-genai", 50, 20, OTHER, OTHER, SAME),
    }
    chosen = pick(engines, {}, "")
    assert chosen.engine == "llamacpp"
    assert "openvino-genai: it writes something else than llamacpp in 2 of 3" in chosen.reason
    assert [timing.agrees for timing in chosen.timings] == [True, False]
    assert "was left out" in chosen.warnings[0]
    assert chosen.parity is None
    with pytest.raises(MaasError, match="cannot serve this model: it writes something else"):
        pick(engines, {}, "openvino-genai")


def test_the_one_asked_for_serves_though_it_is_slower():
    engines = {"a": tried("a", 100, 90), "b": tried("b", 50, 20)}
    chosen = pick(engines, {}, "a")
    assert (chosen.engine, chosen.reason) == ("a", "a was asked for")
    assert chosen.timings[1].note == "a was asked for"


def test_those_that_could_not_stand_in_the_report():
    chosen = pick({"a": tried("a", 100, 90)}, {"b": "it reads no such numbers"}, "")
    assert chosen.reason == "a can serve it; b: it reads no such numbers"
    assert chosen.timings[1] == EngineTiming("b", 0, 0, 0, True, "it reads no such numbers")


class Scripted:
    """A `Generative` that writes the same for every prompt, from a thread of its own."""

    on_failure = None

    def __init__(self, tokens=((b"a", -0.1),), error=None):
        self.tokens, self.error = tokens, error
        self.closed = False
        self.requests = []
        self.cancelled = []

    def start(self, number, request, deliver):
        self.requests.append(request)
        threading.Thread(target=self._write, args=(number, request, deliver)).start()

    def _write(self, number, request, deliver):
        if self.error:
            deliver([(number, self.error)])
            return
        count = request.sampling.max_tokens
        for at in range(count):
            token, logprob = self.tokens[at % len(self.tokens)]
            usage = Usage(1, count) if at == count - 1 else None
            delta = Delta(
                0, "", logprobs=(TokenLogprob(token, logprob),), usage=usage,
                finish="length" if usage else None,
            )  # fmt: skip
            deliver([(number, delta)])

    def cancel(self, number, deliver):
        self.cancelled.append(number)

    def counts(self):
        return GenerationCounts(0, 0, 0.0, 0, 0)

    def close(self):
        self.closed = True


class ScriptedRuntime:
    platform, formats, host, confined = "scripted", frozenset({"gguf"}), "dedicated", False

    def __init__(self, name, model):
        self.name, self.model = name, model

    def estimate(self, artifact):
        return Resources(1)

    def load(self, artifact, device):
        if isinstance(self.model, Exception):
            raise self.model
        self.device = device
        self.spec = artifact.generative
        return self.model


def run(asked="", **models):
    runtimes = {name: ScriptedRuntime(name, model) for name, model in models.items()}
    artifact = Artifact("/nowhere", "model.gguf", "gguf", {})
    engines = (asked,) if asked in models else tuple(models)
    candidates = Candidates(artifact, engines, {"other": "not this kind"}, PLAN, 600, asked)
    heard = []
    chosen = choose_engine(candidates, runtimes.__getitem__, lambda *event: heard.append(event))
    return chosen, runtimes, heard


def test_engines_are_tried_one_after_another():
    chosen, runtimes, heard = run(a=Scripted(), b=Scripted())
    assert {timing.engine for timing in chosen.timings} == {"a", "b", "other"}
    assert [message for _, message, _ in heard] == ["having a write", "having b write"]
    for runtime in runtimes.values():
        assert runtime.model.closed
        bounds = runtime.device.generation
        assert bounds.kv_bytes >= CALLERS * runtime.spec.context_tokens * PLAN.kv_token
        asked = [request.prompt for request in runtime.model.requests]
        assert [prompt.text for prompt in asked[: len(QUESTIONS)]] == list(QUESTIONS)
        prompts = {prompt.tokens for prompt in asked[len(QUESTIONS) :]}
        assert len(prompts) == 1 + CALLERS
        assert all(0 <= token < 600 for prompt in prompts for token in prompt)
        assert all(request.sampling.temperature == 0 for request in runtime.model.requests)
    assert runtimes["a"].model.requests[1] == runtimes["b"].model.requests[1]


def test_one_that_cannot_load_leaves_the_others():
    chosen, *_ = run(a=MaasError(ErrorKind.FAILED_PRECONDITION, "not installed"), b=Scripted())
    assert chosen.engine == "b"
    assert "a: not installed" in chosen.reason


def test_one_that_fails_while_it_writes_is_closed():
    broken = Scripted(error=invalid("it broke"))
    chosen, *_ = run(a=broken, b=Scripted())
    assert chosen.engine == "b"
    assert broken.closed


def test_weights_that_make_no_numbers():
    damaged = Scripted(tokens=((b"a", math.nan),))
    with pytest.raises(MaasError, match="its weights are damaged"):
        run(a=damaged)
    assert damaged.closed


def test_none_can_serve():
    with pytest.raises(MaasError) as refused:
        run(a=invalid("it cannot read it"))
    assert refused.value.message == (
        "no engine can serve this model: other: not this kind; a: it cannot read it"
    )


def test_the_one_asked_for_is_tried_alone():
    others = Scripted()
    chosen, *_ = run(asked="b", a=others, b=Scripted())
    assert chosen.engine == "b"
    assert not others.requests
    with pytest.raises(MaasError, match="engine 'other' cannot serve this model: not this kind"):
        run(asked="other", a=Scripted())
    with pytest.raises(MaasError, match="engine 'b' cannot serve this model: broken"):
        run(asked="b", a=Scripted(), b=invalid("broken"))
