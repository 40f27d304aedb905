"""A publish pipeline that examines nothing: it stores any file as a version of a fixed kind."""

from __future__ import annotations

import hashlib
import shutil
import threading
from pathlib import Path

import msgspec

from maas.admin.jobs import Emit
from maas.admin.uploads import Received
from maas.core.errors import invalid
from maas.core.records import PublishOptions, Report, VersionRecord
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, TensorSpec
from maas.registry import Registry, VersionDraft

SIGNATURE = Signature(
    DEFAULT_SIGNATURE,
    (TensorSpec("x", DType.FP32, (None, 4)),),
    (TensorSpec("label", DType.INT64, (None,)),),
    batched=True,
)
REPORT = Report(
    format="onnx",
    engine="onnx",
    platform="onnxruntime_onnx",
    host="shared",
    lowered=False,
    reason="it is what was published",
    written_with={},
    read_with={},
    parity=None,
    batch_note="",
    timings=(),
    warnings=(),
    size_bytes=0,
    memory_bytes=0,
)


class FakePipeline:
    """Stores uploads in a real registry.

    A file that begins with `bad` is refused, one that begins with `crash` raises an error that
    nobody expects.

    Args:
        registry: where versions go.

    `go` holds every job back while it is clear; `running` counts those inside, `most` how many
    there ever were at once; `options` and `code` are those of the last one, the code as contents
    by path.
    """

    def __init__(self, registry: Registry):
        self._registry = registry
        self._lock = threading.Lock()
        self.go = threading.Event()
        self.go.set()
        self.running = 0
        self.most = 0
        self.options = PublishOptions()
        self.code: dict[str, bytes] = {}

    def __call__(
        self,
        name: str,
        received: Received,
        staged: Path,
        options: PublishOptions,
        created_by: str,
        emit: Emit,
    ) -> tuple[VersionRecord, bool]:
        """Stores one upload.

        Raises:
            MaasError: INVALID_ARGUMENT for a file that begins with `bad`.
            RuntimeError: for one that begins with `crash`.
        """
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
            self.options = options
            self.code = _contents(received.code)
        try:
            emit("detect", f"reading {received.filename}", 0.1)
            self.go.wait()
            return self._store(name, received, options, created_by, emit)
        finally:
            with self._lock:
                self.running -= 1

    def _store(
        self,
        name: str,
        received: Received,
        options: PublishOptions,
        created_by: str,
        emit: Emit,
    ) -> tuple[VersionRecord, bool]:
        content = received.path.read_bytes() if received.path.is_file() else b""
        if content.startswith(b"bad"):
            raise invalid(f"{received.filename} is not a model; expected any other file")
        if content.startswith(b"crash"):
            raise RuntimeError(f"crash at {received.path}")
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        fingerprint = digest + msgspec.json.encode(options).decode()
        with self._lock:
            known = (
                self._registry.find(name, fingerprint)
                if options.version is None
                else self._registry.numbered(name, options.version, digest)
            )
            if known is not None:
                return known, False
            folder = self._registry.stage()
            artifact = folder / "artifact"
            artifact.mkdir()
            if received.path.is_file():
                shutil.copy(received.path, artifact / received.filename)
            else:
                shutil.copytree(received.path, artifact / received.filename)
            emit("commit", "storing it", 1.0)
            draft = VersionDraft(
                name=name,
                digest=digest,
                fingerprint=fingerprint,
                entry=received.filename,
                format="onnx",
                signatures={DEFAULT_SIGNATURE: SIGNATURE},
                report=REPORT,
                options=options,
                created_by=created_by,
            )
            return self._registry.commit(folder, draft), True


def _contents(folder: Path | None) -> dict[str, bytes]:
    if folder is None:
        return {}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
