"""`docs/compatibility.md`: every rule of the protocols, the client that showed it, what came of it.

```
tests marked `rule` ─▶ pytest ─▶ one row for each family, rule and client ─▶ the page
```

A row passes, or gives the reason why not and what a caller sees instead. A test that fails stops
the page from being written.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.conformance.rules import FAMILIES, REQUESTS, version_of  # noqa: E402

PAGE = ROOT / "docs" / "compatibility.md"
TESTS = str(ROOT / "tests" / "conformance")
INTRODUCTION = """\
<!-- Made by scripts/compatibility-docs from tests/conformance; do not edit. -->
# What works with which client

Every row is a test: the client named in it, of that version and from PyPI, talks to a running
server over a socket. Each family of clients runs in a process of its own. `pass` is what the
protocol asks for; otherwise the row says why not, and what a caller sees instead.

`scripts/test tests/conformance` runs them; `scripts/compatibility-docs` runs them and writes this
page."""


class Row(msgspec.Struct, frozen=True, order=True):
    """One line of the page.

    Args:
        family: a key of `FAMILIES`.
        rule: what is shown.
        client: its name and version.
        reason: why the rule is not kept; empty where it is.
        instead: what a caller sees then.
    """

    family: str
    rule: str
    client: str
    reason: str = ""
    instead: str = ""


class Rules:
    """A plugin of pytest: the rows of the tests it collects, and which of them did not pass."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.wrong: dict[str, str] = {}
        self._passed: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keeps the tests that are marked."""
        items[:] = [item for item in items if item.get_closest_marker("rule")]
        for item in items:
            mark = item.get_closest_marker("rule")
            assert mark is not None
            self.rows[item.nodeid] = row_of(*mark.args, **mark.kwargs)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes what did not pass; a test that was skipped has shown nothing."""
        if report.when == "call" and report.passed:
            self._passed.add(report.nodeid)
        elif report.failed or report.skipped:
            self.wrong[report.nodeid] = report.longreprtext or "skipped"

    @property
    def not_shown(self) -> list[str]:
        """Tests that failed, were skipped or never ran."""
        return sorted(self.wrong.keys() | (self.rows.keys() - self._passed))


def row_of(
    family: str,
    rule: str,
    client: tuple[str, str] | tuple[str, str, bool] = REQUESTS,
    reason: str = "",
    instead: str = "",
) -> Row:
    """The row of a test's mark.

    Raises:
        ValueError: for a family that is not one, or a reason without what is seen instead.
    """
    if family not in FAMILIES:
        raise ValueError(f"{family!r} is none of {', '.join(FAMILIES)}")
    if bool(reason) != bool(instead):
        raise ValueError(f"{rule!r} needs both a reason and what a caller sees instead, or neither")
    name, *pinned = client
    return Row(family, rule, f"{name} {version_of(*pinned)}", reason, instead)


def page_of(rows: Iterable[Row]) -> str:
    """The page."""
    of_family: dict[str, dict[Row, None]] = {family: {} for family in FAMILIES}
    for row in rows:
        of_family[row.family][row] = None
    parts = [INTRODUCTION]
    for family, lines in of_family.items():
        parts += [f"\n## {FAMILIES[family]}\n", "| rule | client | result |", "|---|---|---|"]
        parts += [f"| {_cell(row.rule)} | {row.client} | {_result(row)} |" for row in lines]
    return "\n".join(parts) + "\n"


def _result(row: Row) -> str:
    if not row.reason:
        return "pass"
    return f"no: {_cell(row.reason)}. Instead: {_cell(row.instead)}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def collected() -> Mapping[str, Row]:
    """The rows of the tests there are, without running any."""
    rules = Rules()
    code = pytest.main([TESTS, "--collect-only", "-qq", "-p", "no:cacheprovider"], plugins=[rules])
    if code:
        raise SystemExit(f"the tests could not be collected ({code})")
    return rules.rows


def main(arguments: list[str]) -> int:
    """Runs the tests and writes the page; `--check` compares it with the tests there are."""
    if arguments == ["--check"]:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page_of(collected().values()):
            return 0
        sys.stderr.write("docs/compatibility.md is not what the tests say: ")
        sys.stderr.write("run scripts/compatibility-docs\n")
        return 1
    if arguments:
        sys.stderr.write("usage: scripts/compatibility-docs [--check]\n")
        return 2
    rules = Rules()
    pytest.main([TESTS, "-q", "-m", ""], plugins=[rules])
    if rules.not_shown:
        listed = "\n  ".join(rules.not_shown)
        sys.stderr.write(f"not written: these rules were not shown:\n  {listed}\n")
        return 1
    PAGE.write_text(page_of(rules.rows.values()), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.relative_to(ROOT)}: {len(set(rules.rows.values()))} rows\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
