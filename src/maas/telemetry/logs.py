"""Logs as JSON lines on the inherited stderr: time, level, process, model, message."""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime


class JsonLines(logging.Formatter):
    """One JSON object a record.

    Args:
        process: this process's id (`control`, `ingress-1`, `host-3`).
    """

    def __init__(self, process: str):
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Writes the record on one line, raw UTF-8."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in ("model", "request_id", "note"):
            value = getattr(record, name, None)
            if value is not None:
                line[name] = value
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def configure_logging(process: str, level: int = logging.INFO) -> None:
    """Sends every logger's records to stderr as JSON lines; what no one catches too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "alembic", "asyncio", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

    def uncaught(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            root.error("uncaught in thread %s", args.thread, exc_info=args.exc_value)

    threading.excepthook = uncaught
