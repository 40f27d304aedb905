from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.language import BOS, END, SPECIALS, START, tiny_card, tiny_tokenizer

from maas.core.errors import ErrorKind, MaasError
from maas.runtimes.language.card import LanguageCard
from maas.runtimes.language.tokens import Vocabulary

TEXT = ["Hello world, how are you? Fine.", "你好,世界。", "a  b\n\nc\t<x>", "🙂 é ß"]


def sentencepiece(model: Any) -> Any:
    """As Llama 2's: a space is ▁, unknown characters are bytes, the first space is taken off."""
    from tokenizers import AddedToken, Tokenizer, decoders, normalizers

    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens([AddedToken("<s>", special=True, normalized=False)])
    tokenizer.add_special_tokens([AddedToken("<｜end▁of▁it｜>", special=True, normalized=False)])
    tokenizer.add_tokens([AddedToken("▁▁", normalized=False)])
    return tokenizer


def pieces() -> dict[str, int]:
    texts = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    letters = sorted({*"Helo wrd,hayuFin?.你好世界".replace(" ", "▁")})
    return {text: number for number, text in enumerate([*texts, *letters, "▁▁", "ll"])}


def bpe_with_bytes() -> Any:
    from tokenizers import models

    return sentencepiece(
        models.BPE(pieces(), [("l", "l")], byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )


def unigram() -> Any:
    from tokenizers import models

    scores = [(text, -float(number)) for text, number in pieces().items()]
    return sentencepiece(models.Unigram(scores, unk_id=0, byte_fallback=True))


def metaspace() -> Any:
    """As T5's: no bytes."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    scores = [(text, -float(number)) for text, number in pieces().items() if text[:3] != "<0x"]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken("</s>", special=True, normalized=False)])
    return tokenizer


MAKERS: dict[str, Callable[[], Any]] = {
    "qwen2": tiny_tokenizer,
    "llama-bpe": lambda: tiny_tokenizer("llama-bpe"),
    "bpe": bpe_with_bytes,
    "unigram": unigram,
    "metaspace": metaspace,
}


def card(size: int, **others: Any) -> LanguageCard:
    fields = {"vocabulary": size, "end_tokens": (), "bos_token": None, "control_tokens": ()}
    return tiny_card(**fields | others)


def vocabulary(folder: Path, tokenizer: Any, size: int | None = None) -> Vocabulary:
    tokenizer.save(str(folder / "tokenizer.json"))
    return Vocabulary(folder / "tokenizer.json", card(size or tokenizer.get_vocab_size()))


@pytest.fixture(scope="module", params=MAKERS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tokenizer, and the vocabulary made of it."""
    tokenizer = MAKERS[request.param]()
    return tokenizer, vocabulary(tmp_path_factory.mktemp("t"), tokenizer)


def written(words: Vocabulary, tokens: list[int]) -> str:
    return b"".join(map(words.bytes_of, tokens)).decode(errors="replace")


TEXTS = st.text(
    st.sampled_from("Hello wrd,hayuFin?.你好世界🙂é \n\t<>|")
    | st.characters(exclude_categories=["Cs"]),
    max_size=40,
)


@settings(deadline=None)
@given(text=TEXTS)
def test_writes_what_the_tokenizer_does(pair: Any, text: str) -> None:
    tokenizer, words = pair
    tokens = tokenizer.encode(text, add_special_tokens=False).ids
    assert words.encode(text, special=True) == tokens
    wanted = tokenizer.decode(tokens, skip_special_tokens=False)
    made = written(words, tokens)
    assert made == wanted or (made[:1] == " " and made[1:] == wanted)  # its first space goes


@settings(deadline=None)
@given(numbers=st.lists(st.integers(0, 250), max_size=30), data=st.data())
def test_writes_any_whole_characters_as_the_tokenizer_does(
    pair: Any, numbers: list[int], data: Any
) -> None:
    tokenizer, words = pair
    tokens = [data.draw(st.integers(0, words.size - 1)) for _ in numbers]
    try:
        made = b"".join(map(words.bytes_of, tokens)).decode()
    except UnicodeDecodeError:
        return
    wanted = tokenizer.decode(tokens, skip_special_tokens=False)
    if "｜" not in made:  # a control token of that name is written as it is called
        assert made.lstrip(" ") == wanted.lstrip(" ")


def test_control_tokens_in_a_text_are_characters(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    words = vocabulary(tmp_path, tokenizer)
    text = f"a{START}user{END}{BOS}"
    known = words.encode(text, special=True)
    plain = words.encode(text, special=False)
    assert [t for t in known if words.bytes_of(t).decode() in SPECIALS] == [
        tokenizer.token_to_id(t) for t in (START, END, BOS)
    ]
    assert not {tokenizer.token_to_id(t) for t in (START, END, BOS)} & set(plain)
    assert written(words, plain) == written(words, known) == text
    ordinary = "how are you <tool_call>"
    assert words.encode(ordinary, special=False) == words.encode(ordinary, special=True)


def test_no_token_is_added(tmp_path: Path) -> None:
    from tokenizers import processors

    tokenizer = tiny_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=50)
    words = vocabulary(tmp_path, tokenizer)
    assert written(words, words.encode("how are you", special=True)) == "how are you"
    assert written(words, words.encode("how are you", special=False)) == "how are you"


def test_gaps_between_numbers_are_refused(tmp_path: Path) -> None:
    document = json.loads(tiny_tokenizer().to_str())
    for token in document["added_tokens"]:
        token["id"] += 100
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(document))
    with pytest.raises(MaasError, match=r"'<\|endoftext\|>' a number with a gap before it"):
        Vocabulary(file, card(700))


