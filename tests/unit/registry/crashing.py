"""Commits without end, killed at random moments; run by `test_crash.py` in its own process.

    python crashing.py HOME ROUNDS SEED

Each round forks a child that publishes as fast as it can, from two threads, and writes a line
for every version it was told is there; the parent kills it, opens the registry and compares.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from maas.core.records import PublishOptions, Report
from maas.registry import Registry, VersionDraft
from maas.registry.artifacts import tree_digest

NAMES = ("iris", "digits")


def clock() -> datetime:
    return datetime.now(UTC)


def publish_without_end(registry: Registry, name: str, acknowledge: int) -> None:
    report = Report("onnx", "onnx", "", "", False, "", {}, {}, None, "", (), (), 1, 1)
    while True:
        content = os.urandom(3000)
        staged = registry.stage()
        for folder in ("artifact", "original"):
            (staged / folder).mkdir()
            (staged / folder / "model").write_bytes(content)
        draft = VersionDraft(
            name=name,
            digest=f"sha256:{content[:32].hex()}",
            fingerprint=content[:32].hex(),
            entry="model",
            format="onnx",
            signatures={},
            report=report,
            options=PublishOptions(alias=("latest",)),
            created_by="owner",
        )
        record = registry.commit(staged, draft)
        os.write(acknowledge, f"{name} {record.version} {content[:32].hex()}\n".encode())
        if record.version % 5 == 0:
            registry.delete_version(name, record.version - 1)
            os.write(acknowledge, f"{name} {record.version - 1} deleted\n".encode())
            registry.sweep()


def run_child(home: Path, acknowledge: int) -> None:
    def end(failure: threading.ExceptHookArgs) -> None:
        traceback.print_exception(failure.exc_value)
        os._exit(1)

    threading.excepthook = end
    registry = Registry.open(home, clock)
    for name in NAMES:
        threading.Thread(target=publish_without_end, args=(registry, name, acknowledge)).start()


def check(home: Path, acknowledged: dict[tuple[str, int], str]) -> None:
    """Compares the registry with what it had acknowledged."""
    with Registry.open(home, clock) as registry:
        assert list((home / "staging").iterdir()) == []
        found = {}
        addresses = set()
        for model in registry.snapshot():
            numbers = [record.version for record in model.versions]
            assert model.default_version == model.aliases["latest"] == max(numbers)
            for record in model.versions:
                artifact = registry.artifact(model.name, record.version)
                folder = Path(artifact.path).parent
                assert tree_digest(folder) == folder.name
                content = artifact.file.read_bytes()
                assert record.digest == f"sha256:{content[:32].hex()}"
                found[model.name, record.version] = content[:32].hex()
                addresses.add(folder.name)
        assert {path.name for path in (home / "artifacts").glob("*/*")} == addresses
        for key, digest in acknowledged.items():
            name, version = key
            # Deleted, killed before it could say so: only right before a multiple of five.
            may_be_gone = version % 5 == 4 and (name, version + 1) in found
            if digest == "deleted" or (may_be_gone and key not in found):
                assert key not in found, key
            else:
                assert found.get(key) == digest, key


def main(home: Path, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    log = home.with_name("acknowledged")
    for _ in range(rounds):
        acknowledge = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        child = os.fork()
        if child == 0:
            run_child(home, acknowledge)
            signal.pause()  # until it is killed
        time.sleep(chance.uniform(0.0, 0.2))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "publishing failed before it was killed"
        os.close(acknowledge)
        acknowledged = {}
        for line in log.read_text().splitlines():
            name, version, digest = line.split()
            acknowledged[name, int(version)] = digest
        check(home, acknowledged)
    sys.stdout.buffer.write(msgspec.json.encode(len(acknowledged)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
