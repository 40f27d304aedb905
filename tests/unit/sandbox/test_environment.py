from __future__ import annotations

import errno

import pytest

from maas.sandbox import denial, how_it_ended, sandbox_environment


def test_no_secret_goes_in():
    outer = {
        "PATH": "/bin", "MAAS_OWNER_KEY": "hush", "AWS_SECRET_ACCESS_KEY": "hush",
        "LD_PRELOAD": "evil.so", "HOME": "/home/ann",
    }  # fmt: skip
    made = sandbox_environment(outer, "/own", 3)
    assert "hush" not in made.values()
    assert "LD_PRELOAD" not in made
    assert (made["PATH"], made["HOME"], made["TMPDIR"]) == ("/bin", "/own", "/own")
    assert made["OMP_NUM_THREADS"] == made["TF_NUM_INTRAOP_THREADS"] == "3"


def chained() -> Exception:
    error = RuntimeError("cannot open the model")
    error.__cause__ = PermissionError(errno.EACCES, "denied")
    return error


@pytest.mark.parametrize(
    ("error", "denied"),
    [
        (PermissionError(errno.EPERM, "no"), True),
        (chained(), True),
        (FileNotFoundError(errno.ENOENT, "no"), False),
        (ValueError("no"), False),
    ],
    ids=["refused", "behind another", "missing", "its own"],
)
def test_what_the_sandbox_refused_is_told_from_the_rest(error, denied):
    assert ("sandbox" in denial(error)) == denied


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, "exit status 0"),
        (3, "exit status 3"),
        (-11, "killed by SIGSEGV"),
        (-99, "killed by signal 99"),
    ],
)
def test_how_a_process_ended(code, said):
    assert how_it_ended(code) == said
