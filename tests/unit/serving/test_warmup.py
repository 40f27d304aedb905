from __future__ import annotations

import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.runtimes.tensorfile import MOST_PROVING, PROVING, write_tensors
from maas.serving.warmup import proving_sample, warm_up

WORDS = Signature(
    "serving_default",
    (TensorSpec("word", DType.BYTES, (None,)),),
    (TensorSpec("length", DType.INT64, (None,)),),
    batched=True,
)
TEA = np.array([b"tea"], object)


class Lengths:
    """Knows one word; says `kind` to every other."""

    def __init__(self, kind: ErrorKind) -> None:
        self.kind = kind
        self.asked: list[list[bytes]] = []

    def infer(self, signature, inputs):
        words = inputs["word"].tolist()
        self.asked.append(words)
        if set(words) != {b"tea"}:
            raise MaasError(self.kind, "no such word")
        return {"length": np.array([len(word) for word in words])}


def test_made_up_values_may_be_refused_but_nothing_may_fail_on_them():
    refusing = Lengths(ErrorKind.INVALID_ARGUMENT)
    warm_up(refusing, WORDS)
    assert refusing.asked == [[b"text"], [b"text"] * 8]
    with pytest.raises(MaasError, match="no such word"):
        warm_up(Lengths(ErrorKind.INTERNAL), WORDS)


def test_a_proving_sample_is_asked_instead_alone_and_as_a_batch():
    model = Lengths(ErrorKind.INTERNAL)
    warm_up(model, WORDS, {"word": TEA})
    assert model.asked == [[b"tea"], [b"tea"] * 8]


def test_a_proving_sample_must_be_answered():
    with pytest.raises(MaasError, match="no such word"):
        warm_up(Lengths(ErrorKind.INVALID_ARGUMENT), WORDS, {"word": np.array([b"x"], object)})


def test_a_signature_that_is_not_batched_is_asked_once():
    model = Lengths(ErrorKind.INTERNAL)
    alone = Signature(WORDS.name, WORDS.inputs, WORDS.outputs, batched=False)
    warm_up(model, alone, {"word": np.array([b"tea", b"tea"], object)})
    assert model.asked == [[b"tea", b"tea"]]


def test_the_stored_call_is_read_back(tmp_path):
    assert proving_sample(tmp_path, {WORDS.name: WORDS}) == {}
    write_tensors(tmp_path / PROVING, {WORDS.name: {"word": TEA}, "other": {"x": np.zeros(1)}})
    found = proving_sample(tmp_path, {WORDS.name: WORDS})
    assert {name: inputs["word"].tolist() for name, inputs in found.items()} == {
        WORDS.name: [b"tea"]
    }


@pytest.mark.parametrize(
    "inputs",
    [{"word": np.zeros(3)}, {"other": TEA}, {"word": TEA.reshape(1, 1)}],
    ids=["dtype", "name", "rank"],
)
def test_a_stored_call_that_is_not_the_signatures_is_no_call(tmp_path, inputs):
    write_tensors(tmp_path / PROVING, {WORDS.name: inputs})
    with pytest.raises(MaasError) as caught:
        proving_sample(tmp_path, {WORDS.name: WORDS})
    assert caught.value.kind == invalid("").kind


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "model").mkdir()
    write_tensors(tmp_path / "outside", {WORDS.name: {"word": TEA}})
    (tmp_path / "model" / PROVING).symlink_to(tmp_path / "outside")
    with pytest.raises(MaasError, match="could not be read back"):
        proving_sample(tmp_path / "model", {WORDS.name: WORDS})


def test_a_proving_sample_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / PROVING).open("wb") as file:
        file.truncate(MOST_PROVING + 1)
    assert proving_sample(tmp_path, {WORDS.name: WORDS}) == {}


def test_a_proving_sample_nested_without_end_is_refused(tmp_path):
    (tmp_path / PROVING).write_bytes(b"\x81\xa1s\x81\xa1x\x81\xa1z" + b"\x91" * 200_000)
    with pytest.raises(MaasError, match="could not be read back"):
        proving_sample(tmp_path, {WORDS.name: WORDS})
