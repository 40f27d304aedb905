"""Reads the graph of a language model in OpenVINO's form and believes none of it.

openvino_model.xml names the constants' places in openvino_model.bin. The XML is read as a stream,
without document types, and every place is held against the file before OpenVINO maps it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.parsers import expat

from msgspec import Struct

from maas.core.errors import MaasError, invalid

MOST_XML = 256 << 20
MOST_LAYERS = 2_000_000
MOST_DEPTH = 64
LONGEST_NUMBER = 20
MOST_AXES = 16
BLOCK = 1 << 16
_BITS: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("f64", "i64", "u64"), 64),
        **dict.fromkeys(("f32", "i32", "u32"), 32),
        **dict.fromkeys(("f16", "bf16", "i16", "u16"), 16),
        **dict.fromkeys(("i8", "u8", "boolean", "f8e4m3", "f8e5m2", "f8e8m0"), 8),
        **dict.fromkeys(("i4", "u4", "nf4", "f4e2m1"), 4),
    }
)
"""Bits of a number. Source: OpenVINO's `element::Type`."""
INPUTS = frozenset({"input_ids", "attention_mask", "position_ids", "beam_idx"})


class IrGraph(Struct, frozen=True):
    """What the graph says of itself.

    Args:
        inputs: names.
        kv_numbers: of one token in the KV cache, all layers together.
        parameters: how many numbers of the commonest kind its weights are.
        quantization: that kind, such as `INT4`.
        weight_bytes: of openvino_model.bin.
    """

    inputs: frozenset[str]
    kv_numbers: int
    parameters: int
    quantization: str
    weight_bytes: int


def scan_graph(xml: Path, weights: Path) -> IrGraph:
    """Reads and checks a graph.

    Raises:
        MaasError: INVALID_ARGUMENT: the first thing that is wrong with it, one sentence.
    """
    reader = _read(xml, weights)
    if not reader.inputs >= {"input_ids", "attention_mask"} or reader.inputs - INPUTS:
        raise invalid(
            f"the graph takes {', '.join(sorted(reader.inputs)[:6])[:200] or 'nothing'}; expected "
            "a language model's input_ids, attention_mask, position_ids and beam_idx"
        )
    if not reader.states:
        raise invalid(
            "the graph keeps no state, so it reads a conversation anew for every token; export it "
            "with optimum-cli export openvino --task text-generation-with-past"
        )
    most = max(reader.counts, key=lambda kind: reader.counts[kind] * _BITS[kind], default="f16")
    return IrGraph(
        inputs=frozenset(reader.inputs),
        kv_numbers=sum(reader.states.values()),
        parameters=reader.counts.get(most, 0),
        quantization=f"INT{_BITS[most]}" if most[0] in "iu" else most.upper(),
        weight_bytes=weights.stat().st_size,
    )


def check_graph(xml: Path, weights: Path) -> None:
    """Checks that every constant of a graph lies in its file; whatever it computes.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    _read(xml, weights)


def _read(xml: Path, weights: Path) -> _Reader:
    if xml.stat().st_size > MOST_XML:
        raise invalid(f"{xml.name} is larger than {MOST_XML >> 20} MiB, which no model needs")
    reader = _Reader(weights.stat().st_size, weights.name)
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.begin
    parser.EndElementHandler = reader.end
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        with xml.open("rb") as file:
            while block := file.read(BLOCK):
                parser.Parse(block, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise invalid(f"{xml.name} is not XML: {error}; export the model again") from None
    return reader


def _refuse_doctype(*_: object) -> None:
    raise invalid("the graph has a document type, which OpenVINO never writes")


class _Reader:
    """Hears the elements of a graph, nested ones of loops and branches too.

    Attributes:
        inputs: names of the parameters.
        states: numbers of one token, by variable.
        counts: numbers of the constants, by type.
    """

    def __init__(self, weight_bytes: int, weights: str):
        self.inputs: set[str] = set()
        self.states: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        self._weight_bytes, self._weights = weight_bytes, weights
        self._open: list[tuple[str, str]] = []
        self._layers = 0

    def begin(self, tag: str, attributes: dict[str, str]) -> None:
        """Hears an element's beginning."""
        if len(self._open) >= MOST_DEPTH:
            raise invalid(f"the graph is nested deeper than {MOST_DEPTH}")
        layer = attributes.get("type", "") if tag == "layer" else ""
        if tag == "layer":
            self._layers += 1
            if self._layers > MOST_LAYERS:
                raise invalid(f"the graph has more than {MOST_LAYERS} layers")
            if layer == "Parameter" and len(self._open) <= 2:
                self.inputs.add(attributes.get("name", "")[:100])
        elif tag == "data" and self._open:
            above = self._open[-1][1]
            if above == "Const":
                self._constant(attributes)
            elif above == "ReadValue":
                self._state(attributes)
        self._open.append((tag, layer))

    def end(self, _: str) -> None:
        """Hears an element's end."""
        self._open.pop()

    def _constant(self, attributes: dict[str, str]) -> None:
        kind = attributes.get("element_type", "")
        offset, size = _number(attributes, "offset"), _number(attributes, "size")
        if offset + size > self._weight_bytes:
            raise invalid(
                f"the graph is cut off or lies: a constant ends at byte {offset + size} and "
                f"{self._weights} at {self._weight_bytes}; export the model again"
            )
        if kind == "string":
            return
        bits = _BITS.get(kind)
        if bits is None:
            raise invalid(f"a constant of the graph has the type {kind[:40]!r}, not known here")
        count = math.prod(_axes(attributes.get("shape", "")))
        if (count * bits + 7) // 8 != size:
            raise invalid(
                f"a constant of the graph has {size} bytes; its shape and type {kind} make "
                f"{(count * bits + 7) // 8}"
            )
        self.counts[kind] = self.counts.get(kind, 0) + count

    def _state(self, attributes: dict[str, str]) -> None:
        axes = attributes.get("variable_shape", "").split(",")
        fixed = [_whole(axis) for axis in axes if axis.strip() != "?" and ".." not in axis]
        name = attributes.get("variable_id", "")[:200]
        if len(axes) > MOST_AXES or not fixed:
            raise invalid("a state of the graph has no shape that a KV cache has")
        self.states[name] = math.prod(fixed)


def _number(attributes: dict[str, Any], name: str) -> int:
    return _whole(attributes.get(name, ""))


def _whole(text: str) -> int:
    """A number that is not negative.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    text = text.strip()
    if not text.isdecimal() or len(text) > LONGEST_NUMBER:
        raise _wrong(text)
    return int(text)


def _axes(text: str) -> list[int]:
    parts = text.split(",") if text.strip() else []
    if len(parts) > MOST_AXES:
        raise _wrong(text)
    return [_whole(part) for part in parts]


def _wrong(text: str) -> MaasError:
    shown = "".join(c if c.isprintable() else "?" for c in text)[:40]
    return invalid(f"the graph has {shown!r} where a number was expected; export the model again")
