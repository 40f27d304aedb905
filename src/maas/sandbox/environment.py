"""The environment of a process in the sandbox, made by whoever starts it."""

from __future__ import annotations

from collections.abc import Mapping

KEPT = (
    *("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"),
)
"""What is passed on: the interpreter finds itself and its libraries by it, and CUDA its GPU."""
THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
)
FIXED = {
    "LANG": "C.UTF-8",
    "USER": "model",
    "LOGNAME": "model",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    # joblib would start processes, and ask another one how many cores there are.
    "JOBLIB_MULTIPROCESSING": "0",
    "LOKY_MAX_CPU_COUNT": "1",
}


def sandbox_environment(environ: Mapping[str, str], home: str, threads: int = 1) -> dict[str, str]:
    """Makes it: no variable of this process but those the interpreter needs.

    Args:
        environ: of this process.
        home: the process's own folder, its HOME and its TMPDIR.
        threads: threads that numeric libraries may use.
    """
    kept = {name: environ[name] for name in KEPT if name in environ}
    own = {"HOME": home, "TMPDIR": home, **dict.fromkeys(THREADS, str(threads))}
    return {**kept, **FIXED, **own}
