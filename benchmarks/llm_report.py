"""From figures to a table and to what was set as goals."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

LABELS = {
    "maas": "maas, streamed over HTTP",
    "openvino": "OpenVINO GenAI, in process",
    "llamacpp": "llama.cpp (xllamacpp), in process",
}
LEAK_MB = 20.0

Cases = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Goal:
    """A figure to reach; `measured` finds it in the results."""

    text: str
    limit: float
    measured: Callable[[Cases], float]
    most: bool = False


def _times(other: str, callers: int) -> Callable[[Cases], float]:
    """The median of the rounds' ratios: what drifts from round to round meets both alike."""
    pairs = _paired(other, f"tokens_s_{callers}")
    return lambda cases: statistics.median(ours / theirs for ours, theirs in pairs(cases))


def _paired(other: str, figure: str) -> Callable[[Cases], Iterator[tuple[float, float]]]:
    def found(cases: Cases) -> Iterator[tuple[float, float]]:
        rounds = [cases["speed"][name]["rounds"][figure] for name in ("maas", other)]
        return zip(*rounds, strict=True)

    return found


def _figure(case: str, name: str) -> Callable[[Cases], float]:
    return lambda cases: cases[case][name]


def _part(case: str, above: str, below: str) -> Callable[[Cases], float]:
    return lambda cases: cases[case][above] / cases[case][below]


def _first(cases: Cases) -> float:
    pairs = _paired("openvino", "first_ms_1")(cases)
    return statistics.median(ours - theirs for ours, theirs in pairs)


def goals(callers: tuple[int, ...]) -> list[Goal]:
    """What is to be reached."""
    return [
        *(
            Goal(f"tokens/s ÷ the bare engine, callers: {n}", 0.95, _times("openvino", n))
            for n in callers
        ),
        Goal("tokens/s ÷ llama.cpp, callers: 16", 3.0, _times("llamacpp", 16)),
        Goal("first token, ms over the bare engine, callers: 1", 10.0, _first, most=True),
        Goal(
            "first token of a prompt with 90% known ÷ a new one",
            0.3,
            _part("prefix", "known_ms", "cold_ms"),
            most=True,
        ),
        Goal(
            "iris p99 beside a busy language model ÷ alone",
            3.0,
            _part("neighbour", "beside_p99_ms", "alone_p99_ms"),
            most=True,
        ),
        Goal("streams not cancelled and not whole", 0.0, _figure("crowd", "not_whole"), most=True),
        Goal(
            "answers still running after 200 streams",
            0.0,
            _figure("crowd", "running_after"),
            most=True,
        ),
        Goal(
            "KV cache still used after 200 streams",
            0.0,
            _figure("crowd", "kv_used_after"),
            most=True,
        ),
        Goal(
            "MB that memory grew by with 200 more",
            LEAK_MB,
            _figure("crowd", "rss_growth_mb"),
            most=True,
        ),
    ]


def verdicts(cases: Cases, callers: tuple[int, ...]) -> list[dict[str, Any]]:
    """The goals with what was measured; None where it was not."""
    found = []
    for goal in goals(callers):
        try:
            measured: float | None = goal.measured(cases)
        except KeyError:
            measured = None
        met = None
        if measured is not None:
            met = measured <= goal.limit if goal.most else measured >= goal.limit
        found.append(
            {
                "goal": goal.text,
                "limit": goal.limit,
                "most": goal.most,
                "measured": measured,
                "met": met,
            }
        )
    return found


def table(cases: Cases, callers: tuple[int, ...]) -> str:
    """All cases as text."""
    lines = []
    if speed := cases.get("speed"):
        lines.append("Output tokens/s, and ms to the first token (100-token prompts, 64 new)")
        heads = [f"{n} caller{'s' * (n > 1)}" for n in callers]
        lines.append(f"{'':36}" + "".join(f"{head:>14}{'ms':>9}" for head in heads))
        for name, figures in speed.items():
            cells = (
                f"{figures[f'tokens_s_{n}']:>14,.1f}{figures[f'first_ms_{n}']:>9,.0f}"
                for n in callers
            )
            lines.append(f"{LABELS[name]:36}" + "".join(cells))
    for name in ("prefix", "neighbour", "crowd"):
        if name in cases:
            shown = ", ".join(f"{figure} {value:,.2f}" for figure, value in cases[name].items())
            lines.append(f"{name}: {shown}")
    return "\n".join(lines)


def goals_table(found: list[dict[str, Any]]) -> str:
    """The goals as text."""
    words = {True: "reached", False: "MISSED", None: "not measured"}
    lines = []
    for each in found:
        sign, measured = "≤" if each["most"] else "≥", each["measured"]
        shown = "–" if measured is None else f"{measured:,.2f}"
        lines.append(
            f"{words[each['met']]:>12}  {sign} {each['limit']:<6,g}{shown:>10}  {each['goal']}"
        )
    return "\n".join(lines)
