"""llama.cpp as an engine, on tiny models with random weights."""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import queue
import random
import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.language import tiny_artifact, tiny_gguf
from tests.unit.runtimes.language.twins import (
    BOUNDS,
    CONTEXT,
    asked,
    by_openvino,
    flat,
    one,
    parts,
    run,
    tokens,
    twin_folder,
    until_near_tie,
)

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Delta, Feature, GenerateRequest, Grammar, Sampling, TokenPrompt
from maas.core.ports import Artifact, Device, GenerationBounds
from maas.runtimes.language.llamacpp import (
    MOST_ASKED,
    UNKNOWN,
    LlamaCppBackend,
    LlamaCppRuntime,
    cells_of,
)
from maas.runtimes.language.llamacpp_layout import cell_bytes
from maas.runtimes.language.llamacpp_server import open_server
from maas.runtimes.language.transformers import TransformersBackend
from maas.runtimes.language.transformers_model import CausalModel

CELL_BYTES = 2 * 2 * 2 * 2 * 16
"""Of the tiny models: layers, keys and values, heads, 16-bit floats, numbers of a head."""
PROMPT = list(range(40, 90))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_artifact(tmp_path_factory.mktemp("llamacpp"), context=CONTEXT)


def opened(
    artifact: Path, bounds: GenerationBounds = BOUNDS, context: int = CONTEXT
) -> LlamaCppBackend:
    vocabulary, grammars = parts(artifact)
    return LlamaCppBackend(artifact / "model.gguf", vocabulary, grammars, bounds, context)


@pytest.fixture(scope="module")
def backend(artifact: Path) -> Iterator[LlamaCppBackend]:
    backend = opened(artifact)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def reference(artifact: Path) -> TransformersBackend:
    folder = twin_folder(artifact / "model.gguf", artifact / "model")
    return TransformersBackend(CausalModel(folder, 1), *parts(artifact), BOUNDS, CONTEXT)


def test_greedy_tokens_and_logprobs_are_those_of_transformers(
    backend: LlamaCppBackend, reference: TransformersBackend
) -> None:
    rng = random.Random(3)
    jobs = {
        key: ([rng.randrange(485) for _ in range(5 + 40 * key)], asked(logprobs=2), key)
        for key in range(6)
    }
    ours, theirs = run(backend, jobs), run(reference, jobs)
    common = [until_near_tie(ours[key], theirs[key], 0.1) for key in jobs]
    assert sum(common) > 60


def test_greedy_tokens_are_those_of_openvino(backend: LlamaCppBackend, artifact: Path) -> None:
    rng = random.Random(6)
    prompts = [[rng.randrange(485) for _ in range(5 + 40 * key)] for key in range(6)]
    ours = run(backend, {key: (p, asked(logprobs=2), 1) for key, p in enumerate(prompts)})
    # In a process of its own, as it is served.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        theirs = pool.submit(by_openvino, artifact, prompts).result(timeout=120)
    common = [until_near_tie(ours[key], theirs[key], 0.5) for key in ours]
    assert sum(common) > 30


@pytest.mark.parametrize(
    "sampling",
    [
        {"frequency_penalty": 1.5},
        {"repetition_penalty": 1.7},
        {"logit_bias": {7: 100.0}},
        {"logit_bias": {7: 3.0, 9: -2.0}, "frequency_penalty": 0.5},
        {"top_k": 1, "temperature": 1.0},
        {"top_p": 0.001, "temperature": 1.0},
        {"min_p": 1.0, "temperature": 1.0},
    ],
    ids=str,
)
def test_sampling_is_that_of_transformers(
    backend: LlamaCppBackend, reference: TransformersBackend, sampling: dict[str, object]
) -> None:
    request = asked(max_tokens=8, **sampling)
    assert one(backend, PROMPT, request) == one(reference, PROMPT, request)


def test_tokens_that_end_inside_characters_are_found(
    backend: LlamaCppBackend, artifact: Path
) -> None:
    vocabulary, _ = parts(artifact)
    parts_of = [token for token in range(485) if vocabulary.bytes_of(token)[0] >= 0x80]
    bias = dict.fromkeys(parts_of, 12.0)
    request = asked(max_tokens=60, temperature=1.0, logit_bias=bias, logprobs=1)
    found = run(backend, {1: (PROMPT, request, 5)})[1]
    assert [len(piece.tokens) for piece in found] != [1] * len(found)
    said = flat(found)
    assert len(tokens(found)) == len(said) == 60
    assert [vocabulary.bytes_of(token) for token in tokens(found)] == [s.token for s in said]
    told = [each for each in said if each.logprob != UNKNOWN]  # but a character that never ended
    assert len(told) > 30
    assert all(each.logprob < 0 and len(each.top) == 1 for each in told)


