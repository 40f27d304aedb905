"""Hugging Face folders the whole way: lowered and proven, or kept for transformers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file
from tests.language import tiny_folder

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Feature
from maas.core.records import PublishOptions
from maas.publish import hf_examine, hf_prove
from maas.publish.child import examine
from maas.publish.gguf_scan import scan_gguf
from maas.publish.hf_prove import Checked
from maas.publish.messages import Finding
from maas.runtimes.language.card import read_card

pytestmark = [
    pytest.mark.xdist_group("language"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a folder once."""
    made: dict[str, Path] = {}

    def get(architecture: str, **config: Any) -> Path:
        key = f"{architecture} {sorted(config.items())}"
        if key not in made:
            made[key] = tiny_folder(tmp_path_factory.mktemp("hf"), architecture, **config)
        return made[key]

    return get


@pytest.fixture
def found(job_for: Any) -> Any:
    """Examines a folder in this process."""

    def run(folder: Path, **said: Any) -> Finding:
        quantize, context = said.pop("quantize", ""), said.pop("context", 0)
        job = job_for(folder, "huggingface", entry="config.json", **said)
        import msgspec

        run.job = msgspec.structs.replace(job, quantize=quantize, context_tokens=context)
        run.heard = []
        return examine(run.job, lambda *event: run.heard.append(event))

    return run


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_lowered_and_proven(folders: Any, found: Any, architecture: str) -> None:
    finding = found(folders(architecture), quantize="f16")
    assert (finding.format, finding.entry, finding.lowered) == ("gguf", "model.gguf", True)
    assert finding.engine in ("openvino-genai", "llamacpp")
    assert "lowered to GGUF, f16" in finding.reason
    parity = finding.parity
    assert parity.agrees, parity.note
    assert parity.samples == 2 * 16 * 32
    assert parity.max_rel < 0.01
    assert parity.distinct_answers > 50
    assert "near-ties" in parity.note
    timings = {timing.engine: timing for timing in finding.timings}
    assert set(timings) == {"openvino-genai", "llamacpp"}
    assert "tokens as transformers with the same weights" in timings[finding.engine].note
    artifact = Path(found.job.artifact)
    assert {file.name for file in artifact.iterdir()} == {
        "model.gguf",
        "tokenizer.json",
        "language.json",
    }
    card = read_card(artifact)
    assert (card.architecture, card.quantization) == (architecture, "F16")
    assert card.add_bos is (architecture == "llama")
    assert finding.generative.tool_format == "hermes"
    assert Feature.CHAT not in finding.generative.lacks
    assert finding.read_with.keys() >= {"transformers", "gguf"}
    fractions = [fraction for _, _, fraction in found.heard]
    assert fractions == sorted(fractions)
    assert {stage for stage, _, _ in found.heard} >= {"scan", "lower", "prove", "time"}


def test_eight_bits_are_the_default(folders: Any, found: Any) -> None:
    finding = found(folders("qwen2"))
    assert read_card(Path(found.job.artifact)).quantization == "Q8_0"
    assert finding.parity.agrees
    assert finding.parity.max_rel < 0.02


def test_four_bits_cost_what_they_cost(folders: Any, found: Any) -> None:
    finding = found(folders("qwen2"), quantize="q4_0")
    kinds = {
        one.type for one in scan_gguf(Path(found.job.artifact) / "model.gguf").tensors.values()
    }
    assert kinds == {"F32", "Q4_0", "Q8_0"}
    assert not finding.parity.agrees, "random weights of 64 numbers are not made for four bits"
    assert "publish it with --quantize q8_0" in finding.warnings[0]


def test_a_default_that_loses_too_much_is_not_taken(
    folders: Any, found: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf_examine, "DEFAULT", "q4_0")
    finding = found(folders("qwen2"), engine="llamacpp")
    assert read_card(Path(found.job.artifact)).quantization == "F16"
    assert "as q4_0 it would lose too much" in finding.reason
    assert finding.parity.agrees
    assert finding.warnings == ()


