"""PyTorch as a runtime: the contract, for both of its formats."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest
from tests.programs import PROGRAMS

from maas.core.ports import Artifact, Device
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec
from maas.runtimes.torch import TorchRuntime
from maas.runtimes.torch_process import SETTINGS, import_torch
from maas.testing.runtime import check_runtime

pytestmark = [
    pytest.mark.xdist_group("torch"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
ROWS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def torch():
    """PyTorch; what importing it changes in this process is put back."""
    environ, level = dict(os.environ), logging.getLogger("torch").level
    yield import_torch()
    for name in set(os.environ) - set(environ):
        del os.environ[name]
    logging.getLogger("torch").setLevel(level)


def artifact_of(folder, entry: str, format_: str) -> Artifact:
    signature = Signature(
        DEFAULT_SIGNATURE,
        (TensorSpec("x", DType.FP32, (None, 4)),),
        (TensorSpec("output", DType.FP32, (None, 3)),),
        batched=True,
    )
    return Artifact(str(folder), entry, format_, {DEFAULT_SIGNATURE: signature})


def test_an_exported_program(tmp_path):
    PROGRAMS["network"](tmp_path)
    artifact = artifact_of(tmp_path, "model.pt2", "pt2")
    check_runtime(TorchRuntime(), artifact, {"x": ROWS})
    assert TorchRuntime().estimate(artifact).memory_bytes > 768 << 20


def test_torchscript(tmp_path, torch):
    from tests import torch_zoo

    torch.jit.script(torch_zoo.Net().eval()).save(str(tmp_path / "model.pt"))
    check_runtime(TorchRuntime(), artifact_of(tmp_path, "model.pt", "torchscript"), {"x": ROWS})


def test_what_a_program_writes_into_is_its_own(tmp_path, torch):
    class Scratch(torch.nn.Module):
        def forward(self, x):
            x.mul_(0)
            return torch.cat([x, x[:, :1]], 1)[:, :3]

    torch.jit.trace(Scratch(), torch.ones(2, 4), check_trace=False).save(str(tmp_path / "model.pt"))
    artifact = artifact_of(tmp_path, "model.pt", "torchscript")
    rows = ROWS.copy()
    TorchRuntime().load(artifact, Device()).infer(DEFAULT_SIGNATURE, {"x": rows})
    np.testing.assert_array_equal(rows, ROWS)


def test_no_load_unpickles_objects():
    assert os.environ.items() >= SETTINGS.items()
