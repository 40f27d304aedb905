from __future__ import annotations

import msgspec
import pytest
from maas_test_ground import CREATED

from maas.core.identity import ServableId
from maas.core.records import ModelRecord, VersionRecord
from maas.core.states import ServableState
from maas.serving.planning import build_plan, wanted_of, why_unloaded
from maas.serving.versions import HostEntry, VersionEntry
from maas.testing.pipeline import REPORT, SIGNATURE

M = ServableId("m", 1)


def entry(name: str, version: int, state: ServableState, **fields: object) -> VersionEntry:
    record = VersionRecord(
        name, version, "sha256:0", CREATED, "ann", {SIGNATURE.name: SIGNATURE}, REPORT
    )
    return VersionEntry(record, "/a", "m.onnx", "onnx", state, **fields)


def test_it_says_everything() -> None:
    host = HostEntry("host-1", "/run/host-1.sock", False, 4, {M, ServableId("a", 2)})
    one = entry("m", 1, ServableState.AVAILABLE, host="host-1")
    record = ModelRecord("m", CREATED, 1, None, None, {"prod": 1}, (one.record,))
    plan = build_plan("e", 9, {M: one}, {"host-1": host}, {"m": record}, {"m": 1})
    assert (plan.epoch, plan.number) == ("e", 9)
    assert plan.models["m"].default == 1
    assert plan.models["m"].aliases == {"prod": 1}
    version = plan.models["m"].versions[1]
    assert (version.state, version.host, version.runtime) == (
        ServableState.AVAILABLE,
        "host-1",
        "onnx",
    )
    assert (version.path, version.entry, version.format) == ("/a", "m.onnx", "onnx")
    assert version.signatures == {SIGNATURE.name: SIGNATURE}
    assert plan.hosts["host-1"].holds == (("a", 2), ("m", 1))
    assert plan.hosts["host-1"].incarnation == 4


@pytest.mark.parametrize(
    ("state", "recovering", "routable"),
    [
        (ServableState.AVAILABLE, False, True),
        (ServableState.LOADING, True, True),
        (ServableState.LOADING, False, False),
        (ServableState.START, False, False),
        (ServableState.UNLOADING, False, False),
        (ServableState.END, False, False),
    ],
)
def test_an_alias_names_what_answers_or_will_again(
    state: ServableState, recovering: bool, routable: bool
) -> None:
    one = entry("m", 1, state, recovering=recovering)
    record = ModelRecord("m", CREATED, None, None, None, {"prod": 1, "gone": 7}, (one.record,))
    plan = build_plan("e", 1, {M: one}, {}, {"m": record}, {})
    assert plan.models["m"].aliases == ({"prod": 1} if routable else {})


def test_a_version_of_a_deleted_model_is_there_until_it_is_unloaded() -> None:
    one = entry("m", 1, ServableState.UNLOADING, host="host-1")
    plan = build_plan("e", 1, {M: one}, {}, {}, {})
    assert plan.models["m"].versions[1].state is ServableState.UNLOADING
    assert plan.models["m"].default is None
    assert plan.models["m"].aliases == {}


def test_a_model_that_is_unloaded_has_nothing_to_serve_and_says_why() -> None:
    gone = entry("m", 1, ServableState.END)
    failed = entry("m", 2, ServableState.END, reason="it is corrupt")
    going = entry("m", 3, ServableState.UNLOADING)
    record = ModelRecord(
        "m", CREATED, 1, 2, 1, {"prod": 1}, (going.record, failed.record, gone.record)
    )
    assert wanted_of(record) is record
    unloaded = wanted_of(msgspec.structs.replace(record, unloaded=True))
    assert (unloaded.default_version, unloaded.previous_version) == (None, None)
    assert unloaded.versions == record.versions
    versions = {one.id: one for one in (gone, failed, going)}
    plan = build_plan("e", 1, versions, {}, {"m": unloaded}, {}).models["m"]
    assert plan.default is None
    assert plan.aliases == {"prod": 1}  # so that its calls are told why they fail
    assert [plan.versions[n].reason for n in (1, 2, 3)] == [
        why_unloaded("m"), "it is corrupt", "",
    ]  # fmt: skip
    assert why_unloaded("花").endswith("load it with POST /v2/repository/models/%E8%8A%B1/load")