def test_weights_that_do_not_come_back_are_not_served(
    folders: Any, found: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hf_prove.read_back

    def turned(file: Path, places: Any) -> Any:
        for name, parts in real(file, places):
            wrong = name.endswith("layers.0.self_attn.q_proj.weight")
            yield name, (rows[::-1].copy() if wrong else rows for rows in parts)

    monkeypatch.setattr(hf_prove, "read_back", turned)
    finding = found(folders("qwen2"))
    assert finding.engine == "transformers"
    assert "its GGUF form answers otherwise (weights as f16" in finding.reason


def test_scaled_positions_are_llama_cpps(folders: Any, found: Any) -> None:
    finding = found(folders("llama", rope_parameters=LLAMA3), quantize="f16")
    assert finding.engine == "llamacpp"
    refused = next(one for one in finding.timings if one.engine == "openvino-genai")
    assert "rope_freqs" in refused.note
    folder = folders("llama", rope_parameters=LLAMA3)
    with pytest.raises(MaasError, match=r"'openvino-genai' cannot serve this model: it would"):
        found(folder, quantize="f16", engine="openvino-genai")


def test_an_engine_that_writes_something_else_is_left_out(
    folders: Any, found: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, wrong = hf_examine._check, Checked(500, 500, 0, 400, 3.0)
    calls: list[str] = []

    def check(job: Any, lowered: Any, runtime: Any) -> Checked:
        calls.append(runtime.name)
        return wrong if runtime.name == calls[0] else real(job, lowered, runtime)

    monkeypatch.setattr(hf_examine, "_check", check)
    finding = found(folders("qwen3"), quantize="f16")
    assert len(calls) == 2
    assert finding.engine == calls[1] != calls[0]
    assert f"{calls[0]} was left out: it writes other tokens" in finding.warnings[0]
    with pytest.raises(MaasError, match="cannot serve this model: it writes other tokens"):
        found(folders("qwen3"), quantize="f16", engine=calls[0])


def test_where_no_engine_is_right_transformers_serves(
    folders: Any, found: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf_examine, "_check", lambda *_: Checked(500, 500, 0, 400, 3.0))
    finding = found(folders("qwen3"))
    assert (finding.engine, finding.format, finding.lowered) == (
        "transformers",
        "huggingface",
        False,
    )
    assert "no engine answers right from its GGUF form" in finding.reason
    assert not (Path(found.job.artifact) / "model.gguf").exists()


def test_other_architectures_are_kept(folders: Any, found: Any) -> None:
    finding = found(folders("gpt2"))
    assert (finding.engine, finding.format, finding.entry) == (
        "transformers",
        "huggingface",
        "model",
    )
    assert finding.reason.startswith("kept as it is, since gpt2 has no GGUF form here")
    assert finding.parity is None
    assert finding.linked.keys() >= {"model/config.json", "model/model.safetensors"}
    assert all(name.endswith((".json", ".safetensors")) for name in finding.linked)
    with pytest.raises(MaasError, match="--quantize makes a GGUF, and this model is served as it"):
        found(folders("gpt2"), quantize="q8_0")


def test_transformers_can_be_asked_for(folders: Any, found: Any) -> None:
    finding = found(folders("qwen2"), engine="transformers")
    assert finding.engine == "transformers"
    assert "transformers was asked for" in finding.reason


def test_a_smaller_context(folders: Any, found: Any) -> None:
    finding = found(folders("qwen2"), engine="llamacpp", quantize="f16", context=64)
    assert finding.generative.context_tokens == 64
    assert read_card(Path(found.job.artifact)).context_tokens == 64
    with pytest.raises(MaasError, match="4096"):
        found(folders("qwen2"), context=4096)


@pytest.fixture
def copied(folders: Any, tmp_path: Path) -> Path:
    target = tmp_path / "copied"
    shutil.copytree(folders("qwen2"), target)
    return target


def test_weights_that_are_cut_off(copied: Path, found: Any) -> None:
    file = copied / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(MaasError, match="is cut off or lies"):
        found(copied)


def test_a_configuration_that_lies(copied: Path, found: Any) -> None:
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "vocab_size": 500}))
    with pytest.raises(MaasError, match=r"embed_tokens\.weight has the shape"):
        found(copied)


def shard(folder: Path) -> None:
    """Spreads the weights over two files and an index."""
    arrays = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(arrays)
    weight_map: dict[str, str] = {}
    for at, part in enumerate((names[:5], names[5:])):
        file = f"model-0000{at + 1}-of-00002.safetensors"
        save_file({name: arrays[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_shards_are_read_and_kept(copied: Path, found: Any) -> None:
    shard(copied)
    finding = found(copied, engine="llamacpp", quantize="f16")
    assert finding.parity.agrees
    finding = found(copied, engine="transformers")
    assert sorted(finding.linked) == [
        "model/config.json",
        "model/generation_config.json",
        "model/model-00001-of-00002.safetensors",
        "model/model-00002-of-00002.safetensors",
        "model/model.safetensors.index.json",
    ]


def test_the_whole_way(folders: Any, published: Any, tmp_path: Path, registry: Any) -> None:
    target = tmp_path / "assistant"
    shutil.copytree(folders("qwen2"), target)
    options = PublishOptions(quantize="q8_0", served_names=("gpt-4o-mini",), drop_params=True)
    record, is_new = published(target, "assistant", "assistant", options)
    assert is_new
    report = record.report
    assert (report.format, report.lowered, report.host) == ("huggingface", True, "dedicated")
    assert report.sandbox
    assert report.parity is not None
    assert report.parity.agrees
    assert report.generative is not None
    assert report.generative.served_names == ("gpt-4o-mini",)
    assert report.generative.drop_params
    artifact = registry.artifact("assistant", 1)
    assert artifact.file.name == "model.gguf"
    assert artifact.generative == report.generative
    shutil.copytree(folders("qwen2"), target)
    with pytest.raises(MaasError, match="served name of assistant already") as caught:
        published(target, "other", "other", options)
    assert caught.value.kind is ErrorKind.ALREADY_EXISTS


def test_the_whole_way_of_a_folder_that_is_kept(
    folders: Any, published: Any, tmp_path: Path, registry: Any
) -> None:
    target = tmp_path / "gpt"
    shutil.copytree(folders("gpt2"), target)
    record, _ = published(target, "gpt", "gpt")
    assert (record.report.engine, record.report.platform) == ("transformers", "transformers")
    folder = registry.artifact("gpt", 1).file
    assert (folder / "model.safetensors").is_file()
    assert (folder.parent / "language.json").is_file()
