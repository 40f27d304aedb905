"""What a hostile first child could say: each is refused in one sentence, or cut to size."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import GenerativeSpec
from maas.core.records import EngineTiming, Parity
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec
from maas.publish.messages import Finding, Raced
from maas.publish.vetting import vet_finding
from maas.runtimes.plugins import load_runtimes

SPEC = TensorSpec("x", DType.FP32, (None, 4))
SIGNATURE = Signature(DEFAULT_SIGNATURE, (SPEC,), (SPEC,), batched=True)
PARITY = Parity(64, "model", 0.0, 0.0, 3, agrees=True)
TIMING = EngineTiming("sklearn", 100.0, 2.0, 64)
FINDING = Finding(
    engine="onnx",
    format="onnx",
    entry="model.onnx",
    signatures={DEFAULT_SIGNATURE: SIGNATURE},
    lowered=True,
    reason="lowered to ONNX",
    written_with={"scikit-learn": "1.7.2"},
    read_with={},
    parity=PARITY,
    batch_note="",
    timings=(TIMING,),
    warnings=("one",),
)


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "artifact"
    (made / "code").mkdir(parents=True)
    (made / "model.onnx").write_bytes(b"model")
    (made / "code" / "features.py").write_bytes(b"")
    (tmp_path / "published" / "inner").mkdir(parents=True)
    (tmp_path / "published" / "inner" / "weights.bin").write_bytes(b"weights")
    (tmp_path / "published" / "link").symlink_to("inner")
    return made


def vet(folder: Path, finding=FINDING, format_="skops", **changes) -> Finding:
    changed = msgspec.structs.replace(finding, **changes) if changes else finding
    return vet_finding(changed, format_, load_runtimes(), folder, folder.parent / "published")


def refused(folder: Path, **rest) -> str:
    with pytest.raises(MaasError) as caught:
        vet(folder, **rest)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert str(folder) not in caught.value.message
    return caught.value.message


def test_a_proper_finding_passes_unchanged(folder):
    assert vet(folder) == FINDING
    assert vet(folder, entry="code") == msgspec.structs.replace(FINDING, entry="code")


@pytest.mark.parametrize(
    ("engine", "form", "published"),
    [
        ("sklearn", "onnx", "skops"),
        ("onnx", "skops", "skops"),
        ("sklearn", "skops", "onnx"),
        ("sklearn", "skops", "pickle"),
        ("python", "python", "pickle"),
        ("onnx", "onnx", "python"),
        ("no-such", "onnx", "skops"),
    ],
)
def test_engines_that_do_not_belong_to_the_format(folder, engine, form, published):
    said = refused(folder, engine=engine, format=form, format_=published)
    assert f"does not serve {published}" in said


@pytest.mark.parametrize(
    "entry",
    ["", "/etc/passwd", "../original/m.pkl", "code/../../x", "./model.onnx", "a\x00b", "code//x"],
    ids=["empty", "absolute", "up", "up-later", "dot", "nul", "double"],
)
def test_entries_outside_the_folder(folder, entry):
    assert "no path inside its folder" in refused(folder, entry=entry)


def test_an_entry_that_is_not_there(folder):
    assert "not there" in refused(folder, entry="other.onnx")


def test_what_is_no_regular_file(folder, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    for make in (
        lambda place: place.symlink_to(tmp_path / "secret"),
        lambda place: place.symlink_to(tmp_path),
        lambda place: os.link(tmp_path / "secret", place),
        lambda place: os.mkfifo(place),
    ):
        place = folder / "code" / "extra"
        make(place)
        assert "other than regular files" in refused(folder)
        place.unlink()
    vet(folder)


@pytest.mark.parametrize(
    "signatures",
    [
        {},
        {"other": SIGNATURE},
        {DEFAULT_SIGNATURE: msgspec.structs.replace(SIGNATURE, inputs=())},
        {DEFAULT_SIGNATURE: msgspec.structs.replace(SIGNATURE, outputs=())},
        {DEFAULT_SIGNATURE: msgspec.structs.replace(SIGNATURE, inputs=(SPEC, SPEC))},
        {str(i): msgspec.structs.replace(SIGNATURE, name=str(i)) for i in range(65)},
        *(
            {DEFAULT_SIGNATURE: msgspec.structs.replace(SIGNATURE, inputs=(spec,))}
            for spec in (
                TensorSpec("x", DType.FP32, (None, -1)),
                TensorSpec("x", DType.FP32, (None, 1 << 60)),
                TensorSpec("x", DType.FP32, (None,) * 40),
                TensorSpec("x", DType.FP32, ()),
                TensorSpec("x", DType.FP32, (1, 4)),
                TensorSpec("", DType.FP32, (None, 4)),
                TensorSpec("a\nb", DType.FP32, (None, 4)),
                TensorSpec("x" * 2000, DType.FP32, (None, 4)),
            )
        ),
    ],
    ids=[
        *("none", "two-names", "no-inputs", "no-outputs", "one-name-twice", "too-many"),
        *("negative", "huge", "axes", "scalar", "no-batch-axis", "nameless", "newline", "long"),
    ],
)
def test_signatures_that_no_model_has(folder, signatures):
    assert "cannot be right" in refused(folder, signatures=signatures)


@pytest.mark.parametrize(
    "changes",
    [
        {"timings": (msgspec.structs.replace(TIMING, us_per_row_1=float("nan")),)},
        {"timings": (msgspec.structs.replace(TIMING, us_per_row_batch=-1.0),)},
        {"timings": (msgspec.structs.replace(TIMING, note="x" * 2000),)},
        {"parity": msgspec.structs.replace(PARITY, max_rel=float("inf"))},
        {"parity": msgspec.structs.replace(PARITY, note="x" * 2000)},
    ],
    ids=["nan", "negative", "note", "inf", "parity-note"],
)
def test_numbers_that_are_none(folder, changes):
    assert "cannot be right" in refused(folder, **changes)


def test_texts_are_cut(folder):
    kept = vet(
        folder,
        reason="a\x1b[31m\n" + "x" * 5000,
        warnings=("w" * 5000,) * 500,
        written_with={str(i): "v" for i in range(500)},
    )
    assert kept.reason.startswith("a [31m xxx")
    assert len(kept.reason) == 1001
    assert (len(kept.warnings), len(kept.warnings[0])) == (100, 1001)
    assert len(kept.written_with) == 100


def test_words_of_the_second_child_from_the_first(folder):
    said = Raced("onnx", {DEFAULT_SIGNATURE: SIGNATURE}, "", "", (), {})
    with pytest.raises(MaasError, match="out of turn"):
        vet_finding(said, "skops", load_runtimes(), folder, folder)


TEXTS = TensorSpec("text", DType.BYTES, (None,))
WRITES = Signature(DEFAULT_SIGNATURE, (TEXTS,), (TEXTS,), batched=False, method="generate")
LANGUAGE = msgspec.structs.replace(
    FINDING,
    engine="llamacpp",
    format="gguf",
    entry="model.gguf",
    signatures={DEFAULT_SIGNATURE: WRITES},
    generative=GenerativeSpec(2048, 600),
    linked={"model.gguf": "inner/weights.bin"},
)


def test_a_language_model_passes(folder):
    kept = vet(folder, LANGUAGE, "gguf")
    assert kept.linked == {"model.gguf": "inner/weights.bin"}
    assert vet(folder, LANGUAGE, "gguf", entry="model", linked={"model/a": "inner/weights.bin"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"linked": {}}, "the entry is not there"),
        ({"linked": {"model.gguf": "../secret"}}, "was not published"),
        ({"linked": {"model.gguf": "/etc/passwd"}}, "was not published"),
        ({"linked": {"model.gguf": ""}}, "was not published"),
        ({"linked": {"model.gguf": "inner"}}, "is no file"),
        ({"linked": {"model.gguf": "absent"}}, "does not hold"),
        ({"linked": {"model.gguf": "link/weights.bin"}}, "is a link"),
        ({"linked": {"../model.gguf": "inner/weights.bin"}}, "cannot be put"),
        ({"linked": {"model.onnx": "inner/weights.bin"}}, "cannot be put"),
        ({"linked": {str(n): "inner/weights.bin" for n in range(10_001)}}, "more than 10000"),
        ({"generative": None}, "no figures of a language model"),
        ({"signatures": {DEFAULT_SIGNATURE: SIGNATURE}}, "no figures of a language model"),
        ({"generative": GenerativeSpec(0, 600)}, "context or vocabulary is impossible"),
        ({"generative": GenerativeSpec(2048, 1 << 30)}, "context or vocabulary is impossible"),
        ({"generative": GenerativeSpec(2048, 600, "own")}, "writes tool calls in no known way"),
    ],
)
def test_what_a_language_model_may_not_be(folder, changes, said):
    assert said in refused(folder, finding=LANGUAGE, format_="gguf", **changes)
