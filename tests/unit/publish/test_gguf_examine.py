"""GGUFs through the whole of publishing: examined in the sandbox, served as they are."""

from __future__ import annotations

from pathlib import Path

from tests.language import tiny_gguf

from maas.core.generation import Feature
from maas.core.signature import GENERATE
from maas.runtimes.language.card import read_card


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
    assert report.parity.samples >= 16
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
