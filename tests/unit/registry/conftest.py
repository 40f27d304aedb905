from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from maas.core.records import Parity, PublishOptions, Report, VersionRecord
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.registry import Registry, VersionDraft

Publish = Callable[..., VersionRecord]


def clock() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def registry(home: Path) -> Iterator[Registry]:
    with Registry.open(home, clock) as registry:
        yield registry


@pytest.fixture
def make_draft() -> Callable[..., VersionDraft]:
    """Makes a draft; keyword arguments replace its fields."""

    def make(name: str = "iris", **changes: Any) -> VersionDraft:
        fields: dict[str, Any] = {
            "name": name,
            "digest": "sha256:" + "0" * 64,
            "fingerprint": "f",
            "entry": "model.onnx",
            "format": "onnx",
            "signatures": {
                "serving_default": Signature(
                    "serving_default",
                    (TensorSpec("x", DType.FP32, (None, 4)),),
                    (TensorSpec("label", DType.BYTES, (None,), ("山鸢尾", "变色鸢尾")),),
                    batched=True,
                )
            },
            "report": Report(
                format="skops",
                engine="onnx",
                platform="onnxruntime_onnx",
                host="shared",
                lowered=True,
                reason="it agrees with the original and is faster",
                written_with={"scikit-learn": "1.9"},
                read_with={"scikit-learn": "1.9"},
                parity=Parity(512, "model", 1e-7, 1e-6, 300, agrees=True),
                batch_note="proven on 8 rows",
                timings=(),
                warnings=("一",),
                size_bytes=10,
                memory_bytes=100,
            ),
            "options": PublishOptions(),
            "created_by": "owner",
        }
        return VersionDraft(**(fields | changes))

    return make


@pytest.fixture
def publish(registry: Registry, make_draft: Callable[..., VersionDraft]) -> Publish:
    """Publishes `content` under `name`; further arguments are `PublishOptions`."""

    def publish(
        name: str = "iris",
        content: bytes = b"weights",
        fingerprint: str = "f",
        into: Registry | None = None,
        **options: Any,
    ) -> VersionRecord:
        target = registry if into is None else into
        staged = target.stage()
        for folder, file in (("artifact", "model.onnx"), ("original", "model.skops")):
            (staged / folder).mkdir()
            (staged / folder / file).write_bytes(content)
        draft = make_draft(name, fingerprint=fingerprint, options=PublishOptions(**options))
        return target.commit(staged, draft)

    return publish
