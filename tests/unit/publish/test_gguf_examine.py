"""GGUFs through the whole of publishing: examined in the sandbox, served as they are."""

from __future__ import annotations

import os
from pathlib import Path

import gguf
import pytest
from tests.language import tiny_gguf

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Feature
from maas.core.ports import Device
from maas.core.records import PublishOptions
from maas.core.signature import GENERATE
from maas.publish.uploads import digest_of, link_published
from maas.runtimes.language.card import read_card
from maas.runtimes.plugins import runtime_for


def test_a_gguf_is_published_and_served_as_it_is(published, registry, tmp_path):
    what = tiny_gguf(tmp_path / "tiny.gguf", quantization="Q8_0")
    size = what.stat().st_size
    record, created = published(what, "tiny.gguf")
    assert created
    report = record.report
    assert report.format == "gguf"
    assert report.engine in ("openvino-genai", "llamacpp")
    assert {t.engine for t in report.timings if t.us_per_row_1} == {"openvino-genai", "llamacpp"}
    assert all(timing.agrees for timing in report.timings)
    assert report.parity is not None
    assert report.parity.samples >= 4
    assert report.host == "dedicated"
    assert record.signatures["serving_default"].method == GENERATE
    spec = report.generative
    assert spec.context_tokens == 2048
    assert spec.tool_format == "hermes"
    assert not {Feature.CHAT, Feature.TOOLS} & set(spec.lacks)
    assert "for each 1,000 tokens" in report.batch_note
    assert report.size_bytes > size
    folder = Path(registry.artifact(record.name, record.version).path)
    assert read_card(folder).quantization == "Q8_0"
    (original,) = (folder.parent / "original").iterdir()
    assert original.samefile(folder / "model.gguf")  # no second copy of the weights
    stored = registry.artifact(record.name, record.version)
    for engine in ("llamacpp", "openvino-genai"):
        runtime_for(engine).load(stored, Device()).close()


def changed(path: Path, **metadata) -> Path:
    """The same GGUF with figures of its metadata changed or added; the tensors stay."""
    named = {key.replace("__", "."): value for key, value in metadata.items()}
    reader = gguf.GGUFReader(path)
    fields = {name: one for name, one in reader.fields.items() if not name.startswith("GGUF.")}
    architecture = fields.pop("general.architecture").contents()
    writer = gguf.GGUFWriter(path.with_name(f"changed-{path.name}"), architecture)
    for name, field in fields.items():
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, named.pop(name, field.contents()), kind, inner)
    for name, value in named.items():
        whole = gguf.GGUFValueType.UINT32
        kind = whole if isinstance(value, int) else gguf.GGUFValueType.get_type(value)
        writer.add_key_value(name, value, kind)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.with_name(f"changed-{path.name}")


def refused(published, what: Path, **options) -> MaasError:
    with pytest.raises(MaasError) as caught:
        published(what, "tiny.gguf", options=PublishOptions(**options))
    assert str(what.parent) not in caught.value.message
    return caught.value


def test_an_architecture_that_only_llama_cpp_reads(published, tmp_path):
    record, _ = published(tiny_gguf(tmp_path / "tiny.gguf", "gpt2"), "tiny.gguf")
    report = record.report
    assert report.engine == "llamacpp"
    assert "it reads llama, qwen2, qwen3 from a GGUF, and this is gpt2" in report.reason
    assert report.parity is None
    assert [timing.engine for timing in report.timings] == ["llamacpp", "openvino-genai"]
    assert Feature.PROMPT_LOGPROBS in report.generative.lacks


def test_positions_that_openvino_would_leave_out_are_llama_cpps(published, tmp_path):
    made = tiny_gguf(tmp_path / "tiny.gguf", "llama")
    scaled = changed(made, llama__rope__scaling__type="yarn", llama__rope__scaling__factor=4.0)
    record, _ = published(scaled, "tiny.gguf")
    assert record.report.engine == "llamacpp"
    assert "leave out what the GGUF says of llama.rope.scaling.type" in record.report.reason


