from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.language import tiny_card

from maas.core.errors import ErrorKind, MaasError
from maas.runtimes.language.card import CARD, LanguageCard, read_card, write_card

SHORT = LanguageCard("llama", 5, "Q8_0", 128, 10, (), None, False)


def refusal(folder: Path) -> str:
    with pytest.raises(MaasError) as caught:
        read_card(folder)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert str(folder) not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("card", [tiny_card(), tiny_card("llama", tool_format=""), SHORT])
def test_comes_back_as_it_was_written(tmp_path: Path, card: LanguageCard) -> None:
    write_card(tmp_path, card)
    assert read_card(tmp_path) == card


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    assert "language.json" in refusal(tmp_path)
    (tmp_path / CARD).mkdir()
    assert "language.json" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no card"),
        ("[]", "no card"),
        ("{}", "missing required field"),
        ('{"architecture": 5}', "Expected `str`"),
        ("[" * 5000, "no card"),
        (" " * (9 << 20), "larger than"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / CARD).write_text(text)
    assert says in refusal(tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"end_tokens": (0, 10)}, "the token 10, and the vocabulary ends at 9"),
        ({"control_tokens": (-1,)}, "the token -1"),
        ({"bos_token": 10}, "the token 10"),
        ({"vocabulary": 0}, "no vocabulary"),
        ({"context_tokens": 0}, "no context"),
    ],
)
def test_a_card_that_cannot_be_is_refused(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    write_card(tmp_path, msgspec.structs.replace(SHORT, **changes))
    assert says in refusal(tmp_path)
