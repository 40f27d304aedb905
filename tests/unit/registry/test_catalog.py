from __future__ import annotations

import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.records import PublishOptions, VersionPatch
from maas.registry import Registry, VersionDraft

Publish = Callable[..., Any]


def refused(kind: ErrorKind, call: Callable[..., object], *arguments: object) -> str:
    """Calls, expects an error of that kind, and gives its message."""
    with pytest.raises(MaasError) as caught:
        call(*arguments)
    assert caught.value.kind is kind, caught.value.message
    return caught.value.message


def test_a_version_reads_back_as_it_was_committed(
    registry: Registry, publish: Publish, make_draft: Callable[..., VersionDraft]
) -> None:
    made = publish(
        description="鸢尾花",
        accuracy=0.97,
        metrics={"f1": 0.9},
        tags={"团队": "植物"},
        alias=("prod",),
    )
    draft = make_draft()
    assert registry.version("iris", 1) == made
    assert (made.name, made.version, made.created_by) == ("iris", 1, "owner")
    assert (made.signatures, made.report) == (draft.signatures, draft.report)
    assert (made.description, made.accuracy) == ("鸢尾花", 0.97)
    assert (made.metrics, made.tags, made.aliases) == ({"f1": 0.9}, {"团队": "植物"}, ("prod",))
    assert datetime.fromisoformat(made.created_at).utcoffset() is not None
    assert made.created_at.endswith("Z")
    model = registry.model("iris")
    assert (model.default_version, model.previous_version, model.aliases) == (1, None, {"prod": 1})
    assert model.versions == (made,)
    assert registry.snapshot() == (model,)


def test_what_was_published_is_found_by_its_fingerprint(
    registry: Registry, publish: Publish
) -> None:
    publish(fingerprint="a")
    second = publish(fingerprint="b", content=b"other")
    assert registry.find("iris", "b") == second
    assert registry.find("iris", "c") is None
    assert registry.find("digits", "b") is None
    registry.delete_version("iris", 2)
    assert registry.find("iris", "b") is None


def test_the_artifact_holds_the_published_bytes(registry: Registry, publish: Publish) -> None:
    publish(content=b"the weights")
    artifact = registry.artifact("iris", 1)
    assert artifact.file.read_bytes() == b"the weights"
    assert artifact.file.is_absolute()
    assert (artifact.format, artifact.entry) == ("onnx", "model.onnx")
    original = Path(artifact.path).with_name("original") / "model.skops"
    assert original.read_bytes() == b"the weights"


def test_numbers_are_never_used_again(registry: Registry, publish: Publish) -> None:
    publish()
    publish()
    registry.delete_version("iris", 2)
    assert publish().version == 3
    registry.delete_model("iris")
    assert refused(ErrorKind.NOT_FOUND, registry.model, "iris").endswith("published yet")
    assert registry.snapshot() == ()
    again = publish()
    assert again.version == 4
    assert [record.version for record in registry.model("iris").versions] == [4]
    assert registry.model("iris").previous_version is None


def test_everything_is_there_after_a_restart(
    home: Path, publish: Publish, registry: Registry
) -> None:
    made = publish(alias=("prod",))
    registry.close()
    with Registry.open(home, clock_of_another_run) as again:
        assert again.version("iris", 1) == made
        assert again.artifact("iris", 1).file.read_bytes() == b"weights"
        assert publish(into=again).version == 2


def clock_of_another_run() -> datetime:
    return datetime.fromisoformat("2031-01-01T00:00:00+08:00")


def test_rolling_back_restores_what_served_before_again_and_again(
    registry: Registry, publish: Publish
) -> None:
    for _ in range(3):
        publish()
    assert registry.rollback("iris").default_version == 2
    back = registry.rollback("iris")
    assert (back.default_version, back.previous_version) == (1, None)
    message = refused(ErrorKind.FAILED_PRECONDITION, registry.rollback, "iris")
    assert "no earlier default version" in message
    assert registry.model("iris").default_version == 1
    assert registry.promote("iris", 3).previous_version == 1
    registry.promote("iris", 3)
    assert registry.rollback("iris").default_version == 1


