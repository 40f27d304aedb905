"""A real server for tests: `maas serve` in a folder of its own, on a port nobody else has.

```
Server.start ─▶ wait for the banner ─▶ the test ─▶ Server.stop: SIGTERM, exit 0, nobody left
```

Every process of a server inherits a mark in its environment, so that one that outlives its
supervisor is found wherever it has been adopted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests

from maas.client import Client
from maas.client.arguments import published
from maas.core.records import Operation, PublishOptions

MARK = "MAAS_TEST_MARK"
START_S = 180.0
STOP_S = 35.0
OURS = ("MAAS_", "PORT", "XDG_")


class Result:
    """What a command line came to."""

    def __init__(self, code: int, out: str, err: str):
        self.code = code
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"


class Server:
    """One `maas serve`.

    Args:
        home: the data folder; made by the server where it is missing.
        front: `envoy` or `uvicorn`.
        arguments: further ones of the command line.
        env: further variables of its environment.
        port: the port; a free one where None.
        cwd: where it is started; the data folder's parent where None.
        program: what runs `maas`.
    """

    def __init__(
        self,
        home: Path,
        front: str,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        port: int | None = None,
        cwd: Path | None = None,
        program: Sequence[str] = (sys.executable, "-m", "maas"),
    ):
        self.home = home
        self.front = front
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.mark = uuid4().hex
        # The path of a socket ends at 108 bytes: pytest's own folders are too deep for it.
        self.runtime = Path(tempfile.mkdtemp(prefix="maas-"))
        self.env = clean_environment() | {
            "MAAS_HOME": str(home),
            "XDG_RUNTIME_DIR": str(self.runtime),
            MARK: self.mark,
            **(env or {}),
        }
        self._argv = [
            *(*program, "serve", "--home", str(home)),
            *("--port", str(self.port), "--front", front, *arguments),
        ]
        self._cwd = cwd or home.parent
        self.out = home.parent / f"{home.name}-{self.mark[:6]}.out"
        self.err = self.out.with_suffix(".err")
        self.process: subprocess.Popen[bytes] | None = None
        self.http = requests.Session()
        self.http.trust_env = False

    def __repr__(self) -> str:
        return f"<server on {self.port} behind {self.front}>"

    def start(self, *, wait: bool = True) -> Server:
        """Starts it, and waits for its banner unless told otherwise."""
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self.process = subprocess.Popen(
                self._argv,
                env=self.env,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self._from = self.out.stat().st_size
        if wait:
            self.wait_for_banner()
        return self

    def wait_for_banner(self) -> str:
        """Waits until it says that it is ready."""

        def printed() -> str:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the server ended ({self.process.returncode}):\n{self.log()}")
            text = self.banner
            return text if " is ready at " in text and "  docs  " in text else ""

        return wait_until(printed, START_S, "the banner")

    @property
    def banner(self) -> str:
        """What it has printed since it was started last."""
        with self.out.open("rb") as file:
            file.seek(self._from)
            return file.read().decode()

    @property
    def client_env(self) -> dict[str, str]:
        """The environment of somebody on this machine who uses it."""
        env = {**self.env, "MAAS_URL": self.url}
        del env[MARK]
        return env

    @property
    def pid(self) -> int:
        """The supervisor's."""
        assert self.process is not None
        return self.process.pid

    @property
    def key(self) -> str:
        """The owner's key."""
        return self.env.get("MAAS_OWNER_KEY") or (self.home / "owner.key").read_text().strip()

    def log(self, lines: int = 60) -> str:
        """The end of what it has written on stderr."""
        if not self.err.exists():
            return ""
        return "\n".join(self.err.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """Ends it as a service manager does: exit status 0, and nobody is left."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {STOP_S} s:\n{self.log()}") from None
        assert code == 0, f"exit status {code}:\n{self.log()}"
        assert marked(self.mark) == {}, "processes are left"

    def close(self) -> None:
        """Takes away whatever is still there."""
        self.http.close()
        for pid in marked(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        shutil.rmtree(self.runtime, ignore_errors=True)

    # Talking to it

    def get(self, path: str, **about: Any) -> requests.Response:
        """GET of the data plane."""
        return self.ask("GET", path, **about)

    def post(self, path: str, body: Any = None, **about: Any) -> requests.Response:
        """POST of JSON, or of bytes as they are."""
        if isinstance(body, bytes | str):
            return self.ask("POST", path, data=body, **about)
        return self.ask("POST", path, json=body, **about)

    def ask(self, method: str, path: str, **about: Any) -> requests.Response:
        """One request, with the path as it is written here."""
        about.setdefault("timeout", 60)
        request = requests.Request(
            method,
            self.url,
            headers=about.pop("headers", None),
            data=about.pop("data", None),
            json=about.pop("json", None),
        )
        prepared = self.http.prepare_request(request)
        prepared.url = self.url + path  # requests would normalise `..` and `%2e`
        return self.http.send(prepared, **about)

    def api(self, method: str, path: str, json: Any = None, **about: Any) -> requests.Response:
        """A request to the control API with the owner's key."""
        headers = {"authorization": f"Bearer {self.key}", **about.pop("headers", {})}
        return self.ask(method, f"/api{path}", json=json, headers=headers, **about)

    def cli(self, *arguments: str, stdin: bytes | None = None, **env: str) -> Result:
        """Runs `maas …` against it, in a process of its own."""
        return run_cli(*arguments, stdin=stdin, env={**self.client_env, **env})

    @property
    def client(self) -> Client:
        """The SDK with the owner's key; close it."""
        return Client(self.url, self.key)

    def publish(self, path: Path, name: str, **options: Any) -> Operation:
        """Publishes through the SDK and waits until the version serves."""
        with self.client as client:
            operation = client.publish_job(path, name, PublishOptions(**options))
        published(operation)  # raises where it failed
        return operation

    def models(self) -> list[dict[str, Any]]:
        """What the registry holds, without what changes by itself."""
        found: list[dict[str, Any]] = self.api("GET", "/models").json()["models"]
        return found

    def processes(self) -> dict[str, dict[str, Any]]:
        """Its processes by id."""
        rows = self.api("GET", "/processes").json()["processes"]
        return {row["id"]: row for row in rows}

    def host_of(self, name: str, version: int) -> dict[str, Any]:
        """The host process that holds a version."""
        for row in self.processes().values():
            if row["kind"] == "host" and f"{name}:{version}" in row["models"]:
                return row
        raise AssertionError(f"nobody holds {name}:{version}")

    def staged(self) -> list[str]:
        """What lies in the staging folder."""
        return sorted(path.name for path in (self.home / "staging").iterdir())


def run_cli(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    cwd: Path | None = None,
) -> Result:
    """Runs `maas …` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "maas", *arguments],
        env=dict(env or clean_environment()),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=120,
        check=False,
        cwd=cwd,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def clean_environment() -> dict[str, str]:
    """This environment without what would reach a server as a setting."""
    return {name: text for name, text in os.environ.items() if not name.startswith(OURS)}


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


PATIENCE_S = 60.0


def marked(mark: str) -> dict[int, str]:
    """Processes that inherited a mark, with their command lines; those already dead left out."""
    found = {}
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(folder.name)] = line.decode(errors="replace")
    return found


def wait_until(true: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """Waits for something to become true, and gives what it gave.

    Args:
        timeout_s: how long it should take; a busy machine has `PATIENCE_S` at least.

    Raises:
        AssertionError: it did not.
    """
    timeout_s = max(timeout_s, PATIENCE_S)
    until = time.monotonic() + timeout_s
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < until, f"{what} did not come within {timeout_s} s"
        time.sleep(0.02)


@contextlib.contextmanager
def serving(home: Path, front: str, *arguments: str, **env: str) -> Iterator[Server]:
    """A server for one test, stopped properly at its end unless the test did it."""
    server = Server(home, front, arguments, env)
    try:
        yield server.start()
        if server.process is not None and server.process.poll() is None:
            server.stop()
    finally:
        server.close()
