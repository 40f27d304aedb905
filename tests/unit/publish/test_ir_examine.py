"""Folders in OpenVINO's form: graphs that lie, and one that is published and loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.language import BOS, CHAT_TEMPLATE, END, SPECIALS, tiny_gguf, tiny_tokenizer

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Feature
from maas.core.ports import Device
from maas.publish.ir_scan import scan_graph
from maas.runtimes.plugins import runtime_for


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """What optimum-cli writes, made from a tiny GGUF by OpenVINO itself."""
    import openvino_genai

    folder = tmp_path_factory.mktemp("ir")
    weights = tiny_gguf(folder / "tiny.gguf")
    openvino_genai.LLMPipeline(str(weights), "CPU", enable_save_ov_model=True)
    weights.unlink()
    tokenizer = tiny_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "vocab_size": tokenizer.token_to_id(SPECIALS[-1]) + 1,
        "max_position_embeddings": 2048,
        "eos_token_id": tokenizer.token_to_id(END),
        "bos_token_id": tokenizer.token_to_id(BOS),
        "quantization_config": {"bits": 4},
    }
    (folder / "config.json").write_text(json.dumps(config))
    said = {"bos_token": BOS, "eos_token": END, "chat_template": CHAT_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return folder


@pytest.fixture
def folder(made, tmp_path) -> Path:
    copied = tmp_path / "copied"
    copied.mkdir()
    for file in made.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    return copied


def test_a_folder_is_published_and_its_artifact_loads(published, registry, folder):
    record, created = published(folder, "assistant")
    assert created
    report = record.report
    assert (report.format, report.engine) == ("openvino-ir-llm", "openvino-genai")
    assert report.generative.context_tokens == 2048
    assert not {Feature.CHAT, Feature.TOOLS, Feature.JSON} & set(report.generative.lacks)
    artifact = registry.artifact(record.name, record.version)
    model = runtime_for("openvino-genai").load(artifact, Device())
    model.close()
    served = Path(artifact.path)
    (original,) = (served.parent / "original").iterdir()
    assert (served / "openvino_model.bin").samefile(original / "openvino_model.bin")


def test_a_folder_without_its_tokenizers_graph_holds_no_answers_to_json(published, folder):
    for file in folder.glob("openvino_*tokenizer*"):
        file.unlink()
    record, _ = published(folder, "assistant")
    assert {Feature.JSON, Feature.JSON_SCHEMA} <= set(record.report.generative.lacks)
    assert any("no openvino_tokenizer.xml" in one for one in record.report.warnings)


@pytest.mark.parametrize("name", ["openvino_model.bin", "config.json", "tokenizer.json"])
def test_a_folder_that_lacks_a_file(published, folder, name):
    (folder / name).unlink()
    with pytest.raises(MaasError, match=f"holds openvino_model.xml and no {name}"):
        published(folder, "assistant")


def test_weights_that_are_cut_off(published, folder):
    weights = folder / "openvino_model.bin"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(MaasError, match="a constant ends at byte"):
        published(folder, "assistant")


def graph(*layers: str, head: str = '<?xml version="1.0"?>') -> str:
    named = "".join(
        f'<layer id="{at}" name="{name}" type="Parameter"></layer>'
        for at, name in enumerate(("input_ids", "attention_mask"))
    )
    state = (
        '<layer name="s" type="ReadValue">'
        '<data variable_id="v" variable_type="f32" variable_shape="?,2,?,16"/></layer>'
    )
    return f'{head}<net name="m"><layers>{named}{state}{"".join(layers)}</layers></net>'


def constant(**said: object) -> str:
    given = {"element_type": "f16", "shape": "2,3", "offset": 0, "size": 12, **said}
    written = " ".join(f'{name}="{value}"' for name, value in given.items())
    return f'<layer name="c" type="Const"><data {written}/></layer>'


@pytest.fixture
def scan(tmp_path):
    def run(text: str | bytes):
        xml, weights = tmp_path / "openvino_model.xml", tmp_path / "openvino_model.bin"
        xml.write_bytes(text if isinstance(text, bytes) else text.encode())
        weights.write_bytes(bytes(64))
        return scan_graph(xml, weights)

    return run


def test_a_graph_says_what_it_holds(scan):
    four = constant(element_type="u4", shape="8,8", offset=16, size=32)
    found = scan(graph(constant(), four))
    assert found.inputs == {"input_ids", "attention_mask"}
    assert (found.kv_numbers, found.parameters, found.quantization) == (32, 64, "INT4")


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]>'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not XML"),
        ("<net>", "is not XML"),
        (b"\xff\xfe\x00", "is not XML"),
        (graph(head=BOMB), "has a document type"),
        (graph(constant(offset=60)), "ends at byte 72 and openvino_model.bin at 64"),
        (graph(constant(offset=2**64)), "ends at byte"),
        (graph(constant(offset=-1)), "has '-1' where a number"),
        (graph(constant(size="1e3")), "has '1e3' where a number"),
        (graph(constant(offset="9" * 5000)), "where a number was expected"),
        (graph(constant(shape="2,4")), "has 12 bytes; its shape and type f16 make 16"),
        (graph(constant(shape="-1,-6")), "where a number was expected"),
        (graph(constant(shape=",".join("1" * 17))), "where a number was expected"),
        (graph(constant(element_type="f7")), "the type 'f7', not known here"),
        (graph("<x>" * 70 + "</x>" * 70), "nested deeper than 64"),
        (graph('<layer name="pixels" type="Parameter"/>'), "the graph takes attention_mask"),
        (graph().replace("ReadValue", "Add"), "keeps no state"),
        (graph().replace("?,2,?,16", "?,?"), "no shape that a KV cache has"),
        (graph().replace("input_ids", "x"), "expected a language model's input_ids"),
    ],
)
def test_graphs_that_lie(scan, text, said):
    with pytest.raises(MaasError) as refused:
        scan(text)
    assert refused.value.kind is ErrorKind.INVALID_ARGUMENT
    assert said in refused.value.message


@settings(max_examples=100, deadline=None)
@given(places=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), max_size=5))
def test_a_changed_graph_is_read_or_refused(made, tmp_path_factory, places):
    data = bytearray((made / "openvino_model.xml").read_bytes()[:20_000])
    for where, what in places:
        at = int(where * (len(data) - 8))
        data[at : at + len(what)] = what
    xml = tmp_path_factory.getbasetemp() / "changed.xml"
    xml.write_bytes(data)
    with pytest.raises(MaasError):
        scan_graph(xml, made / "openvino_model.bin")
