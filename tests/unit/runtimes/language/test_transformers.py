"""transformers as an engine, on tiny models with random weights."""

from __future__ import annotations

import json
import queue
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.language import tiny_card, tiny_folder, tiny_tokenizer
from tests.unit.runtimes.language.twins import (
    BOUNDS,
    CONTEXT,
    asked,
    flat,
    one,
    parts,
    run,
    tokens,
)

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Delta, GenerateRequest, Grammar, Sampling, TokenPrompt
from maas.core.ports import Artifact, Device, GenerationBounds, Generative
from maas.runtimes.language.card import TOKENIZER, write_card
from maas.runtimes.language.transformers import TransformersBackend, TransformersRuntime
from maas.runtimes.language.transformers_model import CausalModel

PROMPT = list(range(40, 90))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transformers")
    tiny_folder(folder / "model", context=CONTEXT)
    tiny_tokenizer().save(str(folder / TOKENIZER))
    write_card(folder, tiny_card(context=CONTEXT))
    return folder


def opened(artifact: Path, bounds: GenerationBounds = BOUNDS, context: int = CONTEXT) -> Any:
    model = CausalModel(artifact / "model", 1)
    return TransformersBackend(model, *parts(artifact), bounds, context)


@pytest.fixture(scope="module")
def backend(artifact: Path) -> TransformersBackend:
    backend: TransformersBackend = opened(artifact)
    return backend


@pytest.fixture(scope="module")
def library(artifact: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(str(artifact / "model"))


def test_greedy_tokens_are_those_of_generate(backend: TransformersBackend, library: Any) -> None:
    import torch

    rng = random.Random(3)
    prompts = [[rng.randrange(485) for _ in range(n)] for n in (1, 7, 130, 300)]
    found = run(backend, {key: (prompt, asked(), 1) for key, prompt in enumerate(prompts)})
    for key, prompt in enumerate(prompts):
        ids = torch.tensor([prompt])
        whole = library.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=16,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert tokens(found[key]) == whole[0, len(prompt) :].tolist()


def test_logprobs_of_prompt_and_answer_are_the_models(
    backend: TransformersBackend, library: Any
) -> None:
    import torch

    prompt = [random.Random(4).randrange(485) for _ in range(200)]
    found = run(backend, {1: (prompt, asked(logprobs=3, echo=True), 1)})[1]
    assert found[0].prompt_logprobs is not None
    said = [*found[0].prompt_logprobs, *flat(found)]
    whole = prompt + tokens(found)
    assert len(said) == len(whole) == 216
    with torch.inference_mode():
        rows = library(torch.tensor([whole])).logits[0].log_softmax(-1)
    assert said[0].logprob is None
    for place, each in enumerate(said[1:], 1):
        assert each.logprob == pytest.approx(float(rows[place - 1, whole[place]]), abs=1e-3)
        best = rows[place - 1].topk(3).values.tolist()
        assert [value for _, value in each.top] == pytest.approx(best, abs=1e-3)


def test_a_prompt_may_be_scored_without_an_answer(backend: TransformersBackend) -> None:
    found = run(backend, {1: (PROMPT, asked(logprobs=0, echo=True, max_tokens=0), 1)})[1]
    assert [piece.tokens for piece in found] == [()]
    assert found[0].finish == "length"
    assert found[0].prompt_logprobs is not None
    assert len(found[0].prompt_logprobs) == len(PROMPT)


def test_seeds_repeat_and_differ_whoever_else_runs(backend: TransformersBackend) -> None:
    request = asked(temperature=1.0)
    together = run(backend, {key: (PROMPT, request, key) for key in range(5)})
    answers = [tokens(together[key]) for key in range(5)]
    assert len(set(map(tuple, answers))) == 5
    assert [one(backend, PROMPT, request, key) for key in range(5)] == answers


def test_answers_that_must_be_json_parse(backend: TransformersBackend) -> None:
    schema = {"type": "object", "properties": {"w": {"enum": ["你好"]}}, "required": ["w"]}
    grammar = Grammar(json.dumps(schema | {"additionalProperties": False}))
    request = asked(grammar=grammar, temperature=1.0, max_tokens=200, logprobs=0)
    for pieces in run(backend, {key: (PROMPT, request, key) for key in range(10)}).values():
        assert pieces[-1].finish == "stop"
        shown = [s.token for s in flat(pieces) if s.token not in (b"<|im_end|>", b"<|endoftext|>")]
        assert json.loads(b"".join(shown)) == {"w": "你好"}


def test_sampling_reaches_the_tokens(backend: TransformersBackend) -> None:
    assert one(backend, PROMPT, asked(logit_bias={7: 100.0}, max_tokens=3)) == [7, 7, 7]
    once = asked(logit_bias={7: 100.0, 8: 90.0}, presence_penalty=50.0, max_tokens=2)
    assert one(backend, PROMPT, once) == [7, 8]


def test_the_younger_wait_where_the_kv_cache_is_full(artifact: Path) -> None:
    bounds = GenerationBounds(kv_bytes=400 * 512, batch_tokens=64)
    backend = opened(artifact, bounds, context=300)
    request = asked(max_tokens=100)
    jobs = {key: ([key, *PROMPT * 2], request, 1) for key in range(4)}
    crowded = run(backend, jobs)
    for key, (prompt, _, _) in jobs.items():
        assert tokens(crowded[key]) == one(backend, prompt, request)
    assert backend.kv_used() == 0


def test_a_context_that_does_not_fit_is_refused(artifact: Path) -> None:
    with pytest.raises(MaasError, match="takes 1 MiB of KV cache, and 0 MiB are") as caught:
        opened(artifact, GenerationBounds(kv_bytes=1 << 10))
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION


def test_cancelled_choices_are_gone(artifact: Path) -> None:
    backend = opened(artifact)
    for key in range(6):
        backend.add(key, PROMPT, asked(max_tokens=500), 1)
    backend.step()
    assert backend.kv_used() > 0
    for key in range(7):
        backend.cancel(key)
    assert backend.kv_used() == 0
    assert list(backend.step()) == []


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2", "mistral", "gemma2"])
def test_other_architectures(tmp_path: Path, architecture: str) -> None:
    window = {"sliding_window": 16} if architecture in ("mistral", "gemma2") else {}
    tiny_folder(tmp_path / "model", architecture, context=512, **window)
    tiny_tokenizer().save(str(tmp_path / TOKENIZER))
    write_card(tmp_path, tiny_card(context=512))
    backend = opened(tmp_path, context=512)
    assert len(one(backend, PROMPT * 4, asked())) == 16


def _spoiled(folder: Path, **config: Any) -> Path:
    document = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(document))
    return folder


