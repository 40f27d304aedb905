"""How the sandbox is spoken of in errors and logs."""

from __future__ import annotations

import errno
import signal

REFUSED = (
    "the sandbox gives a model no network, no other processes, and no files but its own and those "
    "in its temporary folder"
)


def denial(error: BaseException) -> str:
    """`REFUSED` where an exception comes from what the sandbox refuses, else empty."""
    seen: BaseException | None = error
    for _ in range(8):
        if isinstance(seen, OSError) and seen.errno in (errno.EPERM, errno.EACCES):
            return REFUSED
        seen = None if seen is None else seen.__cause__ or seen.__context__
    return ""


def how_it_ended(code: int) -> str:
    """A return code as people read it: `exit status 3`, `killed by SIGSEGV`."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