def test_a_version_that_was_not_promoted_serves_nobody(
    registry: Registry, publish: Publish
) -> None:
    publish(promote=False)
    assert registry.model("iris").default_version is None
    refused(ErrorKind.FAILED_PRECONDITION, registry.rollback, "iris")
    publish()
    publish(promote=False)
    assert registry.model("iris").default_version == 2


def test_deleting_the_default_falls_back_to_what_served_before(
    registry: Registry, publish: Publish
) -> None:
    for _ in range(3):
        publish()
    registry.promote("iris", 1)
    # Promoted so far: 1, 2, 3, 1.
    registry.delete_version("iris", 3)
    registry.delete_version("iris", 1)
    model = registry.model("iris")
    assert (model.default_version, model.previous_version) == (2, None)
    registry.delete_version("iris", 2)
    model = registry.model("iris")
    assert (model.default_version, model.versions) == (None, ())
    assert "none left" in refused(ErrorKind.NOT_FOUND, registry.version, "iris", 1)


def test_rolling_back_passes_over_a_version_promoted_around_a_deleted_one(
    registry: Registry, publish: Publish
) -> None:
    for _ in range(3):
        publish()
    for version in (2, 3, 2):
        registry.promote("iris", version)
    # Promoted so far: 1, 2, 3, 2, 3, 2.
    registry.delete_version("iris", 3)
    assert registry.model("iris").previous_version == 1
    assert registry.rollback("iris").default_version == 1


def test_aliases_move_only_when_told(registry: Registry, publish: Publish) -> None:
    publish(alias=("prod", "prod-cn"))
    publish(alias=("canary",))
    assert registry.model("iris").aliases == {"canary": 2, "prod": 1, "prod-cn": 1}
    assert registry.set_alias("iris", "prod", 2).aliases["prod"] == 2
    assert registry.version("iris", 2).aliases == ("canary", "prod")
    assert "prod" not in registry.delete_alias("iris", "prod").aliases
    message = refused(ErrorKind.NOT_FOUND, registry.delete_alias, "iris", "prod")
    assert message == "iris has no alias 'prod'; there are canary and prod-cn"
    publish(alias=("canary",))
    assert registry.model("iris").aliases["canary"] == 3


@pytest.mark.parametrize("alias", ["7", "٣", "../x", "", " prod", "a b", "x" * 129, "prod\n"])
def test_what_cannot_be_an_alias(registry: Registry, publish: Publish, alias: str) -> None:
    publish()
    refused(ErrorKind.INVALID_ARGUMENT, registry.set_alias, "iris", alias, 1)
    with pytest.raises(MaasError):
        publish(alias=(alias,))
    assert registry.model("iris").aliases == {}
    assert len(registry.model("iris").versions) == 1


def test_a_version_with_aliases_is_not_deleted(registry: Registry, publish: Publish) -> None:
    publish(alias=("prod", "stable"))
    message = refused(ErrorKind.FAILED_PRECONDITION, registry.delete_version, "iris", 1)
    assert message == "iris:1 has the alias prod and stable; move or delete them first"
    registry.delete_model("iris")
    assert registry.models().models == ()


def test_unknown_things_are_answered_with_what_exists(registry: Registry, publish: Publish) -> None:
    for number in range(12):
        publish(f"m{number:02}")
    message = refused(ErrorKind.NOT_FOUND, registry.model, "iris")
    assert message.startswith("there is no model 'iris'; there are m00, m01, ")
    assert message.endswith("m09 and 2 more")
    message = refused(ErrorKind.NOT_FOUND, registry.version, "m00", 7)
    assert message == "m00 has no version 7; there are 1"
    for number in (0, -1, 2**63, 10**40):
        refused(ErrorKind.NOT_FOUND, registry.artifact, "m00", number)
        refused(ErrorKind.NOT_FOUND, registry.promote, "m00", number)
        refused(ErrorKind.NOT_FOUND, registry.set_alias, "m00", "prod", number)
        refused(ErrorKind.NOT_FOUND, registry.delete_version, "m00", number)


