"""Vocabularies of GGUFs as tokenizer.json: the same tokens as llama.cpp's own reading gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from maas.core.errors import MaasError
from maas.publish.gguf_scan import scan_gguf
from maas.publish.language_pretokenizers import PRE_TOKENIZERS
from maas.publish.language_tokenizer import SPACE, make_tokenizer, read_tokens

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>")
TEXTS = (
    *("", "a", "hello world", "Hello, how are you?", "  leading", "trailing  ", "a  b   c    d"),
    *("\n", "\n\n", "a\nb\r\nc", "\t tab\t", "\r", "\r\n\r\n", "  \n  \n x", "\n" * 7, " " * 20),
    *("你好,世界", "今天天气怎么样?", "你好 world 你好", "日本語のテキスト", "한국어 텍스트"),
    *("😀", "👩‍👩‍👧‍👦 family", "😀😀😀 ok", "é è ê", "naïve café", "Ünïcödé", "½ ² ³", "ſ K"),
    *("123", "1234567890", "3.14159", "1,000,000", "def f(x):\n    return x + 1\n", '{"a": [1]}'),
    *("don't I'll we've you're he'd DON'T I'LL", "!!!???...", "a.b.c", "C++ & C#", "…—–“”‘’"),
    *("http://example.com/x?y=1&z=2", "snake_case camelCase", "x" * 50, "the the the the"),
    *("ΑΒΓ αβγ", "Привет, мир", "مرحبا بالعالم", "שלום", "ไทย", "\u200b zero", "\ufeffbom"),
    *("\u00a0nbsp\u00a0", "tab\tend", "[INST] hi [/INST]", "a▁b", "▁under", "<0x41>"),
    *("<|im_start|>user\nhi<|im_end|>", "<|endoftext|>", "<tool_call>{}</tool_call>"),
    *("<|im_start|> <|im_end|>\n<|im_start|>", "x<|im_end|>y", " <|im_end|> "),
)
MARKED = ("हिन्दी", "e\u0301")
"""Marks that belong to letters: llama.cpp's patterns for some families know none."""
LOOK_ALIKES = ("<s>", "</s>", "<unk>")
"""llama.cpp's merges take these for control tokens, which a plain text must never be."""
SCORED = ("llama", "gemma")
"""Vocabularies that merge by scores: there the same happens to <|im_start|> and its like."""

ASK = """
import json, socket, http.client, sys, tempfile, xllamacpp
answers = []
for path, texts in json.load(sys.stdin):
    folder = tempfile.mkdtemp(dir=sys.argv[1])
    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.n_ctx, parameters.n_parallel = path, 256, 1
    parameters.cpuparams.n_threads, parameters.warmup, parameters.verbosity = 1, False, -1
    parameters.hostnames = [folder + "/s.sock"]
    server = xllamacpp.Server(parameters)
    found = []
    for text in texts:
        for special in (True, False):
            line = http.client.HTTPConnection("localhost")
            line.sock = socket.socket(socket.AF_UNIX)
            line.sock.connect(folder + "/s.sock")
            body = {"content": text, "add_special": False, "parse_special": special}
            line.request("POST", "/tokenize", json.dumps(body))
            found.append(json.loads(line.getresponse().read())["tokens"])
            line.close()
    answers.append(found)
json.dump(answers, sys.stdout)
"""


