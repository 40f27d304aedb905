from __future__ import annotations

import os

import pytest
from onnx import TensorProto, helper

from maas.core.errors import ErrorKind, MaasError
from maas.publish.external_data import check_external_data, tensors_of


@pytest.fixture
def folder(tmp_path, linear):
    place = tmp_path / "published"
    place.mkdir()
    (place / "w.bin").write_bytes(linear.data)
    (tmp_path / "secret.bin").write_bytes(linear.data)
    return place


def refused(model, folder) -> str:
    with pytest.raises(MaasError) as caught:
        check_external_data(model, folder)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert str(folder) not in caught.value.message
    return caught.value.message


def test_inside_the_folder_is_fine(folder, linear):
    assert check_external_data(linear("w.bin", offset="0", length="64"), folder) == ("w.bin",)
    (folder / "deep").mkdir()
    (folder / "deep" / "w.bin").write_bytes(linear.data)
    assert check_external_data(linear("deep/w.bin"), folder) == ("deep/w.bin",)
    assert check_external_data(linear(), None) == ()


def test_a_single_file_with_external_data_wants_its_folder(linear):
    assert "publish the folder" in refused(linear("w.bin"), None)


@pytest.mark.parametrize(
    "location",
    [
        "../secret.bin",
        "deep/../../secret.bin",
        "./w.bin",
        "/etc/passwd",
        "",
        "w.bin\x00.txt",
        "..\\secret.bin",
        "C:/secret.bin",
        "*/_ORT_MEM_ADDR_/*",
        "gone.bin",
        ".",
        "w.bin/x",
    ],
)
def test_places_that_are_refused(folder, linear, location):
    assert "expected a regular file inside the published folder" in refused(
        linear(location), folder
    )


def test_the_marker_of_an_address_in_memory_even_if_the_file_exists(folder, linear):
    (folder / "*" / "_ORT_MEM_ADDR_").mkdir(parents=True)
    (folder / "*" / "_ORT_MEM_ADDR_" / "*").write_bytes(linear.data)
    assert "malformed" in refused(linear("*/_ORT_MEM_ADDR_/*", offset="4096"), folder)


def test_symbolic_links(folder, linear, tmp_path):
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    assert "symbolic link" in refused(linear("link.bin"), folder)
    (folder / "inner.bin").symlink_to("w.bin")
    assert "symbolic link" in refused(linear("inner.bin"), folder)
    (folder / "parent").symlink_to(tmp_path)
    assert "symbolic link" in refused(linear("parent/secret.bin"), folder)


def test_hard_links(folder, linear, tmp_path):
    os.link(tmp_path / "secret.bin", folder / "hard.bin")
    assert "hard link" in refused(linear("hard.bin"), folder)


def test_what_is_no_file(folder, linear):
    os.mkfifo(folder / "pipe")
    assert "not a regular file" in refused(linear("pipe"), folder)


@pytest.mark.parametrize(
    "place",
    [
        {"offset": "-1"},
        {"length": "-64"},
        {"offset": "65"},
        {"offset": "1", "length": "64"},
        {"offset": str(2**62)},
        {"offset": "9" * 40},
        {"length": "0x40"},
        {"offset": " 1"},
        {"unknown": "1"},
    ],
)
def test_offsets_and_lengths(folder, linear, place):
    message = refused(linear("w.bin", **place), folder)
    assert "offset and length within it" in message


def test_a_key_given_twice(folder, linear):
    model = linear("w.bin")
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "../secret.bin"
    assert "malformed" in refused(model, folder)


def test_tensors_are_found_wherever_they_stand(onnx_model):
    def named(name):
        return helper.make_tensor(name, TensorProto.FLOAT, [1], [0.0])

    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=named("deep"))],
        "inner",
        [],
        [onnx_model.tensor("c", [1])],
        [named("inner")],
    )
    nodes = [
        helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner),
        helper.make_node(
            "Constant",
            [],
            ["s"],
            sparse_value=helper.make_sparse_tensor(
                named("values"), helper.make_tensor("indices", TensorProto.INT64, [1], [0]), [4]
            ),
        ),
    ]
    model = onnx_model(nodes, weights=[named("outer")])
    model.functions.append(
        helper.make_function(
            "own",
            "f",
            ["a"],
            ["b"],
            [helper.make_node("Constant", [], ["b"], value=named("function"))],
            [helper.make_opsetid("", 18)],
        )
    )
    training = model.training_info.add()
    training.algorithm.CopyFrom(inner)
    found = {tensor.name for tensor in tensors_of(model)}
    assert found == {"outer", "inner", "deep", "values", "indices", "function"}
