"""Language models through OpenVINO GenAI on the CPU: GGUF that it can read, and its own IR folders.

    add ─▶ GenerationConfig ─▶ ContinuousBatchingPipeline ─ step ─▶ handles ─ read ─▶ Pieces
           end tokens, seed     paged KV cache, prefixes kept,       one token each
           sampling, grammar    prompts read in parts

It sees tokens alone: its own tokenizer is used for grammars only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.generation import (
    Feature,
    FinishReason,
    GenerateRequest,
    Sampling,
    TokenLogprob,
    TokenPrompt,
)
from maas.core.ports import Artifact, Device, GenerationBounds, Generative, Resources
from maas.runtimes.language.backend import Piece
from maas.runtimes.language.calls import scores_prompt
from maas.runtimes.language.card import TOKENIZER, LanguageCard, read_card
from maas.runtimes.language.engine import LanguageModel
from maas.runtimes.language.openvino_config import config_of
from maas.runtimes.language.openvino_errors import cannot, reason, refusals
from maas.runtimes.language.openvino_file import openable
from maas.runtimes.language.openvino_memory import Plan, plan_memory
from maas.runtimes.language.openvino_prefix import Prefixes, alone
from maas.runtimes.language.openvino_schemas import Schemas
from maas.runtimes.language.openvino_step import unlocked_step
from maas.runtimes.language.prompts import Prompter
from maas.runtimes.language.tokens import Vocabulary

MIB = 1 << 20
WARM_TOKENS = (1, 2, 3, 4)
MOST_SCORED = 1 << 30
"""Names of scored prompts; by the time they are used up, the first are long forgotten."""


class OpenVINOGenAIRuntime:
    """Serves `gguf` and `openvino-ir` artifacts of language models, each in a host of its own."""

    name = "openvino-genai"
    platform = "openvino_genai"
    formats = frozenset({"gguf", "openvino-ir"})
    host: Literal["shared", "dedicated"] = "dedicated"
    confined = False

    def estimate(self, artifact: Artifact) -> Resources:
        """Three times the weights (a file, constants, packed for the kernels), and 512 MiB.

        Kernels are made for every number of tokens that a step has had, so memory grows until all
        up to `batch_tokens` were met. Of the KV cache it holds what has been used, at most
        `Device.generation.kv_bytes`.
        """
        folder = Path(artifact.path)
        files = {artifact.file, artifact.file.with_suffix(".bin"), folder / TOKENIZER}
        size = sum(file.stat().st_size for file in files if file.is_file())
        return Resources(memory_bytes=3 * size + 512 * MIB)

    def load(self, artifact: Artifact, device: Device) -> Generative:
        """Loads the weights and computes a first token.

        Raises:
            MaasError: FAILED_PRECONDITION where OpenVINO GenAI is not installed, cannot run the
                model, or the KV cache is too small for one answer.
        """
        folder, bounds = Path(artifact.path), device.generation
        card = read_card(folder)
        vocabulary = Vocabulary(folder / TOKENIZER, card)
        context = artifact.generative.context_tokens if artifact.generative else card.context_tokens
        plan = plan_memory(artifact, card, bounds, context)
        prompter = Prompter(card, vocabulary, bounds, context)

        def open_backend() -> OpenVINOBackend:
            return OpenVINOBackend(artifact.file, card, vocabulary, bounds, plan)

        return LanguageModel(open_backend, prompter, vocabulary, card, bounds, context)


class _Choice(Struct, gc=False):
    """One answer in the pipeline.

    Args:
        handle: an `openvino_genai.GenerationHandle`.
        tokens: the prompt's, and those written.
        logprobs: whether they were asked for.
        scored: whether the prompt's were, too.
        cached: what was known of the prompt when it came.
        begun: whether it has given anything yet.
    """

    handle: Any
    tokens: list[int]
    logprobs: bool
    scored: bool
    cached: int
    begun: bool = False


class OpenVINOBackend:
    """One model in a `ContinuousBatchingPipeline`.

    Args:
        file: a GGUF, or the `openvino_model.xml` of an IR folder.
        card: what is known of the model.
        vocabulary: the model's tokens.
        bounds: threads, places, tokens of a step.
        plan: the KV cache.

    Raises:
        MaasError: FAILED_PRECONDITION, with OpenVINO's reason.
    """

    def __init__(
        self,
        file: Path,
        card: LanguageCard,
        vocabulary: Vocabulary,
        bounds: GenerationBounds,
        plan: Plan,
    ):
        self._genai, self._tensor = _libraries()
        self._card, self._vocabulary = card, vocabulary
        self._pipeline = _open(self._genai, file, bounds, plan)
        self._choices: dict[int, _Choice] = {}
        self._prefixes = Prefixes(plan.blocks)
        self._schemas = Schemas(card.vocabulary)
        self._scored = 1
        """Prompts whose log-probabilities were asked for."""
        reasons, status = self._genai.GenerationFinishReason, self._genai.GenerationStatus
        self._goes_on, self._length = reasons.NONE, reasons.LENGTH
        self._running = status.RUNNING
        self.lacks = frozenset({Feature.TOP_LOGPROBS, Feature.LOGIT_BIAS})
        if not self._warm_up():
            self.lacks |= {Feature.PROMPT_LOGPROBS}
        self._step = unlocked_step(self._pipeline)
        try:
            self._pipeline.get_tokenizer().get_vocab()
        except refusals():  # a folder without openvino_tokenizer.xml: grammars need its words
            self.lacks |= {Feature.JSON, Feature.JSON_SCHEMA}

    def add(self, key: int, prompt: list[int], request: GenerateRequest, seed: int) -> None:
        """Takes one choice.

        Raises:
            MaasError: INVALID_ARGUMENT for a schema that cannot be followed, and for what OpenVINO
                refuses.
        """
        given, scored = prompt, scores_prompt(request)
        if scored:  # there are none for what is found in the cache
            self._scored = self._scored % MOST_SCORED + 1
            given = alone(prompt, self._scored)
        try:
            config = config_of(self._genai, self._card, request, seed)
            if request.grammar is not None:
                self._schemas.add(request.grammar.schema or "")
            handle = self._pipeline.add_request(key, self._tensor(given), config)
        except refusals() as error:
            raise invalid(f"the engine refuses these parameters: {reason(error)}") from error
        self._choices[key] = _Choice(
            handle,
            prompt[:],
            request.sampling.logprobs is not None,
            scored,
            0 if scored else self._prefixes.known(prompt),
        )

    def step(self) -> Sequence[Piece]:
        """Computes the next token of every choice, or a part of the prompts that are waiting."""
        self._step()
        pieces, over = [], []
        for key, choice in self._choices.items():
            handle = choice.handle
            if handle.can_read():
                (output,) = handle.read().values()
                piece = self._piece(key, choice, output)
                if piece.finish is not None or piece.error is not None:
                    over.append(key)
                pieces.append(piece)
            elif handle.get_status() != self._running:
                over.append(key)
                error = MaasError(ErrorKind.UNAVAILABLE, "the model's KV cache is full; try again")
                pieces.append(Piece(key, error=error))
        for key in over:
            self._keep(self._choices.pop(key))
        return pieces

    @property
    def worn(self) -> bool:
        """Whether its process should be started anew; see `Schemas`."""
        return self._schemas.worn

    def cancel(self, key: int) -> None:
        """Frees a choice. OpenVINO does so in a step; where none would come, one is done."""
        choice = self._choices.pop(key, None)
        if choice is None:
            return
        choice.handle.cancel()
        if choice.begun:
            self._keep(choice)
        if not self._choices:
            self._step()

    def kv_used(self) -> float:
        """What part of the KV cache running answers hold; what is kept for later is free."""
        if not self._choices:
            return 0.0
        used: float = self._pipeline.get_metrics().cache_usage / 100
        return used

    def close(self) -> None:
        """Gives the weights and the cache back."""
        self._choices.clear()
        del self._step, self._pipeline

    def _piece(self, key: int, choice: _Choice, output: Any) -> Piece:
        tokens = output.generated_ids
        prompt_logprobs, logprobs = None, None
        if choice.logprobs:
            values = output.generated_log_probs
            if choice.scored and not choice.begun:
                prompt, size = choice.tokens, len(choice.tokens)
                prompt_logprobs = self._named(prompt, (None, *values[1:size]))
                tokens, values = tokens[size:], values[size:]
            logprobs = self._named(tokens, values)
        ended = output.finish_reason
        finish: FinishReason | None = None
        if ended != self._goes_on:
            finish = "length" if ended == self._length else "stop"
        piece = Piece(key, tuple(tokens), logprobs, finish, None, prompt_logprobs)
        if not choice.begun:
            choice.begun = True
            piece.cached_tokens = choice.cached
            self._keep(choice)
        choice.tokens += tokens
        return piece

    def _named(
        self, tokens: Sequence[int], values: Sequence[float | None]
    ) -> tuple[TokenLogprob, ...]:
        bytes_of = self._vocabulary.bytes_of
        return tuple(
            TokenLogprob(bytes_of(token), value)
            for token, value in zip(tokens, values, strict=True)
        )

    def _keep(self, choice: _Choice) -> None:
        if not choice.scored:
            self._prefixes.keep(choice.tokens)

    def _warm_up(self) -> bool:
        """Writes a token: whatever cannot be computed shows here, and the kernels are made.

        Returns:
            Whether a prompt's log-probabilities can be had: it is the same alone.
        """
        sampling = Sampling(max_tokens=1, temperature=0.0, ignore_end=True, logprobs=0)
        request = GenerateRequest(TokenPrompt(WARM_TOKENS), sampling, echo=True)
        config = config_of(self._genai, self._card, request, 0)
        prompt = list(WARM_TOKENS)
        try:
            plain, other = (self._whole(given, config) for given in (prompt, alone(prompt, 1)))
        except refusals() as error:
            raise cannot(reason(error)) from error
        return len(other) > len(prompt) and plain == other

    def _whole(self, prompt: list[int], config: Any) -> list[float]:
        """The log-probabilities of a prompt and its answer, with nothing else running."""
        handle = self._pipeline.add_request(0, self._tensor(prompt), config)
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()
        found: list[float] = []
        while handle.can_read():
            found += next(iter(handle.read().values())).generated_log_probs
        if not found:
            raise cannot("it wrote nothing")
        return found


def _libraries() -> tuple[Any, Callable[[list[int]], Any]]:
    """OpenVINO GenAI, and what makes its tensors of tokens: int64 [1, tokens].

    Raises:
        MaasError: FAILED_PRECONDITION where it is not installed.
    """
    try:
        import numpy as np
        import openvino
        import openvino_genai
    except ImportError as error:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            "OpenVINO GenAI is not installed here; install maas-server[llm]",
        ) from error

    def tensor(tokens: list[int]) -> Any:
        return openvino.Tensor(np.array([tokens], np.int64))

    return openvino_genai, tensor


def _open(genai: Any, file: Path, bounds: GenerationBounds, plan: Plan) -> Any:
    """Loads the model.

    Raises:
        MaasError: FAILED_PRECONDITION, with OpenVINO's reason.
    """
    scheduler = genai.SchedulerConfig()
    scheduler.num_kv_blocks = plan.blocks
    scheduler.max_num_seqs = bounds.sequences
    scheduler.max_num_batched_tokens = bounds.batch_tokens
    scheduler.dynamic_split_fuse = True
    scheduler.enable_prefix_caching = True
    properties = {
        "INFERENCE_NUM_THREADS": bounds.threads,
        "sampler_num_threads": bounds.threads,
        "ENABLE_CPU_PINNING": False,  # other models share the cores
        "KV_CACHE_PRECISION": plan.precision,
    }
    if plan.precision == "f16":
        # Its own choice is bfloat16 where the processor has it.
        properties["INFERENCE_PRECISION_HINT"] = "f32"
    where = file if file.suffix == ".gguf" else file.parent
    try:
        with openable(file):
            return genai.ContinuousBatchingPipeline(str(where), scheduler, "CPU", properties)
    except refusals() as error:
        raise cannot(reason(error)) from error