def write(path: Path, architecture: str, describe) -> Path:
    """A model of one block, with the vocabulary that `describe` writes."""
    writer = gguf.GGUFWriter(path, architecture)
    count = describe(writer)
    writer.add_context_length(256)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(count)
    names = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes = {f"blk.0.{name}.weight": (32, 32) for name in names}
    shapes |= {"blk.0.attn_norm.weight": (32,), "blk.0.ffn_norm.weight": (32,)}
    for name, shape in {
        "token_embd.weight": (count, 32), "output_norm.weight": (32,), **shapes
    }.items():  # fmt: skip
        writer.add_tensor(name, np.ones(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def trained(tokenizer: Tokenizer, alphabet: list[str], texts: list[str]) -> dict:
    # Learned without cutting, so that tokens reach across what the patterns cut.
    trainer = trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=alphabet, show_progress=False, max_token_length=6
    )
    tokenizer.train_from_iterator(texts, trainer)
    return json.loads(tokenizer.to_str())["model"]


def byte_level(path: Path, pre: str) -> Path:
    def describe(writer: gguf.GGUFWriter) -> int:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        corpus = [text for text in (*TEXTS, *MARKED) if text] * 2
        model = trained(tokenizer, sorted(pre_tokenizers.ByteLevel.alphabet()), corpus)
        tokens = sorted(model["vocab"], key=model["vocab"].get)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        types = [1] * len(tokens) + [3, 3, 3, 4, 4]
        writer.add_token_types(types)
        writer.add_token_list([*tokens, *SPECIALS])
        writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
        writer.add_bos_token_id(len(tokens))
        writer.add_eos_token_id(len(tokens) + 2)
        return len(types)

    return write(path, "llama", describe)


def sentence_pieces(path: Path, *, prefix: bool) -> Path:
    def describe(writer: gguf.GGUFWriter) -> int:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.Replace(" ", SPACE)
        vocabulary = trained(tokenizer, [], [f" {text}" for text in TEXTS if text] * 2)["vocab"]
        learned = sorted(vocabulary, key=vocabulary.get)
        learned.sort(key=lambda text: len(text) == 1)  # stable: longer ones first, as learned
        users = ["<tool_call>", " " * 7]
        tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
        types = [2, 3, 3] + [6] * 256
        scores = [0.0] * len(tokens) + [-float(at) for at in range(len(learned))]
        tokens += [*learned, *users, *SPECIALS[1:3]]
        types += [1] * len(learned) + [4] * 2 + [3] * 2
        writer.add_tokenizer_model("llama")
        writer.add_token_list([token.encode() for token in tokens])
        writer.add_token_types(types)
        writer.add_token_scores(scores + [-1000.0] * 4)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        writer.add_add_space_prefix(prefix)
        return len(tokens)

    return write(path, "llama", describe)


def converted(path: Path) -> Tokenizer:
    metadata = scan_gguf(path).metadata
    return Tokenizer.from_str(make_tokenizer(metadata, read_tokens(metadata)))


FAMILIES = ("qwen2", "llama-bpe", "gpt-2", "tekken", "gpt-4o", "deepseek-v3", "falcon", "default")


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Every vocabulary with the texts that it is held to, and llama.cpp's tokens of these."""
    folder = tmp_path_factory.mktemp("v")
    made: dict[str, tuple[Path, tuple[str, ...]]] = {}
    for pre in (*FAMILIES, "smollm", "deepseek-coder"):
        more = () if pre in ("tekken", "gpt-4o") else MARKED
        made[pre] = (byte_level(folder / f"{pre}.gguf", pre), (*TEXTS, *more, *LOOK_ALIKES[:1]))
    for name, prefix in (("llama", True), ("gemma", False)):
        path = sentence_pieces(folder / f"{name}.gguf", prefix=prefix)
        made[name] = (path, TEXTS)
    ask = json.dumps([(str(path), texts) for path, texts in made.values()])
    told = subprocess.run(
        [sys.executable, "-c", ASK, str(folder)], input=ask, capture_output=True, text=True,
        check=True, timeout=300,
    )  # fmt: skip
    answers = json.loads(told.stdout[told.stdout.index("[[") :])
    return {
        name: (path, texts, found)
        for (name, (path, texts)), found in zip(made.items(), answers, strict=True)
    }


@pytest.mark.parametrize("name", [*FAMILIES, "smollm", "deepseek-coder", "llama", "gemma"])
def test_texts_have_llama_cpps_tokens(asked, name):
    path, texts, answers = asked[name]
    tokenizer = converted(path)
    expected = iter(answers)
    for text in texts:
        for special in (True, False):
            tokenizer.encode_special_tokens = not special
            found, wanted = tokenizer.encode(text, add_special_tokens=False).ids, next(expected)
            if special or name not in SCORED or "<|im_" not in text:
                assert found == wanted, (text, special)


@pytest.mark.parametrize("name", ["qwen2", "llama", "gemma"])
def test_texts_come_back_whole(asked, name):
    tokenizer = converted(asked[name][0])
    tokenizer.encode_special_tokens = True
    for text in (*TEXTS, *MARKED, *LOOK_ALIKES):
        tokens = tokenizer.encode(text, add_special_tokens=False).ids
        # To SentencePiece that sign is a space, and one stands behind each control token.
        if name == "qwen2" or (SPACE not in text and "<tool_call>" not in text):
            assert tokenizer.decode(tokens, skip_special_tokens=False) == text


def test_a_plain_text_is_never_a_control_token(asked):
    for name in ("qwen2", "llama", "gemma"):
        tokenizer = converted(asked[name][0])
        tokenizer.encode_special_tokens = True
        for text in (*LOOK_ALIKES, *SPECIALS[:3]):
            assert len(tokenizer.encode(text, add_special_tokens=False).ids) > 1


@pytest.fixture
def metadata(asked):
    return dict(scan_gguf(asked["qwen2"][0]).metadata)


LIST = "tokenizer.ggml."


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "t5"}, "is of the kind 't5'"),
        ({"model": ""}, "is missing"),
        ({"tokens": []}, "has no tokens"),
        ({"tokens": np.arange(3)}, "expected a list of texts"),
        ({"token_type": np.array([1, 2])}, "not one type for each token"),
        ({"token_type": ["1"]}, "not one type for each token"),
        ({"bos_token_id": 1 << 20}, "bos_token_id is 1048576"),
        ({"eos_token_id": -1}, "eos_token_id is -1"),
        ({"pre": "unheard-of"}, "cuts texts as 'unheard-of' does"),
        ({"pre": 7}, "no proper 'tokenizer.ggml.pre'"),
        ({"merges": ["a"]}, "merge 'a' is not of its own tokens"),
        ({"merges": ["a 你"]}, "is not of its own tokens"),
        ({"merges": [" a"]}, "is not of its own tokens"),
        ({"merges": [""]}, "merge '' is not"),
        ({"model": "llama"}, "not one score for each token"),
        ({"add_bos_token": 3}, "expected true or false"),
    ],
)
def test_vocabularies_that_cannot_be_read(metadata, changes, said):
    metadata.update({LIST + name: value for name, value in changes.items()})
    with pytest.raises(MaasError) as refused:
        make_tokenizer(metadata, read_tokens(metadata))
    assert said in refused.value.message


