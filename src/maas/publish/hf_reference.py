"""What transformers says of a model, as published and as lowered: the reference of the proof.

One model in memory: it speaks and judges with the published weights, takes those of the lowered
form in their place, and judges the same texts again.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.publish.hf_folder import HfFolder
from maas.runtimes.language.tokens import Vocabulary
from maas.runtimes.language.transformers_model import libraries
from maas.runtimes.wording import one_sentence

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEXTS = (
    "The capital of France is Paris, and the capital of Japan",
    "Water boils at a lower temperature on a mountain because",
    "def add(a, b):\n    return a + b\n\nprint(add(2",
    "Once upon a time there was a small village by the sea",
    "To be published, a model needs a name, a signature and",
    '{"name": "weather", "arguments": {"city": "Oslo", "days":',
    "The three primary colours are red, yellow and blue, while",
    "Dear Sir or Madam, thank you very much for your letter of",
    "中国的首都是北京,日本的首都是东京,法国的首都",
    "今天天气很好,我们一起去公园散步,然后",
    "水在高山上沸腾的温度比较低,因为",
    "从前有一个小村庄,村子里住着一位老人",
    "机器学习模型发布以后,所有的应用都可以",
    "请用一句话介绍一下你自己,谢谢你的回答",
    "学而时习之,不亦说乎?有朋自远方来",
    "春天来了,花开了,孩子们都在外面玩",
)
"""Beginnings in two languages, and code: a proof in a model's own words must begin somewhere."""
MISSING = (
    "a Hugging Face folder is proven against transformers, which is not installed here; "
    "install it with: pip install 'maas-server[transformers]', or publish a GGUF"
)
LONGEST_BEGINNING = 12
FLOAT32_BYTES = 6 << 30
"""Where the weights take more as float32, the reference computes in bfloat16."""
ROWS = 4
"""Texts that are judged at once: their logits are the largest thing in memory."""


class Effort(Struct, frozen=True):
    """How much is proven: less of larger models, which take their time.

    Args:
        beginnings: texts.
        tokens: that each goes on for.
        long: tokens of one long beginning: errors in positions grow with them.
    """

    beginnings: int
    tokens: int
    long: int


class Judged(Struct, frozen=True):
    """What a model makes of texts: an entry for each token that continues a beginning.

    Args:
        likeliest: int64 `[texts, tokens]`: the token that it would have written there.
        margin: float32 `[texts, tokens]`: by how much that one's logit exceeds the next one's.
        logprob: float32 `[texts, tokens]`: natural logarithm of the probability of the text's own.
    """

    likeliest: NDArray[np.int64]
    margin: NDArray[np.float32]
    logprob: NDArray[np.float32]


class Spoken(Struct, frozen=True):
    """Texts with one length of beginnings and of continuations.

    Args:
        texts: int64 `[texts, length]`.
        begun: tokens of each beginning.
        judged: by the model that continued them.
    """

    texts: NDArray[np.int64]
    begun: int
    judged: Judged


def effort_for(parameters: int) -> Effort:
    """How much of a model of this size is proven."""
    if parameters <= 600_000_000:
        return Effort(16, 32, 512)
    if parameters <= 2_000_000_000:
        return Effort(8, 24, 256)
    return Effort(4, 16, 256) if parameters <= 4_000_000_000 else Effort(2, 8, 128)


