"""Networks in plain ONNX operators, with fixed random weights: what a framework would export."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper


class Net:
    """Collects nodes and weights."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        """A node; gives the name of what comes out."""
        name = f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def weight(self, *shape: int, scale: float = 1.0) -> str:
        """Normal values."""
        name = f"w{len(self._weights)}"
        values = (self._random.standard_normal(shape) * scale).astype(np.float32)
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def convolve(self, x: str, sizes: tuple[int, int], kernel: int, groups: int = 1) -> str:
        """A convolution from `sizes[0]` to `sizes[1]` channels, same height and width."""
        before, after = sizes
        scale = float(np.sqrt(2 / (before // groups * kernel**2)))
        weights = self.weight(after, before // groups, kernel, kernel, scale=scale)
        bias = self.weight(after, scale=0.1)
        pads = [kernel // 2] * 4
        return self.add(
            "Conv", [x, weights, bias], kernel_shape=[kernel] * 2, pads=pads, group=groups
        )

    def model(self, x: tuple[str | int, ...], y: tuple[str | int, ...], last: str) -> Any:
        """The ModelProto: `x` in, `y` out, float32."""
        self._nodes.append(helper.make_node("Identity", [last], ["y"]))
        graph = helper.make_graph(
            self._nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
            self._weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def perceptron(widths: tuple[int, ...] = (4, 16, 3)) -> Any:
    """Dense layers with ReLU, softmax at the end: `x` [n, widths[0]] → `y` [n, widths[-1]]."""
    net, x = Net(), "x"
    for i, (before, after) in enumerate(pairwise(widths)):
        weights = net.weight(before, after, scale=before**-0.5)
        x = net.add("Relu", [x]) if i else x
        x = net.add("Gemm", [x, weights, net.weight(after, scale=0.1)])
    return net.model(("n", widths[0]), ("n", widths[-1]), net.add("Softmax", [x], axis=1))


def residual(blocks: int = 2, channels: int = 16, size: int = 16) -> Any:
    """As in ResNet: `x` [n, 3, size, size] → `y` [n, 10], sums to 1."""
    net = Net()
    x = net.add("Relu", [net.convolve("x", (3, channels), 3)])
    for _ in range(blocks):
        inner = net.add("Relu", [net.convolve(x, (channels, channels), 3)])
        inner = net.convolve(inner, (channels, channels), 3)
        x = net.add("Relu", [net.add("Add", [inner, x])])
    x = net.add("Flatten", [net.add("GlobalAveragePool", [x])])
    x = net.add("Gemm", [x, net.weight(channels, 10), net.weight(10, scale=0.1)])
    return net.model(("n", 3, size, size), ("n", 10), net.add("Softmax", [x], axis=1))


def mobile(blocks: int = 4, channels: int = 32, size: int = 32) -> Any:
    """As in MobileNetV3: depthwise convolutions and HardSwish, which OpenVINO fuses.

    `x` [n, 3, size, size] → `y` [n, channels].
    """
    net, wide = Net(), 4 * channels
    x = net.add("HardSwish", [net.convolve("x", (3, channels), 3)])
    for _ in range(blocks):
        inner = net.add("HardSwish", [net.convolve(x, (channels, wide), 1)])
        inner = net.add("HardSwish", [net.convolve(inner, (wide, wide), 3, groups=wide)])
        x = net.add("Add", [net.convolve(inner, (wide, channels), 1), x])
    x = net.add("Flatten", [net.add("GlobalAveragePool", [x])])
    return net.model(("n", 3, size, size), ("n", channels), x)
