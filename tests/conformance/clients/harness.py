"""Runs one official client's checks against a server, in a process of their own.

`python CLIENT.py HOST:PORT RESULT` writes, for each function `check_…` of the script, what went
wrong, or nothing. The first line of a check's docstring is `FAMILY: rule`; where a rule is not
kept, the lines `Reason: …` and `Instead: …` follow.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Any

KEY = os.environ.get("MAAS_API_KEY", "")
"""A key that may load and unload models."""
FLOWER = [5.1, 3.5, 1.4, 0.2]
"""A setosa, as in `tests.zoo`."""


def run(script: Mapping[str, Any], connect: Callable[[str], AbstractContextManager[Any]]) -> None:
    """Runs every check with one client.

    Args:
        script: the script's own names.
        connect: the server's `HOST:PORT` → the client, closed at the end.
    """
    address, result = sys.argv[1:]
    outcomes = {}
    with connect(address) as client:
        for name, check in _checks(script).items():
            try:
                check(client)
            except Exception:  # noqa: BLE001 - it is the outcome
                outcomes[name] = traceback.format_exc()
            else:
                outcomes[name] = ""
    Path(result).write_text(json.dumps(outcomes))


def run_async(
    script: Mapping[str, Any], connect: Callable[[str], AbstractAsyncContextManager[Any]]
) -> None:
    """The same for checks that are coroutines."""
    address, result = sys.argv[1:]

    async def everything() -> dict[str, str]:
        outcomes = {}
        async with connect(address) as client:
            for name, check in _checks(script).items():
                try:
                    await check(client)
                except Exception:  # noqa: BLE001 - it is the outcome
                    outcomes[name] = traceback.format_exc()
                else:
                    outcomes[name] = ""
        return outcomes

    Path(result).write_text(json.dumps(asyncio.run(everything())))


def raises(kind: type[Exception], text: str, call: Callable[[], Any]) -> Any:
    """Checks that a call fails with an error of that kind that says so, and gives the error."""
    try:
        call()
    except kind as error:
        found = error
    else:
        raise AssertionError(f"expected {kind.__name__}")
    assert text in str(found), str(found)
    return found


def _checks(script: Mapping[str, Any]) -> dict[str, Callable[[Any], Any]]:
    return {
        name: value
        for name, value in script.items()
        if name.startswith("check_") and inspect.isfunction(value)
    }
