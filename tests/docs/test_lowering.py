"""`docs/lowering.md` lists every model there is a test of, and says of it what publishing says."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "lowering.md"
NUMBER = re.compile(r"\d[\d.,]*(?:e[-+]?\d+)?")
PART = (
    "logistic regression, scaled",
    "random forest, not scaled",
    "TF-IDF of characters",
    "nearest centroid",
    "mixed table, logistic regression",
)
BOOSTER_PART = ("XGBoost sets of categories", "LightGBM linear leaves")
NETWORK_PART = ("dense network, .h5", "TextVectorization of Chinese")


pytestmark = pytest.mark.filterwarnings(
    # Keras's own, of a TensorFlow that is older than the convention.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)


@pytest.fixture(scope="module")
def lowering() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lowering", ROOT / "scripts" / "lowering.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lowering"] = module  # msgspec looks annotations up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def listed() -> dict[str, list[str]]:
    """The page's rows by their titles."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and not line.startswith("| model |"):
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)]
            found[cells[1]] = cells[1:-1]
    return found


def masked(cells: list[str] | tuple[str, ...]) -> list[str]:
    """Cells without what a machine's rounding may change."""
    return [*cells[:3], NUMBER.sub("#", cells[3]), cells[4]]


def test_every_model_has_a_row(lowering: ModuleType, listed: dict[str, list[str]]) -> None:
    titles = (lowering.ESTIMATORS, lowering.BOOSTERS, lowering.NETWORKS, lowering.PROGRAMS)
    assert list(listed) == [title for each in titles for title in each]
    assert len(lowering.ESTIMATORS) >= 30


def test_every_row_is_proven_or_says_why_not(
    lowering: ModuleType, listed: dict[str, list[str]]
) -> None:
    for title, (_, _, served, why, rows, difference, engine, *times) in listed.items():
        if served == "lowered":
            assert why == "", title
            assert int(rows) >= 256, title
            assert float(difference) >= 0, title
            assert engine in ("onnx", "openvino"), title
            assert all(" → " in time for time in times), title
        else:
            assert served == "as saved", title
            assert why, title
            assert engine in lowering.NATIVE.values(), title


def check(lowering: ModuleType, publishers, listed: dict[str, list[str]]) -> None:
    failures: list[str] = []
    found = list(lowering.rows(publishers, failures))
    assert failures == []
    assert found
    for row in found:
        assert masked(row.stable) == masked(listed[row.cells[0]])


def test_a_part_of_it_is_current(lowering: ModuleType, listed: dict[str, list[str]]) -> None:
    chosen = {title: lowering.ESTIMATORS[title] for title in PART}
    check(lowering, lowering.estimator_publishers(chosen), listed)


@pytest.mark.xdist_group("tensorflow")
def test_a_part_of_the_networks_is_current(
    lowering: ModuleType, listed: dict[str, list[str]]
) -> None:
    chosen = {title: lowering.NETWORKS[title] for title in NETWORK_PART}
    check(lowering, lowering.network_publishers(chosen), listed)


def test_a_part_of_the_boosters_is_current(
    lowering: ModuleType, listed: dict[str, list[str]]
) -> None:
    chosen = {title: lowering.BOOSTERS[title] for title in BOOSTER_PART}
    check(lowering, lowering.file_publishers(chosen), listed)


@pytest.mark.slow
@pytest.mark.xdist_group("torch")
def test_all_of_the_programs_are_current(
    lowering: ModuleType, listed: dict[str, list[str]]
) -> None:
    check(lowering, lowering.file_publishers(lowering.PROGRAMS), listed)


@pytest.mark.slow
@pytest.mark.xdist_group("tensorflow")
def test_all_of_it_is_current(lowering: ModuleType, listed: dict[str, list[str]]) -> None:
    check(lowering, lowering.estimator_publishers(lowering.ESTIMATORS), listed)
    check(lowering, lowering.file_publishers(lowering.BOOSTERS), listed)
    check(lowering, lowering.network_publishers(lowering.NETWORKS), listed)
