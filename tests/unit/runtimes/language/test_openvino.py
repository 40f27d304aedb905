from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openvino_genai
import pytest
from tests.language import tiny_artifact, tiny_card
from tests.listener import Answer, Listener

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import (
    Feature,
    GenerateRequest,
    Grammar,
    Sampling,
    TextPrompt,
    TokenPrompt,
)
from maas.core.ports import Artifact, Device, GenerationBounds
from maas.runtimes.language.card import TOKENIZER, read_card
from maas.runtimes.language.engine import LanguageModel
from maas.runtimes.language.openvino import OpenVINOGenAIRuntime
from maas.runtimes.language.openvino_config import config_of
from maas.runtimes.language.openvino_step import unlocked_step
from maas.runtimes.language.tokens import Vocabulary

MIB = 1 << 20
PROMPT = TokenPrompt((11, 42, 7, 300, 299, 12))
LONG = tuple(random.Random(5).choices(range(480), k=150))
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"enum": ["ant", "bee"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 999},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["name", "count", "tags"],
    "additionalProperties": False,
}


def bounds(**others: Any) -> GenerationBounds:
    return GenerationBounds(**{"kv_bytes": 64 * MIB, "sequences": 8} | others)


def artifact(folder: Path) -> Artifact:
    return Artifact(str(folder), "model.gguf", "gguf", {})


