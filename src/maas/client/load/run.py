"""Runs a load test in processes of its own and puts what they measured together."""

from __future__ import annotations

import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO

import msgspec

from maas.client.errors import ServerUnreachable
from maas.client.load.messages import GO, READY, LoadPlan, Tally, read_frame, write_frame
from maas.core.errors import ErrorKind, MaasError

CONNECT_S = 60.0
"""How long all connections may take to be made."""
TICK_S = 0.1


def split(plan: LoadPlan, processes: int) -> list[LoadPlan]:
    """Divides a plan among processes: connections, rate and the moments of a constant rate."""
    shares = min(processes, plan.connections)
    return [
        msgspec.structs.replace(
            plan,
            connections=plan.connections // shares + (number < plan.connections % shares),
            rate=plan.rate / shares,
            offset=number / shares,
            seed=plan.seed + number,
        )
        for number in range(shares)
    ]


def run(plan: LoadPlan, processes: int, tick: Callable[[float], None]) -> tuple[Tally, bool]:
    """Runs a plan.

    Args:
        plan: what to do, in all.
        processes: how many share it.
        tick: called now and then with the seconds since the start.

    Returns:
        What was measured, and whether Ctrl-C ended it early.

    Raises:
        ServerUnreachable: a connection was refused.
        MaasError: INTERNAL where a process of the generator died.
    """
    workers: list[_Worker] = []
    try:
        workers.extend(_Worker(share) for share in split(plan, processes))
        for worker in workers:
            worker.wait_ready(plan)
        for worker in workers:
            worker.go()
        interrupted = _wait(workers, tick, time.monotonic())
        whole = Tally()
        for worker in workers:
            whole.merge(worker.tally())
        return whole, interrupted
    finally:
        for worker in workers:
            worker.close()


def _wait(workers: Sequence[_Worker], tick: Callable[[float], None], started: float) -> bool:
    """Waits until every process has something to say; True if Ctrl-C stopped them."""
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker.output, selectors.EVENT_READ)
        interrupted = False
        while selector.get_map():
            try:
                for key, _ in selector.select(TICK_S):
                    selector.unregister(key.fileobj)
                tick(time.monotonic() - started)
            except KeyboardInterrupt:
                if interrupted:  # the second time in earnest
                    raise
                interrupted = True
                for worker in workers:
                    worker.stop()
        return interrupted


class _Worker:
    """One process. A session of its own: a terminal's Ctrl-C is the parent's to handle."""

    def __init__(self, plan: LoadPlan):
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "maas.client.load.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        write_frame(self._input, plan)

    @property
    def _input(self) -> BinaryIO:
        assert self._process.stdin is not None
        return self._process.stdin  # type: ignore[return-value]  # binary, as Popen makes it

    @property
    def output(self) -> BinaryIO:
        """Where it says what it measured."""
        assert self._process.stdout is not None
        return self._process.stdout  # type: ignore[return-value]  # binary, as Popen makes it

    def wait_ready(self, plan: LoadPlan) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.output, selectors.EVENT_READ)
            word = self.output.read(1) if selector.select(CONNECT_S) else b""
        if word == READY:
            return
        reason = self.output.read().decode("utf-8", "replace") if word else "no answer"
        raise ServerUnreachable(
            f"{plan.connections} connections to {plan.host}:{plan.port} could not be made "
            f"({reason}); try --connections with fewer"
        )

    def go(self) -> None:
        self._input.write(GO)
        self._input.flush()

    def stop(self) -> None:
        self._input.close()

    def tally(self) -> Tally:
        try:
            return read_frame(self.output, Tally)
        except EOFError:
            raise MaasError(
                ErrorKind.INTERNAL, "a process of the load generator died; run it again"
            ) from None

    def close(self) -> None:
        if not self._input.closed:
            self._input.close()
        self.output.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
