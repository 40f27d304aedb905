from __future__ import annotations

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import (
    RESERVED_NAMES,
    ModelRef,
    ServableId,
    check_name,
    check_publish_name,
    parse_ref,
    parse_version,
)

NAMES = ["iris", "a", "9", "Iris-2.1_b", "x" * 128, "v1.0", "模型", "文本分类-3", "модель", "نموذج",
         "モデル", "모델", "größe", "ÉTÉ", "μοντέλο", "מודל", "แบบจำลอง"]  # fmt: skip
MARKED = ["मॉडल", "மாதிரி", "মডেল", "รุ่น"]
"""Hindi, Tamil and Bengali for "model", Thai for "version": their vowels are combining marks."""
ATTACKS = [
    "", ".", "..", "../", "../etc/passwd", "a/b", "a\\b", "%2e%2e", "%252e%252e", "iris\x00",
    "\x00", "file:///etc/passwd", " iris", "iris ", "iris/", "iris\n", "iris\r\n", "\tiris",
    "_iris", "-iris", ".iris", "x" * 129, "a b", "a:b", "a@b", "a?b", "a#b", "<script>", "'a'",
    "a;b", "${a}", "\u202eabc", "\ufeffabc", "a\u200bb", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_may_be_in_any_script(name: str) -> None:
    assert check_name(name) == name
    assert check_publish_name(name) == name


@pytest.mark.parametrize("name", MARKED)
def test_a_name_may_be_in_a_script_whose_vowels_are_marks(name: str) -> None:
    assert check_name(name) == name


def test_names_are_compared_in_nfc() -> None:
    assert check_name("e\u0301") == check_publish_name("e\u0301") == "\u00e9"
    assert parse_ref("e\u0301@e\u0301") == ModelRef("\u00e9", alias="\u00e9")


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_no_name_is_refused(name: str) -> None:
    for check in (check_name, check_publish_name, parse_ref):
        if check is parse_ref and name in ("a:b", "a@b"):
            continue
        with pytest.raises(MaasError) as caught:
            check(name)
        assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_the_refusal_says_what_a_name_is_and_does_not_repeat_a_long_one() -> None:
    with pytest.raises(MaasError) as caught:
        check_name("/" * 5000)
    assert "1 to 128 letters, digits" in caught.value.message
    assert len(caught.value.message) < 200
    with pytest.raises(MaasError, match=r"is not an? alias"):
        check_name("../", "alias")


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_a_route_is_no_models_name(name: str) -> None:
    with pytest.raises(MaasError, match="is a route of this server"):
        check_publish_name(name)
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("iris", ModelRef("iris")),
        ("iris:3", ModelRef("iris", version=3)),
        ("iris:0", ModelRef("iris", version=0)),
        ("iris@prod", ModelRef("iris", alias="prod")),
        ("模型@生产", ModelRef("模型", alias="生产")),
        ("iris@3", ModelRef("iris", alias="3")),
    ],
)
def test_a_reference_reads_and_writes(text: str, ref: ModelRef) -> None:
    assert parse_ref(text) == ref
    assert str(ref) == text


@pytest.mark.parametrize(
    "text",
    ["iris:", ":3", "@prod", "iris@", "iris:x", "iris:-1", "iris:1.0", "iris:3:4", "iris@a:3",
     "iris@a@b", "iris:3@prod", "iris: 3", "iris:３", "iris:" + "9" * 19, "../:3", "iris@../"],
)  # fmt: skip
def test_a_malformed_reference_is_refused(text: str) -> None:
    with pytest.raises(MaasError) as caught:
        parse_ref(text)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize("text", ["", "+1", "-1", " 1", "1 ", "1_0", "0x1", "١", "1\n", "1e3"])
def test_a_version_is_ascii_digits_only(text: str) -> None:
    with pytest.raises(MaasError, match="expected digits only"):
        parse_version(text)


def test_servables_sort_by_name_and_number() -> None:
    found = sorted([ServableId("b", 1), ServableId("a", 10), ServableId("a", 9)])
    assert [str(one) for one in found] == ["a:9", "a:10", "b:1"]
