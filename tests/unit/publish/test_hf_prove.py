"""What makes a proof: places, near-ties, perplexities, and engines that write something else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.language import tiny_artifact, tiny_card, tiny_folder, tiny_tokenizer

from maas.core.errors import MaasError
from maas.core.generation import Delta, GenerateRequest, GenerationCounts, TokenLogprob, Usage
from maas.core.ports import Deliver
from maas.publish.hf_folder import HfFolder, read_folder
from maas.publish.hf_prove import Checked, Proof, check_engine, follow, parity_of
from maas.publish.hf_reference import Judged, Reference, Spoken, beginnings, long_beginning
from maas.runtimes.language.tokens import Vocabulary


def judged(likeliest: Sequence[int], margin: float = 1.0, logprob: float = -1.0) -> Judged:
    shape = (1, len(likeliest))
    return Judged(
        np.asarray([likeliest]), np.full(shape, margin, "f4"), np.full(shape, logprob, "f4")
    )


def test_places_that_hold() -> None:
    parity = parity_of(judged([1, 2, 3]), judged([1, 2, 3]), 0, "f16")
    assert (parity.agrees, parity.samples, parity.distinct_answers) == (True, 3, 3)
    assert (parity.max_abs, parity.max_rel) == (0.0, 0.0)
    assert "the same in 3 of 3 places (0 near-ties)" in parity.note


def test_near_ties_count_for_nothing_and_others_do() -> None:
    assert parity_of(judged([1, 2], 0.01), judged([1, 3], 0.5), 0, "f16").agrees
    assert not parity_of(judged([1, 2], 0.5), judged([1, 3], 0.5), 0, "f16").agrees
    assert parity_of(judged([1, 2], 0.2), judged([1, 3], 0.2), 0, "f16", "bfloat16").agrees


@pytest.mark.parametrize(
    ("quantize", "logprob", "agrees"),
    [
        ("q8_0", -1.01, True),
        ("q8_0", -1.05, False),
        ("q4_0", -1.2, True),
        ("q4_0", -1.3, False),
        ("q4_0", -math.inf, False),
        ("q8_0", -0.5, True),
    ],
)
def test_what_fewer_bits_may_cost(quantize: str, logprob: float, agrees: bool) -> None:
    after = judged([1, 3], logprob=logprob)
    with np.errstate(all="ignore"):
        parity = parity_of(judged([1, 2]), after, 0, quantize)
    assert parity.agrees is agrees


TEXTS = [b"a", "好".encode()[:1], "好".encode()[1:], b"b"]


def token(data: bytes, logprob: float | None = -1.0) -> TokenLogprob:
    return TokenLogprob(data, logprob)


@pytest.mark.parametrize(
    ("written", "held", "parted"),
    [
        ([b"a", "好".encode()[:1], "好".encode()[1:], b"b"], 4, False),
        ([b"a", "好".encode(), b"b"], 4, False),
        ([b"a", "好".encode()], 3, False),
        ([], 0, False),
        ([b"x"], 0, True),
        ([b"a", b"x"], 1, True),
        ([b"a", "好".encode()[:1], b"x"], 2, True),
        ([b"a", "好".encode(), b"x"], 3, True),
        ([b"ab"], 0, True),
        ([b"a", "好b".encode()], 1, True),
        ([b"a", b""], 1, True),
        ([b"a", "好".encode(), b"b", b"more"], 4, False),
        ([b"a", (b"x", -9999.0), b"y"], 1, False),
    ],
)
def test_following_a_text(written: list[Any], held: int, parted: bool) -> None:
    told = [token(*each) if isinstance(each, tuple) else token(each) for each in written]
    followed = follow(TEXTS, told)
    assert (followed.held, followed.parted) == (held, parted)


def test_how_likely_single_tokens_were() -> None:
    followed = follow(TEXTS, [token(b"a", -0.5), token("好".encode(), -9.0), token(b"b", None)])
    assert followed.logprobs == ((0, -0.5),)


@pytest.mark.parametrize(
    ("checked", "words"),
    [
        (Checked(100, 100, 40, 0, 0.01), ""),
        (Checked(100, 100, 0, 2, 0.01), ""),
        (Checked(100, 100, 0, 3, 0.01), "other tokens than transformers with the same weights"),
        (Checked(100, 49, 0, 0, 0.01), "it wrote 49 tokens of 100"),
        (Checked(100, 100, 0, 0, 0.2), "more or less likely"),
        (Checked(100, 100, 0, 0, math.inf), "more or less likely"),
        (Checked(100, 100, 0, 0, math.nan), "more or less likely"),
    ],
)
def test_complaints(checked: Checked, words: str) -> None:
    assert words in checked.complaint()
    assert bool(words) == bool(checked.complaint())


class Parrot:
    """Writes what `says` gives for a prompt: tokens with their logarithms."""

    def __init__(self, says: Callable[[tuple[int, ...], int], list[TokenLogprob]]):
        self.says = says

    def start(self, number: int, request: GenerateRequest, deliver: Deliver) -> None:
        prompt: Any = request.prompt
        most = request.sampling.max_tokens or 0
        tokens = tuple(self.says(prompt.tokens, most))
        usage = Usage(len(prompt.tokens), len(tokens))
        deliver([(number, Delta(0, "", len(tokens), tokens, "length", usage))])

    def cancel(self, number: int, deliver: Deliver) -> None:
        raise AssertionError("everything has ended")

    def counts(self) -> GenerationCounts:
        return GenerationCounts(0, 0, 0.0, 0, 0)

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    folder = tiny_artifact(tmp_path_factory.mktemp("artifact"))
    return Vocabulary(folder / "tokenizer.json", tiny_card())


def proof_of(margin: float = 1.0) -> Proof:
    texts = np.arange(40).reshape(2, 20) + 40
    shape = (2, 16)
    own = Judged(texts[:, 4:], np.full(shape, margin, "f4"), np.full(shape, -1.0, "f4"))
    return Proof(parity_of(own, own, 0, "f16"), (Spoken(texts, 4, own),))


def rows(texts: Any, prompt: tuple[int, ...]) -> list[int]:
    return next(row for row in texts.tolist() if row[0] == prompt[0])


def test_an_engine_that_writes_the_same(vocabulary: Vocabulary) -> None:
    proof = proof_of()

    def says(prompt: tuple[int, ...], most: int) -> list[TokenLogprob]:
        row = rows(proof.answers[0].texts, prompt)[len(prompt) :][:most]
        return [token(vocabulary.bytes_of(each)) for each in row]

    checked = check_engine(Parrot(says), proof, vocabulary)
    assert checked == Checked(32, 32, 0, 0, 0.0)


@pytest.mark.parametrize(("margin", "ties", "differing"), [(1.0, 0, 4), (0.1, 4, 0)])
def test_one_that_parts_goes_on_behind_it(
    vocabulary: Vocabulary, margin: float, ties: int, differing: int
) -> None:
    """At the second and the ninth token it writes another one, whatever was before."""
    proof = proof_of(margin)

    def says(prompt: tuple[int, ...], most: int) -> list[TokenLogprob]:
        row = rows(proof.answers[0].texts, prompt)
        named = [(9 if at in (5, 12) else each) for at, each in enumerate(row)]
        written = named[len(prompt) :][:most]
        return [token(vocabulary.bytes_of(each), -1.5) for each in written]

    checked = check_engine(Parrot(says), proof, vocabulary)
    assert (checked.wanted, checked.compared) == (32, 32)
    assert (checked.ties, checked.differing) == (ties, differing)
    assert checked.apart == pytest.approx(0.5)


def test_one_that_writes_nothing(vocabulary: Vocabulary) -> None:
    checked = check_engine(Parrot(lambda *_: []), proof_of(), vocabulary)
    assert "it wrote 0 tokens of 32" in checked.complaint()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> HfFolder:
    return read_folder(tiny_folder(tmp_path_factory.mktemp("hf"), seed=3))


def test_beginnings_have_one_length(vocabulary: Vocabulary) -> None:
    found = beginnings(vocabulary, 16)
    assert len(found) == 16
    assert len({len(each) for each in found}) == 1
    assert len({tuple(each) for each in found}) == 16
    assert len(beginnings(vocabulary, 4)) == 4
    assert len(long_beginning(vocabulary, 300)) == 300


def test_the_reference_judges_as_it_speaks(source: HfFolder, vocabulary: Vocabulary) -> None:
    reference = Reference(source, 1)
    start = beginnings(vocabulary, 3)
    spoken = reference.speak([*start, *start], 8, greedy=3)
    again = reference.judge(spoken)
    np.testing.assert_allclose(spoken.judged.logprob, again.logprob, atol=1e-3)
    np.testing.assert_allclose(spoken.judged.margin, again.margin, atol=1e-3)
    assert (spoken.texts[:3, spoken.begun :] == spoken.judged.likeliest[:3]).all()
    assert not (spoken.texts[3:, spoken.begun :] == spoken.judged.likeliest[3:]).all()
    assert (reference.speak([*start, *start], 8, greedy=3).texts == spoken.texts).all()
    own = {name: value * 0.5 for name, value in _arrays(source).items()}
    reference.take((name, iter([value])) for name, value in own.items())
    assert np.abs(reference.judge(spoken).logprob - again.logprob).max() > 0.05
    reference.close()


def _arrays(source: HfFolder) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return dict(load_file(source.folder / "model.safetensors"))


def test_a_model_that_answers_with_no_numbers(source: HfFolder, vocabulary: Vocabulary) -> None:
    reference = Reference(source, 1)
    reference.take((name, iter([value * np.nan])) for name, value in _arrays(source).items())
    with pytest.raises(MaasError, match="infinite or none"):
        reference.speak(beginnings(vocabulary, 2), 2, greedy=1)
    reference.close()


def test_a_model_that_transformers_cannot_load(source: HfFolder) -> None:
    other = msgspec.structs.replace(source, folder=source.folder / "nowhere")
    with pytest.raises(MaasError, match="transformers cannot load the model"):
        Reference(other, 1)


def test_without_transformers(source: HfFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MaasError, match=r"pip install 'maas-server\[transformers\]', or publish"):
        Reference(source, 1)


def test_a_beginning_of_nothing_known(tmp_path: Path) -> None:
    tiny_tokenizer().save(str(tmp_path / "tokenizer.json"))
    card = tiny_card(vocabulary=4, end_tokens=(1,), control_tokens=(), bos_token=None)
    assert beginnings(Vocabulary(tmp_path / "tokenizer.json", card), 4) == [[2]]
