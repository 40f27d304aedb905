from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest

from maas.core.states import ServableState
from maas.serving.plan import (
    EMPTY,
    PLAN_FILE,
    SCHEMA,
    HostPlan,
    ModelPlan,
    Plan,
    VersionPlan,
    read_plan,
    replace_file,
    write_plan,
)
from maas.testing.pipeline import SIGNATURE

VERSION = VersionPlan(
    ServableState.AVAILABLE, "", "host-1", "onnx", "onnxruntime_onnx", "/a", "m.onnx", "onnx",
    {SIGNATURE.name: SIGNATURE},
)  # fmt: skip
PLAN = Plan(
    SCHEMA,
    "epoch",
    7,
    {"模型": ModelPlan({3: VERSION}, 3, {"生产": 3})},
    {"host-1": HostPlan("/run/host-1.sock", 2, False, (("模型", 3),))},
)


def test_a_plan_reads_as_it_was_written(tmp_path: Path) -> None:
    for plan in (EMPTY, PLAN):
        write_plan(tmp_path, plan)
        assert read_plan(tmp_path) == plan


def test_it_is_the_owners_alone_and_leaves_nothing_beside(tmp_path: Path) -> None:
    write_plan(tmp_path, PLAN)
    assert (tmp_path / PLAN_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [PLAN_FILE]


def test_before_control_has_written_one_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_plan(tmp_path)


def test_another_schema_is_refused(tmp_path: Path) -> None:
    write_plan(tmp_path, msgspec.structs.replace(EMPTY, schema=SCHEMA + 1))
    with pytest.raises(RuntimeError, match="schema"):
        read_plan(tmp_path)


def test_what_is_no_plan_is_refused(tmp_path: Path) -> None:
    (tmp_path / PLAN_FILE).write_bytes(b"\xc1")
    with pytest.raises(msgspec.DecodeError):
        read_plan(tmp_path)


def test_a_reader_sees_the_old_or_the_new_never_half(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([n]) * 200_000 for n in range(8)]
    replace_file(path, contents[0])
    done = threading.Event()

    def write() -> None:
        for turn in range(400):
            replace_file(path, contents[turn % 8])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert path.read_bytes() in contents
    writer.join()
