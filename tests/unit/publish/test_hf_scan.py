"""Headers of safetensors: read within bounds, and every lie refused by a sentence."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from maas.core.errors import ErrorKind, MaasError
from maas.publish.hf_scan import INDEX, MOST_HEADER, SINGLE, scan_safetensors, scan_weights

A = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
B = {"dtype": "F16", "shape": [4], "data_offsets": [24, 32]}


def write(path: Path, header: Any, data: int = 32, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    path.write_bytes(struct.pack("<Q", size) + text + b"\0" * data)
    return path


def refusal(call: Any, *arguments: Any) -> str:
    with pytest.raises(MaasError) as caught:
        call(*arguments)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert "\n" not in caught.value.message
    return caught.value.message


def test_what_safetensors_writes(tmp_path: Path) -> None:
    arrays = {"a.weight": np.ones((2, 3), np.float32), "b": np.zeros(4, np.float16)}
    save_file(arrays, tmp_path / SINGLE, metadata={"format": "pt"})
    found = scan_weights(tmp_path)
    assert {name: (one.dtype, one.shape) for name, one in found.items()} == {
        "a.weight": ("F32", (2, 3)),
        "b": ("F16", (4,)),
    }
    assert found["a.weight"].count == 6
    raw = (tmp_path / SINGLE).read_bytes()
    place = found["a.weight"]
    assert np.frombuffer(raw[place.offset : place.offset + place.size], "<f4").tolist() == [1] * 6


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({}, "holds 0 tensors"),
        ({"__metadata__": {"a": "b"}}, "holds 0 tensors"),
        ({"a": A | {"dtype": "F31"}, "b": B}, "type 'F31', which is not known"),
        ({"a": A | {"shape": [2, -3]}, "b": B}, "impossible shape"),
        ({"a": A | {"shape": [1] * 9}, "b": B}, "impossible shape"),
        ({"a": A | {"shape": [1 << 41]}, "b": B}, "impossible shape"),
        ({"a": A | {"shape": [2, 4]}, "b": B}, r"its shape [2, 4] of F32 takes 32"),
        ({"a": A | {"data_offsets": [24, 0]}, "b": B}, "lies at bytes 24 to 0"),
        ({"a": A | {"data_offsets": [-24, 0]}, "b": B}, "lies at bytes -24 to 0"),
        ({"a": A, "b": B | {"data_offsets": [25, 33]}}, "cut off or lies"),
        ({"a": A, "b": B | {"data_offsets": [20, 28]}}, "overlaps another"),
        ({"a": A, "b": B | {"data_offsets": [16, 24]}}, "overlaps another"),
        ({"b": B}, "leaves a hole before it"),
        ({"a": A}, "has 8 bytes that are no tensor's"),
        ({"a": A, "b": B | {"data_offsets": [1 << 62, (1 << 62) + 8]}}, "cut off or lies"),
        ({"a": A, "b": B | {"more": 1}}, "tensor 'b' is not what safetensors writes"),
        ({"a": A, "b": [1, 2]}, "tensor 'b' is not what safetensors writes"),
        ({"a": A, "b\n": B}, "is no tensor's name"),
        ({"a": A, "b" * 300: B}, "is no tensor's name"),
        ([1], "the header of 'model.safetensors' is not what safetensors writes"),
        (b'{"a":', "is not what safetensors writes"),
        (b'{"a":' + b"[" * 100_000 + b"}", "is not what safetensors writes"),
        (b"\xff\xfe{}", "is not what safetensors writes"),
    ],
)
def test_lies(tmp_path: Path, header: Any, words: str) -> None:
    assert words in refusal(scan_safetensors, write(tmp_path / SINGLE, header))


def test_a_pointer_to_weights(tmp_path: Path) -> None:
    file = tmp_path / SINGLE
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 988097824\n")
    assert "is a Git LFS pointer; run 'git lfs pull'" in refusal(scan_safetensors, file)


@pytest.mark.parametrize("length", [1 << 63, 1 << 40, 10_000])
def test_a_header_that_goes_on_past_the_file(tmp_path: Path, length: int) -> None:
    file = write(tmp_path / SINGLE, {"a": A, "b": B}, length=length)
    assert "is cut off" in refusal(scan_safetensors, file)


def test_a_header_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / SINGLE
    with file.open("wb") as opened:
        opened.write(struct.pack("<Q", MOST_HEADER + 1))
        opened.truncate(MOST_HEADER + 100)
    assert f"at most {MOST_HEADER}" in refusal(scan_safetensors, file)


@pytest.mark.parametrize("size", [0, 1, 7, 8])
def test_a_file_that_is_hardly_there(tmp_path: Path, size: int) -> None:
    (tmp_path / SINGLE).write_bytes(b"\0" * size)
    refusal(scan_safetensors, tmp_path / SINGLE)


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"a": A, "b": B})
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / SINGLE).symlink_to(outside)
    assert "a link" in refusal(scan_weights, folder)
    (folder / SINGLE).unlink()
    os.link(outside, folder / SINGLE)
    assert "is a link" in refusal(scan_weights, folder)


def shards(folder: Path, weight_map: dict[str, str]) -> Path:
    write(folder / "one.safetensors", {"a": A}, data=24)
    write(folder / "two.safetensors", {"b": B | {"data_offsets": [0, 8]}}, data=8)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def test_shards(tmp_path: Path) -> None:
    shards(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    found = scan_weights(tmp_path)
    assert {name: one.file.name for name, one in found.items()} == {
        "a": "one.safetensors",
        "b": "two.safetensors",
    }


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({}, "names 0 tensors"),
        ({"a": "one.safetensors"}, ""),
        ({"a": "two.safetensors", "b": "two.safetensors"}, "'a' is in 'two.safetensors', where"),
        ({"b": "one.safetensors"}, "does not say that 'a' is in 'one.safetensors'"),
        ({"a": "../one.safetensors"}, "no path inside the folder"),
        ({"a": "/one.safetensors"}, "no path inside the folder"),
        ({"a": "three.safetensors"}, "which the folder does not hold"),
        ({"a": "model.bin"}, "which is not safetensors"),
        ({"a": 1}, "is not what safetensors writes"),
    ],
)
def test_indices_that_lie(tmp_path: Path, weight_map: dict[str, Any], words: str) -> None:
    shards(tmp_path, weight_map)
    if words:
        assert words in refusal(scan_weights, tmp_path)
    else:
        assert set(scan_weights(tmp_path)) == {"a"}


def test_no_weights_under_known_names(tmp_path: Path) -> None:
    write(tmp_path / "consolidated.safetensors", {"a": A, "b": B})
    assert "under other names" in refusal(scan_weights, tmp_path)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_header_is_read_or_refused(tmp_path_factory: Any, data: st.DataObject) -> None:
    file = tmp_path_factory.mktemp("fuzz") / SINGLE
    good = json.dumps({"a": A, "b": B}).encode()
    whole = bytearray(struct.pack("<Q", len(good)) + good + b"\0" * 32)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    file.write_bytes(whole)
    try:
        found = scan_safetensors(file)
    except MaasError:
        return
    assert sum(one.size for one in found.values()) <= len(whole)