def test_the_engine_asked_for_serves(published, tmp_path):
    options = PublishOptions(engine="llamacpp", context_tokens=256, drop_params=True)
    record, _ = published(tiny_gguf(tmp_path / "tiny.gguf"), "tiny.gguf", options=options)
    assert (record.report.engine, record.report.reason) == ("llamacpp", "llamacpp was asked for")
    assert record.report.generative.context_tokens == 256
    assert record.report.generative.drop_params


def test_an_engine_that_cannot_serve_it_is_refused(published, tmp_path):
    error = refused(published, tiny_gguf(tmp_path / "a.gguf", "gpt2"), engine="openvino-genai")
    assert "engine 'openvino-genai' cannot serve this model: it reads llama" in error.message
    error = refused(published, tiny_gguf(tmp_path / "a.gguf"), engine="sklearn")
    assert "possible are openvino-genai, llamacpp" in error.message


def test_a_context_that_is_larger_than_its_own(published, tmp_path):
    error = refused(published, tiny_gguf(tmp_path / "a.gguf"), context_tokens=4096)
    assert "the model was made for 2048" in error.message


def test_a_context_that_no_memory_holds(published, tmp_path):
    made = tiny_gguf(tmp_path / "a.gguf")
    # 64 blocks' worth of heads in each block: 16 million tokens of 16 KiB.
    wide = changed(made, qwen2__context_length=16_000_000, qwen2__attention__key_length=1 << 14)
    error = refused(published, wide)
    assert error.kind is ErrorKind.FAILED_PRECONDITION
    assert "does not fit into memory" in error.message
    assert "--context" in error.message


def test_a_cut_file_is_refused_before_any_engine_opens_it(published, tmp_path):
    made = tiny_gguf(tmp_path / "a.gguf")
    os.truncate(made, made.stat().st_size // 2)
    assert "download it again" in refused(published, made).message
    assert {stage for stage, *_ in published.heard} == {"detect", "scan"}


def test_a_part_of_a_model_is_told_by_its_name(published, tmp_path):
    made = tiny_gguf(tmp_path / "a.gguf")
    with pytest.raises(MaasError, match="one of several parts of a model"):
        published(made, "big-00001-of-00003.gguf")


def test_a_file_that_crashes_its_reader_takes_only_that_down(published, tmp_path):
    # llama.cpp asserts on it, and an assertion ends its process.
    hostile = changed(tiny_gguf(tmp_path / "a.gguf", "llama"), llama__expert_count=5)
    message = refused(published, hostile).message
    assert message.startswith("the model's reader died with SIGABRT while examining it")
    record, created = published(tiny_gguf(tmp_path / "b.gguf"), "tiny.gguf")
    assert created
    assert record.report.engine


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("llama__attention__head_count", 3),
        ("llama__rope__freq_base", float("nan")),
        ("tokenizer__ggml__eos_token_id", 1 << 20),
    ],
)
def test_figures_that_lie_are_refused(published, tmp_path, figure, value):
    hostile = changed(tiny_gguf(tmp_path / "a.gguf", "llama"), **{figure: value})
    assert refused(published, hostile).kind is ErrorKind.INVALID_ARGUMENT


def test_a_hostile_template_costs_the_chat_alone(published, tmp_path):
    template = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    made = tiny_gguf(tmp_path / "a.gguf", chat_template=template)
    options = PublishOptions(engine="llamacpp")
    record, _ = published(made, "tiny.gguf", options=options)
    assert {Feature.CHAT, Feature.TOOLS} <= set(record.report.generative.lacks)
    assert any("its chat template fails" in warning for warning in record.report.warnings)


def test_what_its_reader_changes_is_not_served(tmp_path):
    published = tmp_path / "published.gguf"
    published.write_bytes(b"as it came")
    digest = digest_of(published)
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    link_published(published, artifact, {"deep/model.gguf": ""}, digest)
    assert (artifact / "deep" / "model.gguf").samefile(published)
    published.write_bytes(b"as it is now")
    with pytest.raises(MaasError, match="reader changed what was published"):
        link_published(published, artifact, {"model.gguf": ""}, digest)
    assert not (artifact / "model.gguf").exists()