HOSTILE = [
    "../x",
    "%2e%2e",
    "a/b",
    "",
    " iris",
    "iris/",
    "a\0b",
    "x' OR '1'='1",
    "\ud800",
    "x" * 129,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_a_name_is_refused_everywhere(
    registry: Registry, publish: Publish, home: Path, name: str
) -> None:
    publish()
    calls: list[tuple[Callable[..., object], tuple[object, ...]]] = [
        (publish, ()),
        (registry.find, ("f",)),
        (registry.model, ()),
        (registry.version, (1,)),
        (registry.artifact, (1,)),
        (registry.promote, (1,)),
        (registry.rollback, ()),
        (registry.set_alias, ("prod", 1)),
        (registry.delete_alias, ("prod",)),
        (registry.patch, (1, VersionPatch())),
        (registry.delete_version, (1,)),
        (registry.delete_model, ()),
    ]
    for call, rest in calls:
        refused(ErrorKind.INVALID_ARGUMENT, call, name, *rest)
    assert [model.name for model in registry.snapshot()] == ["iris"]
    assert list((home / "staging").iterdir()) == []


def test_a_route_is_no_name(publish: Publish, home: Path) -> None:
    assert "is a route" in refused(ErrorKind.INVALID_ARGUMENT, publish, "api")
    assert list((home / "artifacts").iterdir()) == []


def test_names_are_normalised_and_then_compared_exactly(
    registry: Registry, publish: Publish
) -> None:
    composed, decomposed = "modèle", unicodedata.normalize("NFD", "modèle")
    assert composed != decomposed
    assert publish(decomposed, alias=(unicodedata.normalize("NFD", "pré"),)).name == composed
    assert publish(composed).version == 2
    assert registry.model(decomposed).aliases == {"pré": 1}
    publish("Iris")
    publish("鸢尾花")
    refused(ErrorKind.NOT_FOUND, registry.model, "iris")
    assert [model.name for model in registry.snapshot()] == ["Iris", composed, "鸢尾花"]


def test_sql_in_a_text_is_text(registry: Registry, publish: Publish) -> None:
    sql = "x'); DROP TABLE versions; --"
    publish(description=sql, tags={sql: sql}, fingerprint=sql)
    found = registry.find("iris", sql)
    assert found is not None
    assert (found.description, found.tags) == (sql, {sql: sql})


def test_models_come_in_pages(registry: Registry, publish: Publish) -> None:
    for name in ("c", "a", "e", "b", "d"):
        publish(name)
    registry.delete_model("d")
    first = registry.models(limit=2)
    assert [model.name for model in first.models] == ["a", "b"]
    second = registry.models(limit=2, cursor=first.cursor)
    assert [model.name for model in second.models] == ["c", "e"]
    assert second.cursor is None
    for limit in (0, -1, 1001):
        refused(ErrorKind.INVALID_ARGUMENT, registry.models, limit)
    refused(ErrorKind.INVALID_ARGUMENT, registry.models, 10, "' OR 1=1")


def test_a_patch_changes_what_it_names(registry: Registry, publish: Publish) -> None:
    publish(description="old", accuracy=0.5, metrics={"f1": 0.4}, tags={"a": "b"})
    changed = registry.patch("iris", 1, VersionPatch(description="", tags={}))
    assert (changed.description, changed.accuracy) == ("", 0.5)
    assert (changed.metrics, changed.tags) == ({"f1": 0.4}, {})
    changed = registry.patch("iris", 1, VersionPatch(accuracy=0.0, metrics={"loss": 2.0}))
    assert (changed.accuracy, changed.metrics) == (0.0, {"loss": 2.0})
    assert registry.version("iris", 1) == changed
    bad = VersionPatch(accuracy=1.5, description="new")
    refused(ErrorKind.INVALID_ARGUMENT, registry.patch, "iris", 1, bad)
    assert registry.version("iris", 1) == changed


def test_publishers_at_once_get_numbers_of_their_own(registry: Registry, publish: Publish) -> None:
    together = threading.Barrier(8)

    def job(number: int) -> int:
        together.wait()
        return int(publish(content=b"%d" % (number % 3), alias=("latest",)).version)

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(job, range(8)))
    assert sorted(numbers) == list(range(1, 9))
    model = registry.model("iris")
    assert [record.version for record in model.versions] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert model.default_version == model.aliases["latest"] == 8