def test_tokens_that_are_the_same_or_empty(metadata):
    for text, said in (("", "token 3 of the GGUF is empty"), ("#", "is the same as token 2")):
        tokens = list(metadata[LIST + "tokens"])
        tokens[3] = text
        metadata[LIST + "tokens"] = tokens
        with pytest.raises(MaasError, match=said):
            make_tokenizer(metadata, read_tokens(metadata))


def scored(tokens: list[str], **more) -> dict:
    scores = -np.arange(len(tokens), dtype=np.float32)
    return {LIST + "model": "llama", LIST + "tokens": tokens, LIST + "scores": scores, **more}


def test_tokens_that_are_made_of_others_in_too_many_ways():
    letters = [chr(0x4E00 + at) for at in range(8)]
    nested = scored([letter * length for letter in letters for length in range(1, 257)])
    with pytest.raises(MaasError, match="in too many ways"):
        make_tokenizer(nested, read_tokens(nested))
    long = scored(["a", "b" * 257])
    with pytest.raises(MaasError, match="has 257 characters"):
        make_tokenizer(long, read_tokens(long))


def test_scores_that_are_no_numbers():
    broken = scored(["a", "b", "ab"], **{LIST + "scores": np.array([0, 1, np.nan], np.float32)})
    with pytest.raises(MaasError, match="a score is no number"):
        make_tokenizer(broken, read_tokens(broken))


def test_end_marks_that_are_typed_as_words_are_control_tokens(metadata):
    metadata.pop(LIST + "token_type")
    tokens = read_tokens(metadata)
    assert tokens.types[tokens.texts.index("<|im_end|>")] == 3
    assert tokens.types[tokens.texts.index("<tool_call>")] == 1


def test_who_begins_with_a_bos(metadata):
    assert not read_tokens(metadata).add_bos
    metadata[LIST + "pre"] = "llama-bpe"
    assert read_tokens(metadata).add_bos
    metadata[LIST + "add_bos_token"] = False
    assert not read_tokens(metadata).add_bos
    assert PRE_TOKENIZERS["tekken"].add_bos
