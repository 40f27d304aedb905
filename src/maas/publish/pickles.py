"""Tells a pickle by its opcodes, without running it."""

from __future__ import annotations

import pickletools
import re

HEAD = 1 << 16
_DOTTED = re.compile(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*")
_CALLS = {"GLOBAL", "INST"}


def looks_like_pickle(head: bytes) -> bool:
    """Whether bytes begin a pickle of any protocol.

    Protocol 2 and later begin with 0x80 and their number. Protocols 0 and 1 have no mark: they
    count when they name a global, or when they reach STOP as a sequence of opcodes.

    Args:
        head: the first bytes of a file (`HEAD` of them are enough).
    """
    marked = len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5
    seen, calls = 0, False
    operations = pickletools.genops(head)
    while True:
        try:
            opcode, argument, position = next(operations)
        except StopIteration:
            return seen > 2
        except Exception:  # noqa: BLE001  (genops raises whatever its argument readers do)
            return marked and seen > 1
        seen += 1
        # An opcode that can be read after a global's name tells it from two lines of prose.
        if calls or (marked and seen > 2):
            return True
        calls = opcode.name in _CALLS and bool(_DOTTED.fullmatch(str(argument)))
        if opcode.name == "STOP":
            # "2." and "N." are numbers and words as well; real ones hold something and end there.
            return seen > 2 and (marked or (position or 0) + 1 == len(head.rstrip()))
