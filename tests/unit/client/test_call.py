from __future__ import annotations

import pytest

from maas.client import api
from maas.client.call import opaque, reader, segment
from maas.core.errors import ErrorKind, MaasError
from maas.core.records import Page, VersionPatch


def test_names_are_percent_encoded() -> None:
    assert api.model("鸢尾花").path == "/api/models/%E9%B8%A2%E5%B0%BE%E8%8A%B1"


@pytest.mark.parametrize("name", ["../keys", "a/b", "", ".", "..", "a b", "%2e%2e", "a\0", "a?b"])
def test_names_that_would_change_the_path_are_refused(name: str) -> None:
    for build in (api.model, api.rollback, lambda n: api.alias("iris", n, 1), segment):
        with pytest.raises(MaasError) as caught:
            build(name)
        assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_ids_are_opaque_but_stay_one_segment() -> None:
    assert opaque("_a/../b", "key id") == "_a%2F..%2Fb"
    for wrong in ("", ".", ".."):
        with pytest.raises(MaasError):
            opaque(wrong, "key id")


@pytest.mark.parametrize("number", [-1, True, 1.5, "3"])
def test_a_version_is_a_number(number: object) -> None:
    with pytest.raises(MaasError, match="not a version"):
        api.version("iris", number)  # type: ignore[arg-type]


def test_a_role_there_is_not_is_refused_with_those_there_are() -> None:
    with pytest.raises(MaasError, match="owner, operator, publisher, caller"):
        api.create_key("a", "root")


def test_bodies() -> None:
    assert api.deploy("iris", {3: 100}).body == b'{"traffic":{"3":100}}'
    assert api.alias("iris", "prod", 2).body == b'{"version":2}'
    patch = api.patch("iris", 1, VersionPatch(description="d"))
    assert patch.body == b'{"description":"d","accuracy":null,"metrics":null,"tags":null}'


def test_an_answer_of_another_program_is_refused() -> None:
    with pytest.raises(MaasError, match="check that the URL") as caught:
        reader(Page)(b'{"hello": "world"}')
    assert caught.value.kind is ErrorKind.INTERNAL


def test_paging_ends_where_a_server_repeats_its_cursor() -> None:
    flow = api.models()
    first = next(flow)
    assert first.params == (("limit", "200"),)
    second = flow.send(Page((), "c"))
    assert second.params == (("limit", "200"), ("cursor", "c"))
    with pytest.raises(StopIteration):
        flow.send(Page((), "c"))