def test_the_last_token_may_end_inside_a_character(
    backend: LlamaCppBackend, artifact: Path
) -> None:
    vocabulary, _ = parts(artifact)
    first = next(t for t in range(485) if vocabulary.bytes_of(t) == "你".encode()[:1])
    request = asked(max_tokens=1, logit_bias={first: 40.0}, frequency_penalty=80.0)
    assert one(backend, PROMPT, request) == [first]


def test_seeds_repeat_and_differ(backend: LlamaCppBackend) -> None:
    request = asked(temperature=1.0, seed=1)
    first = [one(backend, PROMPT, request, seed) for seed in (1, 2, 2**63 - 1)]
    again = [one(backend, PROMPT, request, seed) for seed in (1, 2, 2**63 - 1)]
    assert first == again
    assert len({tuple(each) for each in first}) == 3


def test_a_known_prompt_is_said_to_be(artifact: Path) -> None:
    backend = opened(artifact)
    prompt = [random.Random(9).randrange(485) for _ in range(300)]
    cold = run(backend, {1: (prompt, asked(), 1)})[1]
    backend.step()  # the library has let go of it
    warm = run(backend, {2: (prompt, asked(), 1)})[2]
    assert sum(piece.cached_tokens for piece in cold) == 0
    assert sum(piece.cached_tokens for piece in warm) == 299
    backend.close()


def test_answers_that_must_be_json_parse(backend: LlamaCppBackend) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "w": {"enum": ["你好", "b"]}},
        "required": ["n", "w"],
        "additionalProperties": False,
    }
    grammar = Grammar(json.dumps(schema))
    request = asked(grammar=grammar, temperature=1.0, max_tokens=400, logprobs=1)
    found = run(backend, {key: (PROMPT, request, key) for key in range(20)})
    ends = frozenset({485, 487})
    for pieces in found.values():
        assert pieces[-1].finish == "stop"
        shown = [s for s, t in zip(flat(pieces), tokens(pieces), strict=True) if t not in ends]
        answer = json.loads(b"".join(s.token for s in shown))
        assert set(answer) == {"n", "w"}
        assert answer["w"] in ("你好", "b")


def test_added_tokens_that_are_text_may_stand_in_json(backend: LlamaCppBackend) -> None:
    call = "<tool_call>"  # of Qwen's tokenizers, too: no control token, and an added one
    bias = {488: 30.0}
    schema = {
        "type": "object",
        "properties": {"s": {"type": "string", "maxLength": 40}},
        "required": ["s"],
        "additionalProperties": False,
    }
    grammar = Grammar(json.dumps(schema))
    request = asked(grammar=grammar, temperature=0.0, max_tokens=200, logit_bias=bias, logprobs=0)
    [pieces] = run(backend, {1: (PROMPT, request, 1)}).values()
    assert [piece.error for piece in pieces] == [None] * len(pieces)
    assert 488 in tokens(pieces), "or this shows nothing"
    shown = b"".join(
        s.token for s, t in zip(flat(pieces), tokens(pieces), strict=True) if t not in {485, 487}
    )
    assert call in json.loads(shown)["s"]


