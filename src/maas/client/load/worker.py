"""A process of the load generator.

stdin: the plan, then GO, then nothing until its end, which stops the run early;
stdout: READY once connected, then the tally; or why not, as text after a zero byte.
"""

from __future__ import annotations

import asyncio
import sys
from typing import BinaryIO

from maas.client.load.generator import Generator
from maas.client.load.messages import GO, READY, LoadPlan, read_frame, write_frame


def main(source: BinaryIO, sink: BinaryIO) -> int:
    """Does what the plan on `source` says and writes the tally to `sink`."""
    try:
        import uvloop
    except ImportError:
        runner = asyncio.Runner()
    else:
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with runner:
        return runner.run(_work(source, sink))


async def _work(source: BinaryIO, sink: BinaryIO) -> int:
    generator = Generator(read_frame(source, LoadPlan))
    try:
        await generator.connect()
    except OSError as error:
        generator.close()
        sink.write(b"\0" + (error.strerror or str(error)).encode())
        sink.flush()
        return 1
    sink.write(READY)
    sink.flush()
    if source.read(1) != GO:
        return 1
    loop = asyncio.get_running_loop()
    # The parent says nothing more: what can be read now is its end.
    loop.add_reader(source.fileno(), generator.stop)
    tally = await generator.run()
    loop.remove_reader(source.fileno())
    write_frame(sink, tally)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin.buffer, sys.stdout.buffer))
