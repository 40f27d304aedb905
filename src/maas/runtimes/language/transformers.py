"""Hugging Face folders of any architecture that transformers has, on the CPU or a GPU.

    add ─▶ prompts, read in parts ─▶ one token for each that has been read ─▶ pieces

The reference that other engines are proven against, and the last resort where none of them reads a
model: each choice is computed alone, exactly as the library computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import GenerateRequest, TokenLogprob
from maas.core.ports import Artifact, Device, GenerationBounds, Generative, Resources
from maas.runtimes.language.backend import Piece
from maas.runtimes.language.card import TOKENIZER, read_card
from maas.runtimes.language.engine import LanguageModel
from maas.runtimes.language.prompts import Prompter
from maas.runtimes.language.sampling import NEVER, History, adjusted, chosen, likelihoods
from maas.runtimes.language.sampling_grammar import Grammars, refused
from maas.runtimes.language.tokens import Vocabulary
from maas.runtimes.language.transformers_model import CausalModel

MIB = 1 << 20
AHEAD_TOKENS = 64
"""Room in the KV cache that a choice holds beyond what it has written."""


class TransformersRuntime:
    """Serves `huggingface` artifacts, each in a host of its own."""

    name = "transformers"
    platform = "transformers"
    formats = frozenset({"huggingface"})
    host: Literal["shared", "dedicated"] = "dedicated"
    confined = False

    def estimate(self, artifact: Artifact) -> Resources:
        """Three times the weights, which may be widened while they are read, and 1 GiB."""
        weights = sum(file.stat().st_size for file in _folder(artifact).glob("*.safetensors"))
        return Resources(3 * weights + 1024 * MIB)

    def load(self, artifact: Artifact, device: Device) -> Generative:
        """Loads the weights.

        Raises:
            MaasError: FAILED_PRECONDITION without transformers, where it cannot load the folder,
                or where the KV cache is too small for one answer.
        """
        folder, bounds = Path(artifact.path), device.generation
        card = read_card(folder)
        vocabulary = Vocabulary(folder / TOKENIZER, card)
        context = artifact.generative.context_tokens if artifact.generative else card.context_tokens
        grammars = Grammars(folder / TOKENIZER, card.vocabulary, card.end_tokens)
        prompter = Prompter(card, vocabulary, bounds, context)

        def opened() -> TransformersBackend:
            model = CausalModel(_folder(artifact), bounds.threads)
            return TransformersBackend(model, vocabulary, grammars, bounds, context)

        return LanguageModel(opened, prompter, vocabulary, card, bounds, context)


class _Choice:
    """One choice: what it has read and written."""

    def __init__(
        self,
        key: int,
        prompt: list[int],
        request: GenerateRequest,
        random: np.random.Generator,
        history: History,
        matcher: Any,
    ):
        self.key = key
        self.tokens = list(prompt)
        self.prompt = len(prompt)
        self.sampling = request.sampling
        self.wants_prompt = request.echo and request.sampling.logprobs is not None
        self.random = random
        self.history = history
        self.matcher = matcher
        self.most = request.sampling.max_tokens or 0
        self.read = 0
        self.memory: Any = None
        self.last: np.ndarray | None = None
        self.prompt_logprobs: list[TokenLogprob] = []

    @property
    def written(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - self.prompt

    @property
    def held(self) -> int:
        """Tokens of the KV cache that are its own."""
        return self.prompt + min(self.most, self.written + AHEAD_TOKENS)


class TransformersBackend:
    """transformers with one model.

    Args:
        model: loaded.
        vocabulary: of the model.
        grammars: what constrains answers.
        bounds: tokens of a step, memory of the KV cache.
        context_tokens: prompt and answer of one choice, at most.

    Raises:
        MaasError: FAILED_PRECONDITION where one context does not fit in the KV cache.
    """

    worn = False

    def __init__(
        self,
        model: CausalModel,
        vocabulary: Vocabulary,
        grammars: Grammars,
        bounds: GenerationBounds,
        context_tokens: int,
    ):
        self._cells = bounds.kv_bytes // model.token_bytes
        if self._cells < context_tokens:
            raise MaasError(
                ErrorKind.FAILED_PRECONDITION,
                f"one context of {context_tokens} tokens takes "
                f"{context_tokens * model.token_bytes / MIB:.0f} MiB of KV cache, and "
                f"{bounds.kv_bytes / MIB:.0f} MiB are allowed; publish the model with a smaller "
                "--context, or raise generation.kv_bytes",
            )
        self._model = model
        self._vocabulary = vocabulary
        self._grammars = grammars
        self.lacks = grammars.lacks
        self._budget = bounds.batch_tokens
        self._choices: dict[int, _Choice] = {}

    def add(self, key: int, prompt: list[int], request: GenerateRequest, seed: int) -> None:
        """Takes one choice; see `Backend`."""
        matcher = self._grammars.matcher(request.grammar) if request.grammar else None
        history = History(request.sampling, self._vocabulary.size, prompt)
        random = np.random.default_rng(seed)
        self._choices[key] = _Choice(key, prompt, request, random, history, matcher)

    def step(self) -> Sequence[Piece]:
        """Reads a part of prompts, oldest first, and writes a token where all has been read."""
        pieces: list[Piece] = []
        budget, room = self._budget, self._cells
        for choice in list(self._choices.values()):
            room -= choice.held
            if room < 0:  # the younger ones wait, and forget what they have read
                choice.memory, choice.read = None, 0
                continue
            budget -= self._read(choice, max(1, budget))
            if choice.read == len(choice.tokens):
                piece = self._write(choice)
                if piece.finish or piece.error:
                    del self._choices[choice.key]
                pieces.append(piece)
        return pieces

    def cancel(self, key: int) -> None:
        """Frees a choice; unknown ones are ignored."""
        self._choices.pop(key, None)

    def kv_used(self) -> float:
        """What part of the memory for keys and values is in use."""
        return min(1.0, sum(each.read for each in self._choices.values()) / self._cells)

    def close(self) -> None:
        """Lets go of the model."""
        self._model.close()

    def _read(self, choice: _Choice, budget: int) -> int:
        """Reads at most `budget` tokens of a choice; says how many it was."""
        if choice.memory is None:
            choice.memory = self._model.memory()
        part = choice.tokens[choice.read : choice.read + budget]
        every = choice.wants_prompt and len(choice.prompt_logprobs) < choice.prompt
        rows = self._model.logits(part, choice.memory, every=every)
        if every:
            self._note_prompt(choice, rows)
        choice.read += len(part)
        choice.last = rows[-1]
        return len(part)

    def _note_prompt(self, choice: _Choice, rows: np.ndarray) -> None:
        """How likely the prompt's tokens were; each row is about the token after it."""
        noted, most = choice.prompt_logprobs, choice.sampling.logprobs or 0
        if not noted:
            noted.append(TokenLogprob(self._vocabulary.bytes_of(choice.tokens[0]), None))
        for place, row in enumerate(rows, choice.read + 1):
            if len(noted) == place < choice.prompt:
                noted.append(self._logprob(row, choice.tokens[place], most))

    def _write(self, choice: _Choice) -> Piece:
        first = choice.written == 0
        prompt = tuple(choice.prompt_logprobs) if choice.wants_prompt and first else None
        if choice.most == 0:
            return Piece(choice.key, finish="length", prompt_logprobs=prompt)
        assert choice.last is not None
        logits = adjusted(choice.last[: self._vocabulary.size], choice.sampling, choice.history)
        if choice.matcher:
            allowed = np.frombuffer(choice.matcher.compute_bitmask(), np.uint8)
            if choice.matcher.is_error():
                return Piece(choice.key, error=refused(choice.matcher))
            bits = np.unpackbits(allowed, bitorder="little")[: len(logits)]
            logits = np.where(bits, logits, NEVER)
        token = chosen(logits, choice.sampling, choice.random)
        logprobs = None
        if choice.sampling.logprobs is not None:
            logprobs = (self._logprob(choice.last, token, choice.sampling.logprobs),)
        choice.history.write(token)
        choice.tokens.append(token)
        finish: Literal["stop", "length"] | None = None
        if choice.matcher:
            choice.matcher.consume_token(token)
            if choice.matcher.is_stopped():
                finish = "stop"
        if finish is None and choice.written == choice.most:
            finish = "length"
        return Piece(choice.key, (token,), logprobs, finish, prompt_logprobs=prompt)

    def _logprob(self, row: np.ndarray, token: int, most: int) -> TokenLogprob:
        row = row[: self._vocabulary.size]
        value, top = likelihoods(row, token, most)
        bytes_of = self._vocabulary.bytes_of
        return TokenLogprob(bytes_of(token), value, tuple((bytes_of(t), p) for t, p in top))


def _folder(artifact: Artifact) -> Path:
    """Where `config.json` lies."""
    file = artifact.file
    return file if file.is_dir() else file.parent