def load(where: Artifact, **others: Any) -> LanguageModel:
    model = OpenVINOGenAIRuntime().load(where, Device(generation=bounds(**others)))
    assert isinstance(model, LanguageModel)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_artifact(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[LanguageModel]:
    found = load(artifact(folder))
    yield found
    found.close()


@pytest.fixture
def listener(model: LanguageModel) -> Listener:
    return Listener(model)


def greedy(most: int = 12, **others: Any) -> Sampling:
    return Sampling(**{"max_tokens": most, "temperature": 0.0, "ignore_end": True} | others)


def warm(most: int = 12, **others: Any) -> Sampling:
    return Sampling(**{"max_tokens": most, "temperature": 1.0, "ignore_end": True} | others)


def asked(sampling: Sampling, prompt: tuple[int, ...] = PROMPT.tokens, **others: Any) -> Any:
    return GenerateRequest(TokenPrompt(prompt), sampling, **others)


def test_greedy_answers_are_the_pipelines_own(folder: Path, listener: Listener) -> None:
    import numpy as np
    import openvino
    import openvino_genai

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.num_kv_blocks = 100
    exact = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f16"}
    pipeline = openvino_genai.ContinuousBatchingPipeline(
        str(folder / "model.gguf"), scheduler, "CPU", exact
    )
    vocabulary = Vocabulary(folder / TOKENIZER, read_card(folder))
    for prompt in (PROMPT.tokens, LONG):
        config = openvino_genai.GenerationConfig(max_new_tokens=12, ignore_eos=True)
        tensor = openvino.Tensor(np.array([prompt], np.int64))
        handle = pipeline.add_request(1, tensor, config)
        tokens: list[int] = []
        while pipeline.has_non_finished_requests():
            pipeline.step()
            while handle.can_read():
                tokens += next(iter(handle.read().values())).generated_ids
        (answer,) = listener.ask(asked(greedy(logprobs=0), prompt))
        assert [entry.token for entry in answer.logprobs] == list(map(vocabulary.bytes_of, tokens))


def test_nothing_is_written_beside_the_weights(folder: Path, model: LanguageModel) -> None:
    assert sorted(file.name for file in folder.iterdir()) == [
        "language.json",
        "model.gguf",
        "tokenizer.json",
    ]


def test_what_it_lacks(model: LanguageModel) -> None:
    assert model.lacks == {Feature.TOP_LOGPROBS, Feature.LOGIT_BIAS}


def test_seeds(listener: Listener) -> None:
    first = listener.ask(asked(warm(seed=3)))
    # In the company of others, too.
    numbers = [listener.start(asked(warm(seed=seed))) for seed in (3, 4, 5, 3)]
    third, fourth, fifth, again = map(listener.answers, numbers)
    assert first == third == again
    assert len({answer[0].text for answer in (third, fourth, fifth)}) == 3
    unseeded = [listener.ask(asked(warm()))[0].text for _ in range(3)]
    assert len(set(unseeded)) == 3
    large = [listener.ask(asked(warm(seed=seed))) for seed in (1, 1 + (1 << 32), (1 << 63) - 1)]
    assert large[0] != large[1] != large[2]


def test_choices_differ_and_repeat(listener: Listener) -> None:
    request = asked(warm(seed=9), choices=4)
    number = listener.start(request)
    answers = listener.answers(number)
    assert len({answer.text for answer in answers}) == 4
    assert listener.ask(request) == answers
    assert listener.usage(number).completion_tokens == 48


def test_sampling_narrows(listener: Listener) -> None:
    (best,) = listener.ask(asked(greedy()))
    for one in ({"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}, {"temperature": 1e-6}):
        assert listener.ask(asked(warm(**one)))[0].text == best.text
    # The greedy answer repeats itself; a penalty ends that.
    (free,) = listener.ask(asked(greedy(40, logprobs=0)))
    (held,) = listener.ask(asked(greedy(40, logprobs=0, frequency_penalty=2.0)))
    assert len({e.token for e in held.logprobs}) > len({e.token for e in free.logprobs})
    assert listener.ask(asked(greedy(40, repetition_penalty=1.5)))[0].text != free.text


def test_end_tokens_and_stop_tokens(folder: Path, listener: Listener) -> None:
    ends = read_card(folder).end_tokens
    assert len(ends) > 1
    request = asked(warm(200, ignore_end=False, seed=1, logprobs=0))
    found = {listener.ask(asked(warm(400, ignore_end=False, seed=s)))[0].finish for s in range(6)}
    assert "stop" in found
    whole = listener.ask(request)[0]
    (entries,) = (whole.logprobs,)
    vocabulary = Vocabulary(folder / TOKENIZER, read_card(folder))
    second = next(t for t in range(vocabulary.size) if vocabulary.bytes_of(t) == entries[1].token)
    (cut,) = listener.ask(asked(warm(200, seed=1, stop_tokens=(second,), ignore_end=False)))
    assert (cut.tokens, cut.finish) == (2, "stop")
    (cut,) = listener.ask(asked(warm(200, seed=1, stop_tokens=(second,))))
    assert (cut.tokens, cut.finish) == (2, "stop")


def test_a_stop_string_frees_the_place(listener: Listener, model: LanguageModel) -> None:
    (whole,) = listener.ask(asked(greedy(30)))
    stop = whole.text[2:4]
    (cut,) = listener.ask(asked(greedy(1000, stop=(stop,))))
    assert cut.text == whole.text[: whole.text.index(stop)]
    counts = model.counts()
    assert (counts.running, counts.kv_used) == (0, 0.0)


def test_logprobs_of_the_prompt(listener: Listener) -> None:
    def scored(prompt: tuple[int, ...], most: int = 1) -> Answer:
        (answer,) = listener.ask(asked(greedy(most, logprobs=0), prompt, echo=True))
        assert len(answer.logprobs) == len(prompt) + most
        assert answer.logprobs[0].logprob is None
        return answer

    listener.ask(asked(greedy(), LONG))  # in the cache, without log-probabilities
    first = scored(LONG)
    assert scored(LONG).logprobs[:-1] == first.logprobs[:-1]  # from the cache now
    assert scored(LONG, 0).logprobs == first.logprobs[:-1]
    for cut in (1, 2, 31, 32, 33, 64, 100, 149):
        part = scored(LONG[:cut])
        for mine, whole in zip(part.logprobs[1:-1], first.logprobs[1:], strict=False):
            assert mine.logprob == pytest.approx(whole.logprob, abs=2e-2)
    # A continuation's tokens are as likely as they are when they are written.
    (told,) = listener.ask(asked(greedy(3, logprobs=0), LONG))
    vocabulary = listener.model._vocabulary  # type: ignore[attr-defined]
    texts = [entry.token for entry in told.logprobs]
    tokens = tuple(
        next(t for t in range(vocabulary.size) if vocabulary.bytes_of(t) == text) for text in texts
    )
    again = scored(LONG + tokens)
    for mine, written in zip(again.logprobs[150:], told.logprobs, strict=False):
        assert mine.logprob == pytest.approx(written.logprob, abs=2e-2)


def test_scored_prompts_side_by_side(listener: Listener) -> None:
    prompts = [(*LONG[: 20 + 13 * step], step) for step in range(8)]
    numbers = [
        listener.start(asked(greedy(1, logprobs=0), prompt, echo=True)) for prompt in prompts
    ]
    for number, prompt in zip(numbers, prompts, strict=True):
        (answer,) = listener.answers(number)
        assert len(answer.logprobs) == len(prompt) + 1


def test_a_prompt_that_was_seen_is_counted_as_cached(listener: Listener) -> None:
    prompt = tuple(random.Random(77).choices(range(480), k=130))
    number = listener.start(asked(greedy(40), prompt))
    assert listener.usage(number).cached_tokens == 0
    number = listener.start(asked(greedy(4), prompt))
    assert listener.usage(number).cached_tokens == 128
    number = listener.start(asked(greedy(4), (*prompt[:70], 1, 2, 3)))
    assert listener.usage(number).cached_tokens == 64


@pytest.mark.parametrize("grammar", [Grammar(), Grammar(json.dumps(SCHEMA))])
def test_structured_answers_parse(listener: Listener, grammar: Grammar) -> None:
    numbers = [
        listener.start(asked(warm(400, seed=seed), grammar=grammar, special=True))
        for seed in range(50)
    ]
    whole = 0
    for number in numbers:
        (answer,) = listener.answers(number)
        if answer.finish == "length":
            continue  # blanks without end, which random weights like
        whole += 1
        found = json.loads(answer.text)
        assert isinstance(found, dict)
        if grammar.schema:
            assert found["name"] in ("ant", "bee")
            assert 0 <= found["count"] <= 999
            assert set(map(type, found["tags"])) <= {bool}
    assert whole > 20


def test_bounds_of_texts_that_would_hold_up_everyone(listener: Listener) -> None:
    def bounded(most: int) -> Grammar:
        return Grammar(json.dumps({"type": "string", "maxLength": most}))

    with pytest.raises(MaasError, match="bounds texts to 20000 characters") as caught:
        listener.ask(asked(warm(5), grammar=bounded(20_000)))
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    (answer,) = listener.ask(asked(warm(100), grammar=bounded(3)))
    # Of a character that is none in UTF-8 each byte is shown; random weights write such, too.
    assert len(json.loads(answer.text)) <= 3 * 4


def _numbers(count: int) -> dict[str, Any]:
    bounded = {"type": "integer", "minimum": -(10**15), "maximum": 10**15}
    properties = {f"n{place}": bounded for place in range(count)}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _optional(count: int) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {f"n{place}": {"type": "integer"} for place in range(count)},
    }


def _endless(count: int) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^{'[a-z]*-' * count}$"}


@pytest.mark.parametrize(
    ("schema", "places"), [(_numbers(200), 200), (_optional(250), 208), (_endless(800), 200)]
)
def test_other_schemas_that_would_hold_up_everyone(schema: dict[str, Any], places: int) -> None:
    request = GenerateRequest(PROMPT, greedy(1), Grammar(json.dumps(schema)))
    with pytest.raises(MaasError, match=f"as long to prepare as {places} characters") as caught:
        config_of(openvino_genai, tiny_card(vocabulary=150_000), request, 0)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize("schema", [_numbers(20), _optional(60), _endless(20)])
def test_schemas_that_are_prepared_at_once(schema: dict[str, Any]) -> None:
    request = GenerateRequest(PROMPT, greedy(1), Grammar(json.dumps(schema)))
    assert config_of(openvino_genai, tiny_card(vocabulary=150_000), request, 0)


def test_what_the_engine_refuses_is_told(listener: Listener) -> None:
    with pytest.raises(MaasError, match="refuses these parameters") as caught:
        listener.ask(asked(warm(repetition_penalty=-1.0)))
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert listener.ask(asked(greedy(1)))


def test_other_threads_run_during_steps(folder: Path, model: LanguageModel) -> None:
    pipeline = model._backend._pipeline  # type: ignore[attr-defined]
    assert unlocked_step(pipeline) != pipeline.step


def test_two_hundred_cancelled_at_random(folder: Path) -> None:
    model = load(artifact(folder), sequences=16)
    listener, dice = Listener(model), random.Random(1)
    kept, gone = [], []
    for _ in range(200):
        prompt = tuple(dice.choices(range(480), k=dice.randint(1, 90)))
        number = listener.start(asked(warm(30), prompt, choices=dice.choice((1, 1, 2))))
        (gone if dice.random() < 0.5 else kept).append(number)
        if len(gone) > 3:
            model.cancel(gone.pop(dice.randrange(len(gone))), listener.deliver)
    for number in gone:
        model.cancel(number, listener.deliver)
    for number in kept:
        assert all(answer.tokens == 30 for answer in listener.answers(number))
    counts = model.counts()
    assert (counts.running, counts.waiting, counts.kv_used) == (0, 0, 0.0)
    assert not model._backend._choices  # type: ignore[attr-defined]
    listener.ask(asked(greedy(1)))
    metrics = model._backend._pipeline.get_metrics()  # type: ignore[attr-defined]
    assert metrics.requests == 1  # in the last step: nothing else was left in the pipeline
    model.close()


def test_more_than_the_cache_holds_takes_turns(tmp_path: Path) -> None:
    # One context of 512 tokens is 17 blocks of 8 KiB; eight answers want four times as much.
    where = artifact(tiny_artifact(tmp_path, context=512))
    model = load(where, kv_bytes=17 * 8192)
    listener = Listener(model)
    numbers = [listener.start(asked(greedy(240), (*PROMPT.tokens, n))) for n in range(8)]
    for number in numbers:
        (answer,) = listener.answers(number)
        assert (answer.tokens, answer.finish) == (240, "length")
    (answer,) = listener.ask(asked(greedy(None)))  # type: ignore[arg-type]
    assert answer.tokens == 512 - len(PROMPT.tokens)
    model.close()


def test_a_cache_too_small_for_one_context(folder: Path) -> None:
    with pytest.raises(MaasError, match="one context of 2048 tokens takes 1 MiB") as caught:
        load(artifact(folder), kv_bytes=1024)
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION


def test_weights_that_are_none(tmp_path: Path) -> None:
    where = artifact(tiny_artifact(tmp_path))
    where.file.write_bytes(b"weights")
    with pytest.raises(MaasError, match="GGUF"):
        load(where)


def test_an_architecture_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(MaasError, match="OpenVINO GenAI cannot run the model") as caught:
        load(artifact(tiny_artifact(tmp_path, "gpt2")))
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    assert "/" not in caught.value.message


def test_the_estimate_is_an_upper_bound(folder: Path) -> None:
    found = OpenVINOGenAIRuntime().estimate(artifact(folder))
    assert found.memory_bytes > 3 * (folder / "model.gguf").stat().st_size


def test_a_folder_of_openvinos_own(folder: Path, listener: Listener, tmp_path: Path) -> None:
    import openvino_genai

    made = tiny_artifact(tmp_path / "made")
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.num_kv_blocks = 10
    openvino_genai.ContinuousBatchingPipeline(
        str(made / "model.gguf"), scheduler, "CPU", {"enable_save_ov_model": True}
    )
    (made / "model.gguf").unlink()
    model = load(Artifact(str(made), "openvino_model.xml", "openvino-ir", {}))
    assert Listener(model).ask(asked(greedy())) == listener.ask(asked(greedy()))
    # Its tokenizer is not there in OpenVINO's form, and grammars need that.
    assert model.lacks >= {Feature.JSON, Feature.JSON_SCHEMA}
    assert Feature.PROMPT_LOGPROBS not in model.lacks
    model.close()


def test_a_text_is_answered(listener: Listener) -> None:
    number = listener.start(GenerateRequest(TextPrompt("Hello world"), greedy(5)))
    assert listener.answers(number)[0].tokens == 5


@pytest.mark.parametrize("quantization", ["Q8_0", "Q4_0"])
def test_quantised_weights(tmp_path: Path, quantization: str) -> None:
    model = load(artifact(tiny_artifact(tmp_path, quantization=quantization)))
    listener = Listener(model)
    first = listener.ask(asked(greedy(8, logprobs=0), LONG, echo=True))
    assert listener.ask(asked(greedy(8, logprobs=0), LONG, echo=True)) == first
    model.close()