@pytest.mark.parametrize(
    "template",
    [
        "{% for %}",
        "{{ 'a' * 99999999999 }}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    ],
)
def test_the_file_s_own_template_is_never_run(tmp_path: Path, template: str) -> None:
    tiny_gguf(tmp_path / "model.gguf", context=CONTEXT, chat_template=template)
    began = time.monotonic()
    server = open_server(tmp_path / "model.gguf", BOUNDS, CONTEXT)
    assert time.monotonic() - began < 120  # each would take for ever, or all memory
    del server


def test_schemas_are_refused_before_the_library_sees_them(backend: LlamaCppBackend) -> None:
    with pytest.raises(MaasError, match="nothing can satisfy it") as caught:
        backend.add(1, PROMPT, asked(grammar=Grammar('{"$ref": "#"}')), 1)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_what_the_library_refuses_ends_one_choice(backend: LlamaCppBackend) -> None:
    found = run(backend, {1: ([100_000], asked(), 1), 2: (PROMPT, asked(), 1)})
    assert found[1][-1].error is not None
    assert found[1][-1].error.kind is ErrorKind.INVALID_ARGUMENT
    assert len(tokens(found[2])) == 16


def test_cancelled_choices_leave_nothing(artifact: Path) -> None:
    backend = opened(artifact)
    rng = random.Random(5)
    request = asked(max_tokens=1000, temperature=1.0)
    running: set[int] = set()
    for key in range(120):
        backend.add(key, [rng.randrange(485) for _ in range(20)], request, key)
        running.add(key)
        for piece in backend.step():
            assert piece.error is None
        if len(running) > 6:
            gone = rng.choice(sorted(running))
            running.remove(gone)
            backend.cancel(gone)
    for key in running:
        backend.cancel(key)
    backend.cancel(12345)
    assert backend.kv_used() == 0
    assert len(one(backend, PROMPT, asked())) == 16
    backend.close()


def test_the_youngest_steps_back_where_the_kv_cache_is_full(artifact: Path) -> None:
    bounds = GenerationBounds(threads=1, kv_bytes=400 * CELL_BYTES, sequences=4)
    backend = opened(artifact, bounds, context=300)
    request = asked(max_tokens=180)
    prompt = [random.Random(11).randrange(485) for _ in range(80)]
    jobs = {key: ([key, *prompt], request, 1) for key in range(4)}
    crowded = run(backend, jobs)
    alone = {key: run(backend, {key: job})[key] for key, job in jobs.items()}
    for key in jobs:
        assert len(tokens(crowded[key])) == len(tokens(alone[key])) == 180
    assert tokens(crowded[0])[:16] == tokens(alone[0])[:16]
    backend.close()


def test_a_context_that_does_not_fit_is_refused_with_the_figures() -> None:
    bounds = GenerationBounds(kv_bytes=1 << 20, sequences=4)
    with pytest.raises(MaasError, match="takes 16 MiB of KV cache, and 1 MiB are") as caught:
        cells_of(1 << 12, bounds, 4096)
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    assert cells_of(16, bounds, 4092) == 4 * 4096


def test_nobody_can_connect_and_signals_stay_ours(artifact: Path) -> None:
    listening = _listening()
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    got: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    try:
        backend = opened(artifact)
        os.kill(os.getpid(), signal.SIGTERM)
        assert got == [signal.SIGTERM]
        tcp, unix = (now - then for now, then in zip(_listening(), listening, strict=True))
        assert tcp == set()
        assert unix
        assert not any(Path(path).exists() for path in unix)
        assert len(one(backend, PROMPT, asked())) == 16
        backend.close()
    finally:
        signal.signal(signal.SIGTERM, before[1])
    assert signal.getsignal(signal.SIGINT) == before[0]


def _listening() -> tuple[set[str], set[str]]:
    """This process's own TCP ports and Unix paths that listen."""
    inodes = set()
    for file in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(file.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    rows = [
        line.split()
        for kind in ("tcp", "tcp6")
        for line in Path(f"/proc/self/net/{kind}").read_text().splitlines()[1:]
    ]
    tcp = {row[1] for row in rows if row[3] == "0A" and row[9] in inodes}
    rows = [line.split() for line in Path("/proc/self/net/unix").read_text().splitlines()[1:]]
    return tcp, {row[7] for row in rows if len(row) > 7 and row[3] != "0" and row[6] in inodes}


def test_closing_ends_its_threads(artifact: Path) -> None:
    gc.collect()
    backend = opened(artifact)
    one(backend, PROMPT, asked())
    serving = _threads()
    backend.close()
    for _ in range(500):
        if _threads() < serving:
            return
        time.sleep(0.01)
    raise AssertionError("its threads are still there")


def _threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def test_what_it_lacks(backend: LlamaCppBackend) -> None:
    assert backend.lacks == {Feature.PROMPT_LOGPROBS}


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama", "gpt2"])
def test_a_token_of_kv_cache(tmp_path: Path, architecture: str) -> None:
    file = tiny_gguf(tmp_path / "model.gguf", architecture)
    assert cell_bytes(file) == (2 if architecture == "gpt2" else 1) * CELL_BYTES


def test_an_architecture_without_attention(tmp_path: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "mamba")
    writer.add_block_count(2)
    writer.add_embedding_length(64)
    writer.add_head_count(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert cell_bytes(tmp_path / "model.gguf") == 0


def _cut(raw: bytes) -> bytes:
    return raw[:60]


def _long_name(raw: bytes) -> bytes:
    return raw[:24] + struct.pack("<Q", 1 << 40) + raw[32:]


@pytest.mark.parametrize("spoil", [_cut, _long_name, lambda raw: b"x" + raw[1:], lambda raw: b""])
def test_a_gguf_that_lies(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    file = tiny_gguf(tmp_path / "model.gguf")
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(MaasError) as caught:
        cell_bytes(file)
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION


def test_a_gguf_whose_weights_are_missing(artifact: Path, tmp_path: Path) -> None:
    whole = (artifact / "model.gguf").read_bytes()
    for name in ("language.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((artifact / name).read_bytes())
    (tmp_path / "model.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MaasError, match="cannot load the model") as caught:
        opened(tmp_path)
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION


def test_the_runtime_serves_it(artifact: Path) -> None:
    device = Device(generation=GenerationBounds(kv_bytes=64 << 20, yielding=False))
    document = Artifact(str(artifact), "model.gguf", "gguf", {})
    model = LlamaCppRuntime().load(document, device)
    arrived: queue.SimpleQueue[Delta | MaasError] = queue.SimpleQueue()

    def deliver(items: Sequence[tuple[int, Delta | MaasError]]) -> None:
        for _, item in items:
            arrived.put(item)

    sampling = Sampling(max_tokens=9, temperature=1.0, ignore_end=True, logprobs=2)
    request = GenerateRequest(TokenPrompt(tuple(PROMPT)), sampling, choices=2)
    model.start(1, request, deliver)
    found: list[Delta] = []
    while not found or found[-1].usage is None:
        item = arrived.get(timeout=30)
        assert isinstance(item, Delta), item
        found.append(item)
    assert found[-1].usage is not None
    assert found[-1].usage.completion_tokens == 18
    for index in (0, 1):
        mine = [delta for delta in found if delta.index == index]
        assert mine[-1].finish == "length"
        assert sum(len(delta.logprobs or ()) for delta in mine) == 9
    model.close()


def test_an_estimate_is_an_upper_bound(artifact: Path) -> None:
    weights = (artifact / "model.gguf").stat().st_size
    document = Artifact(str(artifact), "model.gguf", "gguf", {})
    assert LlamaCppRuntime().estimate(document).memory_bytes > 2 * weights


def test_characters_that_never_end_are_counted(backend: LlamaCppBackend, artifact: Path) -> None:
    vocabulary, _ = parts(artifact)
    first = next(t for t in range(485) if vocabulary.bytes_of(t) == "你".encode()[:1])
    request = asked(max_tokens=7, logit_bias={first: 100.0}, logprobs=1)
    found = run(backend, {1: (PROMPT, request, 1)})[1]
    assert [vocabulary.bytes_of(token)[0] & 0xE0 for token in tokens(found)] == [0xE0] * 7
    assert len(flat(found)) == 7
    assert found[-1].finish == "length"


def test_choices_that_take_long_do_not_keep_the_others_waiting(
    backend: LlamaCppBackend, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary, _ = parts(artifact)
    bias = {t: 50.0 for t in range(485) if len(vocabulary.bytes_of(t)) == 1}
    steps: list[int] = []
    ask = backend._asked

    def slowly(*arguments: Any) -> Any:
        steps[-1] += 1
        time.sleep(0.02)
        return ask(*arguments)

    monkeypatch.setattr(backend, "_asked", slowly)
    wordy = asked(max_tokens=200, temperature=2.0, logit_bias=bias, logprobs=0)
    for key in range(4):
        backend.add(key, PROMPT, wordy, key + 1)
    for _ in range(40):
        steps.append(0)
        backend.step()
    assert sum(steps) > 40, "nothing was asked again"
    # A step ends with the first choice that took its time.
    assert max(steps) <= MOST_ASKED
    for key in range(4):
        backend.cancel(key)
    before = sum(steps)
    steps.append(0)
    found = run(backend, {9: (PROMPT, asked(max_tokens=3), 1)})[9]
    assert len(tokens(found)) == 3
    assert sum(steps) == before, "what was cancelled was asked for"
