"""What `llm.py` measures, each case on servers and engines that are there and idle between.

Prompts are random tokens that never come twice, so that nothing of them is known, unless that is
what is measured.
"""

from __future__ import annotations

import random
import re
import statistics
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.llm_engines import Answered, Bare
from benchmarks.llm_load import Streams, whole
from benchmarks.llm_model import PLAIN, VOCABULARY
from benchmarks.load import open_loop, open_loop_started
from benchmarks.processes import SHARED, Server, memory

MODEL = "bench"
PROMPT_TOKENS = 100
NEW_TOKENS = 64
PREFIX_TOKENS = 1000
PREFIX_SHARE = 0.9
IRIS_RATE = 100.0
CROWD = 200
BUSY = 16
SETTLE_S = 60.0
MB = 1e6

Figures = dict[str, float]


@dataclass(frozen=True)
class Setup:
    """What a run has.

    Attributes:
        server: `maas`, with the language model and iris published.
        bare: The engines alone, by name.
        iris: The body that iris is sent.
        seconds: How long a measurement lasts, at least.
        rounds: How often each is repeated.
        callers: How many ask at once, each in turn.
    """

    server: Server
    bare: Mapping[str, Bare]
    iris: Path
    seconds: float
    rounds: int
    callers: tuple[int, ...]


class Prompts:
    """Random prompts; the same ones in every run."""

    def __init__(self) -> None:
        self._dice = random.Random(0)

    def many(self, count: int, tokens: int) -> list[list[int]]:
        """So many prompts of so many tokens."""
        return [self.one(tokens) for _ in range(count)]

    def one(self, tokens: int) -> list[int]:
        """One prompt."""
        return [self._dice.randrange(PLAIN, VOCABULARY - 3) for _ in range(tokens)]


def served(setup: Setup, streams: Streams) -> Callable[[list[list[int]]], Answered]:
    """Asks `maas`; every answer must be whole."""

    def ask(prompts: list[list[int]]) -> Answered:
        start = time.perf_counter()
        found = streams.wave(MODEL, prompts, NEW_TOKENS)
        wall = time.perf_counter() - start
        for each in found:
            if problem := whole(each, NEW_TOKENS):
                raise RuntimeError(f"maas: {problem}")
        return Answered(wall, tuple(each.first_s for each in found))

    return ask


def speed(setup: Setup) -> dict[str, dict[str, Any]]:
    """Output tokens per second and the time to the first token, by contender.

    Returns:
        Contender → `tokens_s_N` and `first_ms_N` for N callers: medians over the rounds; the same
        figures of each round under `rounds`.
    """
    streams, prompts = Streams(setup.server.url), Prompts()
    ask = {"maas": served(setup, streams)}
    for name, engine in setup.bare.items():
        ask[name] = lambda asked, engine=engine: engine.ask(asked, NEW_TOKENS)
    found: dict[str, dict[str, list[float]]] = {name: {} for name in ask}
    for number in range(setup.rounds):
        for callers in setup.callers:
            # The order turns, so that a drift of the machine meets everybody.
            names = [*ask]
            for name in names[number % len(names) :] + names[: number % len(names)]:
                ask[name](prompts.many(callers, PROMPT_TOKENS))  # warm
                answers = list(_waves(ask[name], prompts, callers, setup.seconds))
                tokens = callers * NEW_TOKENS * len(answers)
                rate = tokens / sum(each.wall_s for each in answers)
                first = statistics.median(s for each in answers for s in each.first_s)
                found[name].setdefault(f"tokens_s_{callers}", []).append(rate)
                found[name].setdefault(f"first_ms_{callers}", []).append(first * 1e3)
                print(
                    f"  round {number + 1}, {callers} callers, {name}: {rate:,.1f} tokens/s, "
                    f"first token after {first * 1e3:,.0f} ms",
                    flush=True,
                )
    streams.close()
    return {
        name: {figure: statistics.median(values) for figure, values in figures.items()}
        | {"rounds": figures}
        for name, figures in found.items()
    }


