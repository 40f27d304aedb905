"""Versions with numbers of their own: an imported folder keeps its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.records import PublishOptions
from maas.registry import Registry, VersionDraft
from maas.registry.drafts import MAX_NUMBER

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@pytest.fixture
def put(registry: Registry, make_draft: Callable[..., VersionDraft]) -> Callable[..., Any]:
    """Commits content under a number, or under the next one."""

    def put(number: int | None, digest: str = ONE, name: str = "iris", **options: Any) -> Any:
        staged = registry.stage()
        (staged / "artifact").mkdir()
        (staged / "artifact" / "model.onnx").write_bytes(digest.encode())
        said = PublishOptions(version=number, **options)
        fingerprint = f"{digest} {number}"
        draft = make_draft(name, digest=digest, fingerprint=fingerprint, options=said)
        return registry.commit(staged, draft)

    return put


def test_a_version_keeps_the_number_it_is_given(registry: Registry, put: Any) -> None:
    assert put(7).version == 7
    assert put(3).version == 3
    assert put(None, TWO).version == 8
    assert [version.version for version in registry.model("iris").versions] == [8, 7, 3]
    assert registry.numbered("iris", 7, ONE) == registry.version("iris", 7)
    assert registry.numbered("iris", 4, ONE) is None
    assert registry.numbered("digits", 4, ONE) is None


def test_a_number_means_the_same_content_for_ever(registry: Registry, put: Any) -> None:
    put(3)
    for ask in (lambda: registry.numbered("iris", 3, TWO), lambda: put(3, TWO)):
        with pytest.raises(MaasError, match="iris:3 exists with other content") as caught:
            ask()
        assert caught.value.kind is ErrorKind.ALREADY_EXISTS
    registry.delete_version("iris", 3)
    with pytest.raises(MaasError, match="iris:3 was other content before"):
        put(3, TWO)
    assert put(3).version == 3
    registry.delete_model("iris")
    with pytest.raises(MaasError, match="was other content before"):
        registry.numbered("iris", 3, TWO)
    assert put(3).version == 3
    assert put(None, TWO).version == 4
    assert len(list(registry._artifacts._staging.iterdir())) == 0


def test_a_number_that_exists_is_not_committed_twice(registry: Registry, put: Any) -> None:
    put(3)
    with pytest.raises(MaasError, match="published by somebody else"):
        put(3)


@pytest.mark.parametrize("number", [0, -1, MAX_NUMBER + 1])
def test_numbers_have_a_range(put: Any, number: int) -> None:
    with pytest.raises(MaasError, match="out of range"):
        put(number)
    assert put(MAX_NUMBER).version == MAX_NUMBER
    assert put(None, TWO).version == MAX_NUMBER + 1