def beginnings(vocabulary: Vocabulary, count: int) -> list[list[int]]:
    """Beginnings of one length, in the vocabulary's own tokens."""
    found = []
    for text in TEXTS[:: max(len(TEXTS) // count, 1)][:count]:
        try:
            found.append(vocabulary.encode(text, special=False))
        except MaasError:
            continue  # a token that the model does not have
    found = [tokens for tokens in found if tokens] or [[vocabulary.size // 2]]
    length = min(LONGEST_BEGINNING, *map(len, found)) if len(found) > 1 else 1
    return [tokens[:length] for tokens in found]


def long_beginning(vocabulary: Vocabulary, most: int) -> list[int]:
    """One long beginning, of so many tokens."""
    whole: list[int] = []
    for tokens in beginnings(vocabulary, len(TEXTS)):
        whole += tokens
    return (whole * (most // len(whole) + 1))[:most]


class Reference:
    """A model in transformers.

    Args:
        source: the published folder, read and checked.
        threads: of one operation.

    Raises:
        MaasError: FAILED_PRECONDITION where transformers is not installed; INVALID_ARGUMENT where
            it cannot load the model.
    """

    def __init__(self, source: HfFolder, threads: int):
        self._torch, transformers = libraries(threads, MISSING)
        narrow = 4 * source.parameters > FLOAT32_BYTES
        self.precision = "bfloat16" if narrow else "float32"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._model = transformers.AutoModelForCausalLM.from_pretrained(
                    str(source.folder),
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                    dtype=getattr(self._torch, self.precision),
                ).eval()
        except MemoryError:
            raise
        except Exception as error:
            raise MaasError(
                ErrorKind.INVALID_ARGUMENT,
                f"transformers cannot load the model: {one_sentence(error)}",
            ) from error

    def speak(self, starts: Sequence[list[int]], tokens: int, greedy: int) -> Spoken:
        """Continues beginnings of one length.

        Args:
            starts: the beginnings.
            tokens: that each goes on for.
            greedy: how many of them, the first, go on with the likeliest tokens; the others as
                likely as the model finds them, with a fixed seed.

        Raises:
            MaasError: INVALID_ARGUMENT where it answers with no numbers.
        """
        torch = self._torch
        random = torch.Generator().manual_seed(0)
        whole = torch.tensor(list(starts))
        memory, new, steps = None, whole, []
        with torch.inference_mode():
            for _ in range(tokens):
                answer = self._model(
                    input_ids=new, past_key_values=memory, use_cache=True, logits_to_keep=1
                )
                memory, logits = answer.past_key_values, answer.logits[:, -1].float()
                if not torch.isfinite(logits).all():
                    raise invalid(
                        "the model answers with numbers that are infinite or none; its weights are "
                        "damaged: save or download it again"
                    )
                new = logits.argmax(-1, keepdim=True)
                if greedy < len(starts):
                    likely = logits[greedy:].softmax(-1)
                    new[greedy:] = torch.multinomial(likely, 1, generator=random)
                steps.append(_judged(logits, new))
                whole = torch.cat((whole, new), dim=1)
        parts = (np.stack(part, axis=1) for part in zip(*steps, strict=True))
        return Spoken(np.asarray(whole.numpy()), len(starts[0]), Judged(*parts))

    def judge(self, spoken: Spoken) -> Judged:
        """Says what it would have written in the place of each token of a continuation."""
        torch = self._torch
        tokens = spoken.texts.shape[1] - spoken.begun
        found = []
        with torch.inference_mode():
            for first in range(0, len(spoken.texts), ROWS):
                ids = torch.from_numpy(spoken.texts[first : first + ROWS])
                answer = self._model(input_ids=ids, use_cache=False, logits_to_keep=tokens + 1)
                found.append(_judged(answer.logits[:, :-1].float(), ids[:, -tokens:, None]))
        return Judged(*(np.concatenate(part) for part in zip(*found, strict=True)))

    def take(self, weights: Iterator[tuple[str, Iterator[NDArray[np.float32]]]]) -> None:
        """Takes other weights in the place of its own.

        Args:
            weights: by their names in the folder, the rows of each some at a time.
        """
        torch = self._torch
        own = dict(self._model.named_parameters())
        with torch.inference_mode():
            for name, parts in weights:
                at = 0
                for rows in parts:
                    own[name][at : at + len(rows)] = torch.tensor(rows)
                    at += len(rows)

    def close(self) -> None:
        """Lets go of the weights."""
        self._model = None


def _judged(logits: Any, own: Any) -> tuple[Any, Any, Any]:
    """The fields of `Judged`, of logits `[…, vocabulary]` and the texts' own tokens `[…, 1]`."""
    top = logits.topk(2)
    logprob = logits.log_softmax(-1).gather(-1, own)[..., 0]
    margin = top.values[..., 0] - top.values[..., 1]
    return top.indices[..., 0].numpy(), margin.numpy(), logprob.numpy()