def _waves(
    ask: Callable[[list[list[int]]], Answered], prompts: Prompts, callers: int, seconds: float
) -> Iterator[Answered]:
    end = time.perf_counter() + seconds
    while True:
        yield ask(prompts.many(callers, PROMPT_TOKENS))
        if time.perf_counter() > end:
            return


def prefix(setup: Setup) -> Figures:
    """The time to the first token of long prompts: new ones, and ones whose beginning is known."""
    streams, prompts = Streams(setup.server.url), Prompts()
    known = round(PREFIX_TOKENS * PREFIX_SHARE)
    cold, warm = [], []
    for _ in range(2 + setup.rounds):
        first = prompts.one(PREFIX_TOKENS)
        second = first[:known] + prompts.one(PREFIX_TOKENS - known)
        for prompt, into in ((first, cold), (second, warm)):
            (stream,) = streams.wave(MODEL, [prompt], 2)
            if problem := whole(stream, 2):
                raise RuntimeError(f"maas: {problem}")
            into.append(stream.first_s * 1e3)
    streams.close()
    return {"cold_ms": statistics.median(cold), "known_ms": statistics.median(warm)}


def neighbour(setup: Setup) -> Figures:
    """Iris, asked evenly: its latencies alone and beside a language model that never rests."""
    streams, prompts = Streams(setup.server.url), Prompts()
    ask, url = served(setup, streams), f"{setup.server.url}/v2/models/iris/infer"
    alone, beside = [], []
    for _ in range(setup.rounds):
        where = {"cores": SHARED.load, "rate": IRIS_RATE, "seconds": setup.seconds}
        alone.append(open_loop(url, setup.iris, **where))
        with open_loop_started(url, setup.iris, **where) as found:
            for _ in _waves(ask, prompts, BUSY, setup.seconds + 1):
                pass
        beside.append(found[0])
    streams.close()
    if errors := sum(each.errors for each in (*alone, *beside)):
        raise RuntimeError(f"iris: {errors} errors")
    return {
        f"{name}_{figure}_ms": statistics.median(getattr(each, f"{figure}_us") for each in rows)
        / 1e3
        for name, rows in (("alone", alone), ("beside", beside))
        for figure in ("p50", "p99")
    }


def crowd(setup: Setup) -> Figures:
    """Two hundred streams, half of them cancelled at random, twice: what is left behind.

    The first time fills caches; memory is compared between the two.
    """
    dice, prompts = random.Random(1), Prompts()
    lost = 0
    rss = []
    for _ in range(2):
        streams = Streams(setup.server.url)
        limits = [dice.randrange(1, 20) if at % 2 else None for at in range(CROWD)]
        dice.shuffle(limits)
        asked = prompts.many(CROWD, PROMPT_TOKENS)
        for each in streams.wave(MODEL, asked, NEW_TOKENS, limits):
            if not each.cancelled and (problem := whole(each, NEW_TOKENS)):
                print(f"  not whole: {problem}", flush=True)
                lost += 1
        streams.close()
        _settled(setup.server.url)
        rss.append(memory(setup.server.pid).rss)
    left = _gauges(setup.server.url)
    return {
        "streams": CROWD,
        "not_whole": lost,
        "running_after": left["maas_generations_running"],
        "waiting_after": left["maas_generations_waiting"],
        "kv_used_after": left["maas_kv_cache_used_ratio"],
        "rss_growth_mb": (rss[1] - rss[0]) / MB,
        "rss_mb": rss[1] / MB,
    }


def _settled(url: str) -> None:
    """Wait until nothing runs, and the figures have been told."""
    end = time.monotonic() + SETTLE_S
    quiet = 0
    while quiet < 3 and time.monotonic() < end:
        gauges = _gauges(url)
        quiet = 0 if any(gauges.values()) else quiet + 1
        time.sleep(1.0)


def _gauges(url: str) -> dict[str, float]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    found = {}
    for name in (
        "maas_generations_running",
        "maas_generations_waiting",
        "maas_kv_cache_used_ratio",
    ):
        values = re.findall(rf"^{name}{{[^}}]*}} (\S+)$", text, re.MULTILINE)
        found[name] = sum(map(float, values))
    return found
