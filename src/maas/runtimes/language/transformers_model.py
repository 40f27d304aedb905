"""A Hugging Face folder as a function from tokens to logits, with what it remembers of each choice.

Weights are read from safetensors, and the architecture's code is the library's own: nothing in the
folder is run. Whether the model can go on from what it remembers is tried before it serves.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maas.core.errors import ErrorKind, MaasError
from maas.runtimes.wording import one_sentence

SETTINGS = {
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Read when the libraries are imported: no unpickling, no network."""
MISSING = (
    "transformers is not installed here; install it with: pip install 'maas-server[transformers]'"
)
CONFIG_BYTES = 8 << 20
TRIAL_TOKENS = 8
TOLERANCE = 0.02
"""How far logits may differ between a prompt read at once and in two parts, of their range."""


class CausalModel:
    """A loaded model.

    Args:
        folder: with `config.json` and safetensors.
        threads: of one operation, on the CPU.

    Raises:
        MaasError: FAILED_PRECONDITION where transformers is not installed, the folder brings code,
            or the model cannot be loaded or cannot go on from what it remembers.
    """

    def __init__(self, folder: Path, threads: int):
        config = _config(folder)
        self._torch, transformers = libraries(threads)
        torch = self._torch
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._model = transformers.AutoModelForCausalLM.from_pretrained(
                    str(folder),
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                    attn_implementation=_attention(config),
                    dtype=_dtype(torch, config, self.device),
                )
            self._model.to(self.device).eval()
        except MemoryError:
            raise
        except Exception as error:
            raise _cannot("cannot load the model", error) from error
        self._new_memory = transformers.DynamicCache
        self.token_bytes = self._try()

    def memory(self) -> Any:
        """What it remembers of one choice: keys and values; nothing yet."""
        return self._new_memory(config=self._model.config)

    def logits(self, tokens: Sequence[int], memory: Any, *, every: bool) -> np.ndarray:
        """Reads tokens after those that are remembered.

        Args:
            tokens: at least one.
            memory: of the choice; grows by them.
            every: logits after each of them, not only after the last.

        Returns:
            float32 [tokens or 1, vocabulary].
        """
        torch = self._torch
        ids = torch.tensor([list(tokens)], device=self.device)
        with torch.inference_mode():
            found = self._model(
                input_ids=ids,
                past_key_values=memory,
                use_cache=True,
                logits_to_keep=0 if every else 1,
            )
            return np.asarray(found.logits[0].float().cpu().numpy())

    def close(self) -> None:
        """Lets go of the weights."""
        self._model = None

    def _try(self) -> int:
        """Proves that reading in parts is reading at once; gives bytes remembered of a token."""
        tokens = list(range(TRIAL_TOKENS))
        half = TRIAL_TOKENS // 2
        memory = self.memory()
        try:
            whole = self.logits(tokens, self.memory(), every=True)
            self.logits(tokens[:half], memory, every=False)
            parts = self.logits(tokens[half:], memory, every=True)
        except MemoryError:
            raise
        except Exception as error:
            raise _cannot("cannot run the model", error) from error
        apart = float(np.abs(whole[half:] - parts).max())
        if len(whole) != TRIAL_TOKENS or not apart <= TOLERANCE * float(np.ptp(whole)) + 1e-3:
            raise _cannot(
                "cannot serve the model",
                f"reading a text in two parts changes its logits by {apart:.3g}",
            )
        layers = [layer for layer in memory.layers if getattr(layer, "keys", None) is not None]
        bytes_all: int = sum(
            each.numel() * each.element_size()
            for layer in layers
            for each in (layer.keys, layer.values)
        )
        return max(1, bytes_all // TRIAL_TOKENS)


def _config(folder: Path) -> dict[str, Any]:
    """The configuration of a folder that brings weights as data and no code."""
    file = folder / "config.json"
    try:
        if file.stat().st_size > CONFIG_BYTES:
            raise _cannot("cannot load the model", "its config.json is larger than 8 MiB")
        config = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _cannot("cannot read config.json", error) from error
    if not isinstance(config, dict):
        raise _cannot("cannot read config.json", "it is no JSON object")
    if "auto_map" in config:
        raise _cannot(
            "does not load this model",
            "its config.json has auto_map, which asks for code of its own; convert it to an "
            "architecture that transformers has itself",
        )
    if not any(folder.glob("*.safetensors")):
        raise _cannot("cannot load the model", "the folder has no safetensors")
    return config


def _attention(config: dict[str, Any]) -> str | None:
    """What computes attention: never what a configuration names, which may be a download."""
    named = config.get("_attn_implementation", config.get("attn_implementation"))
    return None if named is None else "eager"


def libraries(threads: int, missing: str = MISSING) -> tuple[Any, Any]:
    """`torch` and `transformers`, set up so that nothing is unpickled and nothing fetched.

    Args:
        threads: of one operation.
        missing: what to say where they are not installed.

    Raises:
        MaasError: FAILED_PRECONDITION, they are not.
    """
    os.environ.update(SETTINGS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch
            import transformers
    except ImportError as error:
        raise MaasError(ErrorKind.FAILED_PRECONDITION, missing) from error
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(threads)
    return torch, transformers


def _dtype(torch: Any, config: dict[str, Any], device: str) -> Any:
    """The weights' own type where the device computes in it quickly, else float32."""
    named = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    quick = {"bfloat16", "float16"} if device == "cuda" else set()
    if device == "cpu" and torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        quick = {"bfloat16"}
    return getattr(torch, named) if named in quick else torch.float32


def _cannot(what: str, reason: BaseException | str) -> MaasError:
    return MaasError(ErrorKind.FAILED_PRECONDITION, f"transformers {what}: {one_sentence(reason)}")