def test_code_is_never_asked_for(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    folder = _spoiled(
        tiny_folder(tmp_path / "model"), auto_map={"AutoModelForCausalLM": "evil.Model"}
    )
    (folder / "evil.py").write_text(f"open({str(canary)!r}, 'w').close()\nModel = None\n")
    with pytest.raises(MaasError, match="asks for code of its own") as caught:
        CausalModel(folder, 1)
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    assert not canary.exists()


def test_pickled_weights_are_never_read(tmp_path: Path) -> None:
    import torch

    folder = tiny_folder(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({"x": torch.zeros(1)}, folder / "pytorch_model.bin")
    with pytest.raises(MaasError, match="no safetensors"):
        CausalModel(folder, 1)
    (folder / "other.safetensors").write_bytes(b"")
    with pytest.raises(MaasError, match="cannot load the model"):
        CausalModel(folder, 1)


@pytest.mark.parametrize("config", ["", "[]", "{", '{"model_type": "no such"}', "[" * 5000])
def test_configurations_that_are_none(tmp_path: Path, config: str) -> None:
    folder = tiny_folder(tmp_path / "model")
    (folder / "config.json").write_text(config)
    with pytest.raises(MaasError) as caught:
        CausalModel(folder, 1)
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION


@pytest.fixture(scope="module")
def served(artifact: Path) -> Iterator[Generative]:
    bounds = GenerationBounds(kv_bytes=64 << 20, yielding=False)
    device = Device(generation=bounds)
    document = Artifact(str(artifact), "model/config.json", "huggingface", {})
    model = TransformersRuntime().load(document, device)
    yield model
    model.close()


def test_the_runtime_serves_it(served: Generative) -> None:
    arrived: queue.SimpleQueue[Delta | MaasError] = queue.SimpleQueue()

    def deliver(items: Sequence[tuple[int, Delta | MaasError]]) -> None:
        for _, item in items:
            arrived.put(item)

    sampling = Sampling(max_tokens=5, temperature=0.0, ignore_end=True)
    served.start(1, GenerateRequest(TokenPrompt(tuple(PROMPT)), sampling), deliver)
    found = []
    while not found or found[-1].usage is None:
        item = arrived.get(timeout=30)
        assert isinstance(item, Delta)
        found.append(item)
    assert found[-1].finish == "length"
    assert found[-1].usage is not None
    assert found[-1].usage.completion_tokens == 5


def test_an_estimate_is_an_upper_bound(artifact: Path) -> None:
    document = Artifact(str(artifact), "model", "huggingface", {})
    weights = (artifact / "model" / "model.safetensors").stat().st_size
    assert TransformersRuntime().estimate(document).memory_bytes > 3 * weights
