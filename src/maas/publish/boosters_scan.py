"""Looks through a booster's file before its library does: what no booster has is refused.

Both readers make room for what a file says it holds, and follow its indices unchecked. What gets
past this meets the sandbox.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
from msgspec import Struct

from maas.core.errors import invalid
from maas.runtimes.wording import one_sentence

MOST_COLUMNS = 100_000
MOST_CLASSES = 10_000
_COUNTS = re.compile(
    rb"^(num_leaves|num_cat|num_class|num_tree_per_iteration|max_feature_idx)=([^\r\n]*)", re.M
)
_LIMITS = {
    b"max_feature_idx": MOST_COLUMNS,
    b"num_class": MOST_CLASSES,
    b"num_tree_per_iteration": MOST_CLASSES,
}


class _Sizes(Struct):
    num_feature: str
    num_class: str = "0"
    num_target: str = "1"


class _Objective(Struct):
    name: str


class _Learner(Struct):
    """The parts of XGBoost's schema that say how large a booster is; the rest is passed over."""

    learner_model_param: _Sizes
    objective: _Objective
    gradient_booster: msgspec.Raw
    feature_names: tuple[str, ...] = ()
    attributes: dict[str, str] = {}


class _Saved(Struct):
    learner: _Learner
    version: tuple[int, int, int]


def scan_xgboost(file: Path) -> dict[str, str]:
    """Checks a file of XGBoost's; of UBJSON, only the library reads more than its beginning.

    Returns:
        The version it was written with, by distribution.

    Raises:
        MaasError: INVALID_ARGUMENT for JSON that is damaged, of another shape, or of sizes that
            no booster has.
    """
    data = file.read_bytes()
    if not data.rstrip().endswith(b"}"):
        raise invalid("the booster's file is cut off; save it again")
    if not re.match(rb'\s*\{\s*"', data[:64]):
        return {}
    try:
        saved = msgspec.json.decode(data, type=_Saved)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid(
            f"the file is not as XGBoost writes it ({one_sentence(error, 120)}); save it again "
            "with booster.save_model('model.json')"
        ) from error
    except RecursionError as error:
        raise invalid("the file is nested deeper than any that XGBoost writes") from error
    sizes = saved.learner.learner_model_param
    for name, text, most in (
        ("num_feature", sizes.num_feature, MOST_COLUMNS),
        ("num_class", sizes.num_class, MOST_CLASSES),
        ("num_target", sizes.num_target, MOST_CLASSES),
    ):
        _check_size(name, text, most)
    return {"xgboost": ".".join(str(part) for part in saved.version)}


def scan_lightgbm(file: Path) -> None:
    """Checks the sizes that a file of LightGBM's names.

    Raises:
        MaasError: INVALID_ARGUMENT for those that no booster has.
    """
    data = file.read_bytes()
    for name, text in _COUNTS.findall(data):
        # A leaf or a category takes some characters of the file.
        _check_size(name.decode(), text.decode("latin-1"), _LIMITS.get(name, len(data)))
    if b"end of trees" not in data:
        raise invalid("the booster's file is cut off: it has no 'end of trees'; save it again")


def _check_size(name: str, text: str, most: int) -> None:
    size = int(text) if re.fullmatch(r"\s*\d{1,9}\s*", text) else -1
    if not 0 <= size <= most:
        shown = "".join(c if c.isprintable() else "?" for c in text[:20])
        raise invalid(
            f"the booster's file says {name}={shown}, and expected is a number up to {most:,}; "
            "save it again"
        )
