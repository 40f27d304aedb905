"""What is watched: one folder of numbered versions for each model."""

from __future__ import annotations

from msgspec import Struct


class Latest(Struct, frozen=True, tag=True):
    """The so many highest numbers."""

    count: int = 1


class All(Struct, frozen=True, tag=True):
    """Every version there is."""


class Specific(Struct, frozen=True, tag=True):
    """These versions and no others."""

    versions: tuple[int, ...]


Policy = Latest | All | Specific
"""Which versions of a model are to be loaded; TensorFlow Serving's `ServableVersionPolicy`."""


class Source(Struct, frozen=True):
    """One model's folder.

    Args:
        name: the model.
        folder: absolute path as the operator gave it; it may go through links.
        inside: the model's own folder in it, a plain name; empty where it is that folder. There
            lie `1/`, `2/` …
        policy: which of them are served.
        labels: aliases and the versions that they are to name.
        triton: the folder has a `config.pbtxt`, which belongs to each of its versions.
    """

    name: str
    folder: str
    inside: str = ""
    policy: Policy = Latest()
    labels: dict[str, int] = {}
    triton: bool = False


class Scan(Struct, frozen=True):
    """Which models are to be watched now.

    Args:
        sources: one for each model.
        problems: what stands there and is not watched: its name, and why.
        complete: whether a model that is not among them has been taken away; False where the
            folder of all models is missing or empty, as when a disk is not mounted.
    """

    sources: tuple[Source, ...]
    problems: dict[str, str] = {}
    complete: bool = True
