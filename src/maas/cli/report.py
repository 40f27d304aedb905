"""What publishing found, on the terminal: the engines compared, the proof, the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

from maas.cli.output import size_text
from maas.core.generation import GenerativeSpec
from maas.core.records import EngineTiming, Parity, Report

Line = tuple[str, str]
"""A label, empty where the line goes on with the one before; and its text."""


def report_lines(report: Report) -> Iterator[Line]:
    """Writes a report as labelled lines."""
    place = f"{report.host} host" + (", in the sandbox" if report.confined else "")
    yield "format", report.format
    yield "engine", f"{report.engine} ({report.platform}), {place}"
    yield "why", report.reason
    for name, version in sorted(report.written_with.items()):
        read = report.read_with.get(name)
        yield "written with", f"{name} {version}" + (f", read with {read}" if read else "")
    for name, version in sorted(report.read_with.items()):
        if name not in report.written_with:
            yield "read with", f"{name} {version}"
    if report.generative is not None:
        yield from _generative(report.generative)
    if report.parity is not None:
        counted = ("samples", "answers") if report.generative is None else ("tokens", "ones")
        yield from _parity(report.parity, *counted)
    yield "batching", report.batch_note
    say = _timing if report.generative is None else _speed
    width = max((len(timing.engine) for timing in report.timings), default=0)
    for number, timing in enumerate(report.timings):
        chosen = timing.engine == report.engine
        label = "" if number else "timing"
        yield label, f"{'*' if chosen else ' '} {timing.engine:<{width}}  {say(timing)}"
    for warning in report.warnings:
        yield "warning", warning
    if report.trusted:
        served = "the sandbox" if report.confined else "a form without code"
        yield "trusted", f"published with --trust; served in {served}"
    for number, sentence in enumerate(report.sandbox):
        yield "" if number else "sandbox", sentence
    yield "size", f"{size_text(report.size_bytes)}, {size_text(report.memory_bytes)} in memory"


def _generative(spec: GenerativeSpec) -> Iterator[Line]:
    yield "context", f"{spec.context_tokens:,} tokens; a vocabulary of {spec.vocabulary:,}"
    if spec.served_names:
        yield "served as", ", ".join(spec.served_names)
    if spec.tool_format:
        yield "tools", f"called as {spec.tool_format} models do"
    if spec.lacks:
        then = "left out of requests" if spec.drop_params else "refused"
        yield "lacks", f"{', '.join(spec.lacks)}: {then}"


def _parity(parity: Parity, what: str, distinct: str) -> Iterator[Line]:
    verdict = "agrees" if parity.agrees else "does not agree"
    yield (
        "parity",
        f"{verdict} on {parity.samples} {what} ({parity.source}), "
        f"max abs {parity.max_abs:.3g}, max rel {parity.max_rel:.3g}, "
        f"{parity.distinct_answers} different {distinct}",
    )
    if parity.note:
        yield "", parity.note


def _speed(timing: EngineTiming) -> str:
    """How fast a language model writes: its rows are tokens, and a batch is callers at once."""
    if not timing.us_per_row_1 or not timing.us_per_row_batch:
        return timing.note
    text = (
        f"{1e6 / timing.us_per_row_1:,.0f} tokens/s alone, "
        f"{1e6 / timing.us_per_row_batch:,.0f} with {timing.batch} callers"
    )
    return f"{text}; {timing.note}" if timing.note else text


def _timing(timing: EngineTiming) -> str:
    if not timing.us_per_row_1 and timing.note:  # it could not run, and so was not timed
        return timing.note
    text = (
        f"{timing.us_per_row_1:.1f} µs alone, "
        f"{timing.us_per_row_batch:.2f} µs a row in batches of {timing.batch}"
    )
    if not timing.agrees:
        text += "; its answers differ"
    return f"{text}; {timing.note}" if timing.note else text
