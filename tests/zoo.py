"""The models that the tests over HTTP call: small, real, and each with a trait of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOWER = [5.1, 3.5, 1.4, 0.2]
"""A setosa: class 0."""
TEXT = "这支球队赢得了足球冠军"
"""About sports, which is what the classifier of texts says."""
IMAGE = (1, 299, 299, 3)


def iris(path: Path, *, upside_down: bool = False) -> Path:
    """scikit-learn's iris with integer classes; `upside_down` numbers them the other way round."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_iris()
    target = 2 - data.target if upside_down else data.target
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, random_state=0))
    return _dump(model.fit(data.data, target), path)


def flowers(path: Path) -> Path:
    """The same flowers with their names for classes."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    data = load_iris()
    model = LogisticRegression(max_iter=500, random_state=0)
    return _dump(model.fit(data.data, data.target_names[data.target]), path)


def words(path: Path) -> Path:
    """Chinese sentences, by characters: 体育 or 科技."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    sports = ["今天的足球比赛很精彩", "球队赢得了冠军", "运动员打破了纪录", "他们在球场上训练"]
    science = ["新手机昨天发布了", "芯片的性能提升了", "人工智能改变世界", "软件更新修复漏洞"]
    model = make_pipeline(
        TfidfVectorizer(analyzer="char", lowercase=False, ngram_range=(1, 2)),
        LogisticRegression(random_state=0),
    )
    return _dump(model.fit([*sports, *science], ["体育"] * 4 + ["科技"] * 4), path)


def centroid(path: Path) -> Path:
    """A classifier without a converter: scikit-learn itself serves it."""
    from sklearn.datasets import load_iris
    from sklearn.neighbors import NearestCentroid

    data = load_iris()
    return _dump(NearestCentroid().fit(data.data, data.target), path)


def image(path: Path) -> Path:
    """`images` float32 [1, 299, 299, 3] → `scores` [1, 1000]: the brightest colour wins."""
    weights = np.zeros((3, 1000), np.float32)
    weights[0, 123] = weights[1, 456] = weights[2, 789] = 1
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["colours"], keepdims=0),
        helper.make_node("MatMul", ["colours", "weights"], ["scores"]),
    ]
    constants = {"axes": np.array([1, 2], np.int64), "weights": weights}
    return _save(path, nodes, [("images", IMAGE)], [("scores", (1, 1000))], constants)


def counts(path: Path) -> Path:
    """`counts` int64 [n, 3] → `total` int64 [n, 1]."""
    node = helper.make_node("ReduceSum", ["counts", "axes"], ["total"], keepdims=1)
    constants = {"axes": np.array([1], np.int64)}
    inputs, outputs = [("counts", ("n", 3))], [("total", ("n", 1))]
    return _save(path, [node], inputs, outputs, constants, TensorProto.INT64)


def centred(path: Path) -> Path:
    """`x` [n, 2] less the mean of its rows: what looks like a batch axis is none."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    constants = {"axes": np.array([0], np.int64)}
    return _save(path, nodes, [("x", ("n", 2))], [("y", ("n", 2))], constants)


def pair(path: Path) -> Path:
    """`a` and `b` [n, 2] → `sum` and `product` [n, 2]."""
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Mul", ["a", "b"], ["product"]),
    ]
    shape = ("n", 2)
    return _save(path, nodes, [("a", shape), ("b", shape)], [("sum", shape), ("product", shape)])


def affine(path: Path, factor: float, width: int = 2, ballast: int = 0) -> Path:
    """`x` [n, width] → `y` = factor · x; `ballast` bytes of further weights make it heavier."""
    constants: dict[str, np.ndarray] = {"factor": np.array([factor], np.float32)}
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"])]
    if ballast:
        # A product with these weights, all of it far below what a float keeps beside y.
        weights = np.random.default_rng(0).random((width, ballast // 4 // width), np.float32)
        constants |= {"ballast": weights * 1e-30, "axes": np.array([1], np.int64)}
        nodes = [
            helper.make_node("Mul", ["x", "factor"], ["scaled"]),
            helper.make_node("MatMul", ["x", "ballast"], ["heavy"]),
            helper.make_node("ReduceMean", ["heavy", "axes"], ["light"], keepdims=1),
            helper.make_node("Add", ["scaled", "light"], ["y"]),
        ]
    return _save(path, nodes, [("x", ("n", width))], [("y", ("n", width))], constants)


def affine_bytes(factor: float) -> bytes:
    """The bytes of `affine`."""
    with tempfile.TemporaryDirectory() as folder:
        return affine(Path(folder) / "m.onnx", factor).read_bytes()


def slow(path: Path) -> Path:
    """`x` [n, 1] → `y` = x, after as many steps of work as the largest x says."""
    side = 128
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("MatMul", ["square", "square"], ["squared"]),
            helper.make_node("Tanh", ["squared"], ["next"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("square", TensorProto.FLOAT, [side, side]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [side, side]),
        ],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["steps"], to=TensorProto.INT64),
        helper.make_node("Loop", ["steps", "", "start"], ["last"], body=body),
        helper.make_node("ReduceMax", ["last"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Add", ["x", "nothing"], ["y"]),
    ]
    constants = {
        "start": np.random.default_rng(0).random((side, side), np.float32) / 64,
        "zero": np.array(0, np.float32),
    }
    return _save(path, nodes, [("x", ("n", 1))], [("y", ("n", 1))], constants)


def _dump(model: Any, path: Path) -> Path:
    import skops.io

    skops.io.dump(model, path)
    return path


def _save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, Sequence[int | str]]],
    outputs: Sequence[tuple[str, Sequence[int | str]]],
    constants: dict[str, np.ndarray] | None = None,
    kind: int = TensorProto.FLOAT,
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, kind, list(shape)) for name, shape in inputs],
        [helper.make_tensor_value_info(name, kind, list(shape)) for name, shape in outputs],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    return path
