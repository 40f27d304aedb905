"""docs/compatibility.md lists the rules that there are, and none fails without a reason."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "compatibility.py"
PAGE = ROOT / "docs" / "compatibility.md"
LINE = re.compile(r"^\| (?P<rule>.+) \| (?P<client>.+ \S+) \| (?P<result>.+) \|$")


@pytest.fixture(scope="module")
def compatibility() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compatibility", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_lists_the_rules_there_are() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]


def test_every_row_passes_or_says_why_not() -> None:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [line for line in lines if line != "| rule | client | result |"]
    assert len(rows) > 100
    for row in rows:
        found = LINE.match(row)
        assert found is not None, row
        result = found["result"]
        assert result == "pass" or re.fullmatch(r"no: .{10,}\. Instead: .{3,}", result), row


def test_a_rule_that_is_not_kept_needs_a_reason(compatibility: ModuleType) -> None:
    row = compatibility.row_of("MLFLOW", "a | b", reason="it is not", instead="501")
    assert "| a \\| b | requests " in compatibility.page_of([row])
    assert "| no: it is not. Instead: 501 |" in compatibility.page_of([row, row])
    for wrong in ({"reason": "it is not"}, {"instead": "501"}):
        with pytest.raises(ValueError, match="needs both"):
            compatibility.row_of("MLFLOW", "a", **wrong)
    with pytest.raises(ValueError, match="none of"):
        compatibility.row_of("NOBODY", "a")


def test_what_failed_or_never_ran_is_not_shown(compatibility: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "def pytest_configure(config):\n    config.addinivalue_line('markers', 'rule: a row')\n"
    )
    (tmp_path / "test_rules.py").write_text(
        "import pytest\n"
        "rule = pytest.mark.rule\n"
        "@rule('MLFLOW', 'good')\ndef test_good(): pass\n"
        "@rule('MLFLOW', 'bad')\ndef test_bad(): assert 0\n"
        "@rule('MLFLOW', 'skipped')\n@pytest.mark.skip\ndef test_skipped(): pass\n"
        "def test_unmarked(): assert 0\n"
    )
    rules = compatibility.Rules()
    arguments = ["-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-c", "/dev/null"]
    pytest.main([*arguments, "--rootdir", str(tmp_path), str(tmp_path)], plugins=[rules])
    assert [name.rpartition("::")[2] for name in rules.not_shown] == ["test_bad", "test_skipped"]
    assert len(rules.rows) == 3
