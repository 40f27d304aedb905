"""Every official client finds its protocol; each script of `clients` runs once, in a process."""

from __future__ import annotations

import pytest
from tests.conformance.rules import SCRIPTS, Script, checks_of


def _cases() -> list[object]:
    return [
        pytest.param(
            script,
            check,
            id=f"{script.name}-{check}",
            marks=pytest.mark.rule(
                shown.family,
                shown.rule,
                (script.client, script.package, script.apart),
                reason=shown.reason,
                instead=shown.instead,
            ),
        )
        for script in SCRIPTS
        for check, shown in checks_of(script).items()
    ]


@pytest.mark.parametrize(("script", "check"), _cases())
def test_a_client_finds_its_protocol(script: Script, check: str, outcomes) -> None:
    found = outcomes(script)[check]
    assert not found, found


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_runs_every_check_it_has(script: Script, outcomes) -> None:
    assert list(outcomes(script)) == list(checks_of(script))