def test_a_model_with_more_tokens_has_some_without_text(tmp_path: Path) -> None:
    words = vocabulary(tmp_path, tiny_tokenizer(), 1000)
    assert words.size == 1000
    assert words.bytes_of(999) == b""


def test_a_model_with_fewer_refuses_texts_that_take_others(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    words = vocabulary(tmp_path, tokenizer, tokenizer.token_to_id(START))
    assert written(words, words.encode("hello", special=True)) == "hello"
    with pytest.raises(MaasError, match="takes a token") as caught:
        words.encode(START, special=True)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_half_a_surrogate_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaasError, match="not valid Unicode"):
        vocabulary(tmp_path, tiny_tokenizer()).encode("a\ud800", special=True)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"model": 5}', '{"version": "1.0", "model": {"type": "Magic"}}', "\0"]
)
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(text)
    with pytest.raises(MaasError, match=r"tokenizer\.json is no tokenizer") as caught:
        Vocabulary(file, card(10))
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert str(tmp_path) not in caught.value.message


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaasError, match=r"no tokenizer\.json"):
        Vocabulary(tmp_path / "tokenizer.json", card(10))


def test_another_way_to_write_is_refused(tmp_path: Path) -> None:
    from tokenizers import decoders

    tokenizer = tiny_tokenizer()
    tokenizer.decoder = decoders.WordPiece()
    with pytest.raises(MaasError, match="'WordPiece', which is not known here"):
        vocabulary(tmp_path, tokenizer)


def test_the_end_of_a_word_is_a_space(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models

    tokenizer = Tokenizer(models.BPE({"a": 0, "b</w>": 1}, []))
    tokenizer.decoder = decoders.BPEDecoder()
    words = vocabulary(tmp_path, tokenizer)
    assert written(words, [0, 1, 0]) == "ab a"
    assert written(
        vocabulary(tmp_path, Tokenizer(models.BPE({"a": 0, "<0x41>": 1}, []))), [0, 1]
    ) == ("a<0x41>")


def test_a_pattern_that_goes_back_for_ever_is_an_error_of_the_text(tmp_path: Path) -> None:
    document = json.loads(tiny_tokenizer().to_str())
    document["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": "(a+)+$"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    words = Vocabulary(tmp_path / "tokenizer.json", tiny_card())
    with pytest.raises(MaasError) as caught:
        words.encode("a" * 60 + "b", special=True)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert caught.value.message == "the model's tokenizer cannot cut this text; send another"
    assert words.encode("Hello", special=True)


def test_a_token_that_writes_a_book_is_refused(tmp_path: Path) -> None:
    document = json.loads(tiny_tokenizer().to_str())
    document["decoder"] = {"type": "Replace", "pattern": {"String": "a"}, "content": "b" * 100_000}
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(MaasError, match="bytes for token") as caught:
        Vocabulary(tmp_path / "tokenizer.json", tiny_card())
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_a_normalizer_that_makes_a_book_of_a_word_is_refused(tmp_path: Path) -> None:
    step = {"type": "Replace", "pattern": {"String": "€"}, "content": "€" * 20}
    document = json.loads(tiny_tokenizer().to_str())
    for steps, refused in ((1, False), (2, True)):
        document["normalizer"] = {"type": "Sequence", "normalizers": [step] * steps}
        (tmp_path / "tokenizer.json").write_text(json.dumps(document))
        if not refused:
            Vocabulary(tmp_path / "tokenizer.json", tiny_card())
            continue
        with pytest.raises(MaasError, match="400 times as long") as caught:
            Vocabulary(tmp_path / "tokenizer.json", tiny_card())
        assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
