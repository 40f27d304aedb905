"""OpenVINO's core: one in a process, for as long as it lives."""

from __future__ import annotations

import functools
from typing import Any


@functools.cache
def core() -> Any:
    """The `openvino.Core` of this process; needs OpenVINO.

    Its CPU plugin gives the thread that loads it a stack for signals, and frees that stack when the
    last core and model are gone, on whichever thread that happens: the next signal would then end
    the process. So one core is kept, which keeps the plugin.
    """
    import openvino

    return openvino.Core()
