"""What OpenVINO and OpenVINO GenAI raise, in one sentence."""

from __future__ import annotations

from maas.core.errors import ErrorKind, MaasError
from maas.runtimes.wording import one_sentence


def refusals() -> tuple[type[Exception], ...]:
    """What they raise: OpenVINO's own exceptions are all `RuntimeError`s, others are pybind11's."""
    return (RuntimeError, ValueError, TypeError, IndexError, OverflowError, MemoryError)


def reason(error: BaseException) -> str:
    """The last of their lines that is not about their own source files."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Check ", "Exception from "))]
    return one_sentence(said[-1] if said else error)


def cannot(why: str) -> MaasError:
    """A model that cannot be served."""
    return MaasError(ErrorKind.FAILED_PRECONDITION, f"OpenVINO GenAI cannot run the model: {why}")
