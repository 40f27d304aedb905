"""Small PyTorch programs, exported where they are needed; PyTorch is not imported before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

Made = tuple[Any, tuple[Any, ...], Any]
"""A module, arguments that it takes, and which of their axes are of any size."""
ROWS = "rows"
"""The first axis of every argument."""


def _saver(make: Callable[[Any, Any], Made]) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        import torch
        from tests import torch_zoo

        torch.manual_seed(0)
        module, arguments, axes = make(torch_zoo, torch)
        if axes == ROWS:
            axes = ({0: torch.export.Dim.AUTO},) * len(arguments)
        program = torch.export.export(module.eval(), arguments, dynamic_shapes=axes)
        torch.export.save(program, folder / "model.pt2")
        return folder / "model.pt2"

    return save


def _tokens(zoo: Any, torch: Any) -> Made:
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    arguments = (torch.ones(2, 7, dtype=torch.long), torch.ones(2, 7))
    return zoo.Tokens(), arguments, (axes, axes)


def _convolution(zoo: Any, torch: Any) -> Made:
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    return layers, (torch.zeros(2, 3, 16, 16),), ROWS


PROGRAMS = MappingProxyType(
    {
        "network": _saver(lambda zoo, t: (zoo.Net(), (t.zeros(2, 4),), ROWS)),
        "network, float16": _saver(
            lambda zoo, t: (zoo.Net().half(), (t.zeros(2, 4).half(),), ROWS)
        ),
        "network, bfloat16": _saver(
            lambda zoo, t: (zoo.Net().bfloat16(), (t.zeros(2, 4).bfloat16(),), ROWS)
        ),
        "network, fixed batch": _saver(lambda zoo, t: (zoo.Net(), (t.zeros(2, 4),), None)),
        "tokens and a mask": _saver(_tokens),
        "LSTM": _saver(lambda _, t: (t.nn.LSTM(4, 5, batch_first=True), (t.zeros(2, 3, 4),), ROWS)),
        "convolution": _saver(_convolution),
        "batch mixed": _saver(lambda zoo, t: (zoo.Centred(), (t.zeros(2, 3),), ROWS)),
        "eigenvalues": _saver(lambda zoo, t: (zoo.Eigenvalues(), (t.zeros(2, 3, 3),), ROWS)),
        "noise": _saver(lambda zoo, t: (zoo.Noise(), (t.zeros(2, 3),), ROWS)),
        "a size beside a tensor": _saver(lambda zoo, t: (zoo.Sized(), (t.zeros(2, 3),), ROWS)),
    }
)
"""Title → exports it into a folder, and says where."""