def test_reading_and_changing_from_many_threads(registry: Registry, publish: Publish) -> None:
    for _ in range(4):
        publish()

    def change(number: int) -> None:
        registry.promote("iris", number % 4 + 1)
        registry.set_alias("iris", f"a{number % 3}", number % 4 + 1)
        model = registry.snapshot()[0]
        by_alias = {a: record.version for record in model.versions for a in record.aliases}
        assert by_alias == model.aliases
        assert model.default_version in (1, 2, 3, 4)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(48)))


def test_a_failed_commit_leaves_nothing(
    registry: Registry, home: Path, make_draft: Callable[..., VersionDraft]
) -> None:
    staged = registry.stage()
    (staged / "artifact").mkdir()
    refused(ErrorKind.INTERNAL, registry.commit, staged, make_draft())
    staged = registry.stage()
    (staged / "artifact").mkdir()
    (staged / "artifact" / "model.onnx").symlink_to("/etc/passwd")
    message = refused(ErrorKind.INVALID_ARGUMENT, registry.commit, staged, make_draft())
    assert message == "'model.onnx' is neither a file nor a folder; publish regular files only"
    staged = registry.stage()
    (staged / "artifact").mkdir()
    (staged / "artifact" / "model.onnx").write_bytes(b"x")
    options = PublishOptions(accuracy=2.0)
    refused(ErrorKind.INVALID_ARGUMENT, registry.commit, staged, make_draft(options=options))
    assert list((home / "staging").iterdir()) == []
    assert list((home / "artifacts").iterdir()) == []
    assert registry.snapshot() == ()


def test_the_data_folder_is_the_owners_alone(
    registry: Registry, home: Path, publish: Publish
) -> None:
    publish()
    assert {"registry.db", "registry.db-wal", "staging", "artifacts"} <= {
        path.name for path in home.iterdir() if path.stat().st_mode & 0o077 == 0
    }
    assert home.stat().st_mode & 0o777 == 0o700
    assert registry.stage().stat().st_mode & 0o777 == 0o700


def test_a_model_that_is_unloaded_stays_as_it_is_until_it_is_wanted_again(
    registry: Registry, publish: Publish
) -> None:
    publish(alias=("prod",))
    publish(content=b"two", fingerprint="2")
    before = registry.model("iris")
    gone = registry.unload("iris")
    assert gone.unloaded
    assert registry.unload("iris") == registry.model("iris") == gone
    assert msgspec.structs.replace(gone, unloaded=False) == before
    assert not registry.load("iris").unloaded
    for wanted in (
        lambda: registry.promote("iris", 2),
        lambda: registry.rollback("iris"),
        lambda: publish(content=b"three", fingerprint="3"),
    ):
        registry.unload("iris")
        wanted()
        assert not registry.model("iris").unloaded
    registry.unload("iris")
    registry.delete_model("iris")
    publish(content=b"four", fingerprint="4", promote=False)
    assert not registry.model("iris").unloaded
    for call in (registry.load, registry.unload):
        refused(ErrorKind.NOT_FOUND, call, "nobody")
