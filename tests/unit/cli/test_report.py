from __future__ import annotations

import msgspec
from maas_stub_server import REPORT

from maas.cli.report import report_lines
from maas.core.generation import Feature, GenerativeSpec
from maas.core.records import EngineTiming


def text_of(label: str, report: object = REPORT) -> list[str]:
    """The lines under a label, with those that go on from it."""
    found: list[str] = []
    current = ""
    for each, text in report_lines(report):
        current = each or current
        if current == label:
            found.append(text)
    return found


def test_the_engine_that_was_chosen_is_marked() -> None:
    timings = (
        EngineTiming("onnx", 3.5, 0.13, 64),
        EngineTiming("openvino", 2.5, 0.1, 64, agrees=False, note="float: 0.3 apart"),
        EngineTiming("sklearn", 0.0, 0.0, 64, note="cannot run it: no rule for TreeEnsemble"),
    )
    report = msgspec.structs.replace(REPORT, timings=timings)
    assert text_of("timing", report) == [
        "* onnx      3.5 µs alone, 0.13 µs a row in batches of 64",
        "  openvino  2.5 µs alone, 0.10 µs a row in batches of 64; its answers differ; "
        "float: 0.3 apart",
        "  sklearn   cannot run it: no rule for TreeEnsemble",
    ]


def test_the_sandbox_and_the_trust_are_said() -> None:
    sentences = ("no file outside its folders can be read", "no sockets")
    report = msgspec.structs.replace(
        REPORT, sandbox=sentences, trusted=True, confined=True, host="dedicated"
    )
    assert text_of("sandbox", report) == list(sentences)
    assert text_of("trusted", report) == ["published with --trust; served in the sandbox"]
    assert text_of("engine", report) == ["onnx (onnxruntime_onnx), dedicated host, in the sandbox"]
    lowered = msgspec.structs.replace(report, confined=False)
    assert text_of("trusted", lowered) == ["published with --trust; served in a form without code"]


def test_a_model_that_is_data_has_no_line_of_trust() -> None:
    assert text_of("trusted") == []
    assert text_of("sandbox") == []


def test_a_language_model_is_measured_in_tokens() -> None:
    timings = (
        EngineTiming("openvino-genai", 10_000.0, 2_500.0, 4),
        EngineTiming("llamacpp", 12_500.0, 8_000.0, 4, note="1.7 times slower"),
        EngineTiming("transformers", 0, 0, 0, note="it cannot load the model"),
    )
    spec = GenerativeSpec(
        32_768, 151_936, "hermes", (Feature.LOGIT_BIAS, Feature.MIN_P), served_names=("a", "b/c")
    )
    report = msgspec.structs.replace(
        REPORT, engine="openvino-genai", timings=timings, generative=spec
    )
    assert text_of("timing", report) == [
        "* openvino-genai  100 tokens/s alone, 400 with 4 callers",
        "  llamacpp        80 tokens/s alone, 125 with 4 callers; 1.7 times slower",
        "  transformers    it cannot load the model",
    ]
    assert text_of("context", report) == ["32,768 tokens; a vocabulary of 151,936"]
    assert text_of("served as", report) == ["a, b/c"]
    assert text_of("tools", report) == ["called as hermes models do"]
    assert text_of("lacks", report) == ["logit_bias, min_p: refused"]
    assert "on 512 tokens (" in text_of("parity", report)[0]
    assert text_of("parity", report)[0].endswith("3 different ones")
    dropping = msgspec.structs.replace(spec, drop_params=True)
    report = msgspec.structs.replace(report, generative=dropping)
    assert text_of("lacks", report) == ["logit_bias, min_p: left out of requests"]


def test_other_models_have_no_lines_of_language_models() -> None:
    for label in ("context", "served as", "tools", "lacks"):
        assert text_of(label) == []
