"""A step of OpenVINO GenAI that lets the other threads of this process run meanwhile.

`ContinuousBatchingPipeline.step` keeps Python's lock while the engine computes, tens of
milliseconds to seconds. Nothing else would run in the process: no socket read, no prompt prepared,
no token sent. The library's own function is called instead, through `ctypes`, which gives the lock
back. What it throws cannot be caught there: it ends the process, and says why on stderr.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

log = logging.getLogger("maas.language")

SYMBOL = "_ZN2ov5genai26ContinuousBatchingPipeline4stepEv"
"""`ov::genai::ContinuousBatchingPipeline::step()`, of the Itanium C++ ABI."""
PROBE = 0x5EED


def unlocked_step(pipeline: Any) -> Callable[[], object]:
    """The pipeline's step, without Python's lock; its own method where that cannot be had."""
    import openvino_genai

    try:
        (file,) = Path(openvino_genai.__file__).parent.glob("libopenvino_genai.so*")
        step = ctypes.CDLL(str(file))[SYMBOL]
    except (ValueError, OSError, AttributeError):
        step = None
    if step is None or not _layout_is_known(openvino_genai.SchedulerConfig()):
        log.warning("this OpenVINO GenAI is not known: its steps hold up the whole process")
        own: Callable[[], object] = pipeline.step
        return own
    step.argtypes, step.restype = [ctypes.c_void_p], None
    address = _address(pipeline)

    def run() -> None:
        step(address)

    return run


def _address(wrapped: Any) -> int:
    """Where the C++ object of a pybind11 object lies: the first thing after Python's header."""
    return ctypes.c_void_p.from_address(id(wrapped) + object.__basicsize__).value or 0


def _layout_is_known(config: Any) -> bool:
    """Whether a number given to a `SchedulerConfig` is found where its C++ object should lie."""
    config.max_num_batched_tokens = PROBE
    return ctypes.c_size_t.from_address(_address(config)).value == PROBE
