"""llama.cpp's server in this process, and the door that it opens shut again.

It is called directly, but insists on listening for HTTP. So it is given a Unix socket in a folder
that only we may enter, and the socket's name is gone before anyone is told: nobody can connect.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maas.core.errors import ErrorKind, MaasError
from maas.core.ports import GenerationBounds
from maas.runtimes.wording import one_sentence

LONGEST_SOCKET_PATH = 100
BRIEFEST = '{"prompt": [0], "n_predict": 1, "cache_prompt": false}'


def open_server(file: Path, bounds: GenerationBounds, cells: int) -> Any:
    """Loads a GGUF.

    Args:
        file: the GGUF.
        bounds: threads, sequences and tokens of a step.
        cells: tokens that its KV cache holds, of all sequences together.

    Returns:
        An `xllamacpp.Server` that listens nowhere.

    Raises:
        MaasError: FAILED_PRECONDITION where llama.cpp is not installed or cannot load the file.
    """
    try:
        import xllamacpp
    except ImportError as error:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            "llama.cpp is not installed here; install it with: pip install 'maas-server[llm]'",
        ) from error
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_ctx = cells
    parameters.n_parallel = bounds.sequences + 1  # one to ask again, see `llamacpp`
    parameters.kv_unified = True  # any sequence may use what the others leave
    parameters.n_batch = max(bounds.batch_tokens, bounds.sequences)
    parameters.n_ubatch = parameters.n_batch
    for threads in (parameters.cpuparams, parameters.cpuparams_batch):
        threads.n_threads = bounds.threads
    parameters.cache_ram_mib = 0  # old prompts stay in the KV cache only, which is bounded
    parameters.n_ctx_checkpoints = 0
    parameters.fit_params = False
    parameters.use_jinja = False
    # Else it runs the file's own template, whatever that does. Ours are made elsewhere, under a
    # meter; no message is ever given to it.
    parameters.chat_template = "chatml"
    parameters.warmup = False
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.n_threads_http = 1
    parameters.verbosity = -1
    with _folder() as folder:
        parameters.hostnames = [str(folder / "s.sock")]
        try:
            server = xllamacpp.Server(parameters)
            # One that is closed before its thread has begun waits for that for ever.
            server.handle_completions(BRIEFEST, _ignore)
            return server
        except (RuntimeError, ValueError, OSError) as error:
            raise MaasError(
                ErrorKind.FAILED_PRECONDITION,
                f"llama.cpp cannot load the model: {one_sentence(error)}",
            ) from error


def _ignore(message: str) -> bool:
    """Takes a message, and has the library go on."""
    return False


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder of our own whose path a socket's address can hold; gone afterwards."""
    longest = LONGEST_SOCKET_PATH - len("/maas-12345678/s.sock")
    short = len(tempfile.gettempdir()) <= longest
    with tempfile.TemporaryDirectory(prefix="maas-", dir=None if short else "/tmp") as folder:  # noqa: S108
        yield Path(folder)
