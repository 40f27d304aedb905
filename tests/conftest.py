"""Fixtures for the tests that talk to a real server; a failed one shows the server's log."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = str(Path(__file__).parents[1])
if ROOT not in sys.path:
    # pytest's importlib mode leaves sys.path alone, and `tests.server` is shared between folders.
    sys.path.insert(0, ROOT)

from tests import zoo  # noqa: E402  # only now can it be found
from tests.language import tiny_gguf  # noqa: E402
from tests.server import Server, serving  # noqa: E402

Start = Callable[..., Server]

# A busy machine may take its time over an example, and every run tries the same ones.
settings.register_profile(
    "house", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            servers = value.servers if hasattr(value, "servers") else [value]
            for server in servers:
                if isinstance(server, Server):
                    report.sections.append((f"log of {server}", server.log()))
    return report


@pytest.fixture(scope="session", params=["envoy", "uvicorn"])
def front(request: pytest.FixtureRequest) -> str:
    if request.param == "envoy":
        from maas.wire.envoy import why_not

        missing = why_not()
        if missing:
            pytest.skip(missing)
    return str(request.param)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that one of the workers of pytest-xdist makes and all of them share."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    base = factory.getbasetemp().parent if parallel else factory.getbasetemp()
    folder = base / name
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            folder.mkdir()
            make(folder)
            (folder / "made").touch()
    return folder


@pytest.fixture(scope="session")
def zoo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which the models of `tests.zoo` are published; copied, never served."""
    return made_once(tmp_path_factory, "zoo", make_zoo) / "home"


def make_zoo(folder: Path) -> None:
    files = {
        "iris": zoo.iris(folder / "iris.skops"),
        "flowers": zoo.flowers(folder / "flowers.skops"),
        "words": zoo.words(folder / "words.skops"),
        "centroid": zoo.centroid(folder / "centroid.skops"),
        "my_model": zoo.image(folder / "image.onnx"),
        "counts": zoo.counts(folder / "counts.onnx"),
        "centred": zoo.centred(folder / "centred.onnx"),
        "pair": zoo.pair(folder / "pair.onnx"),
        "花": zoo.affine(folder / "花.onnx", 2),
    }
    second = zoo.iris(folder / "second.skops", upside_down=True)
    with serving(folder / "home", "uvicorn") as server:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda name: server.publish(files[name], name), files))
        server.publish(second, "iris", alias=("next",), promote=False)
        assert server.api("PUT", "/models/iris/aliases/prod", {"version": 1}).status_code == 200


@pytest.fixture(scope="session")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with two models that load in no time: `counts`, and `m` in two versions."""
    return made_once(tmp_path_factory, "small", make_small) / "home"


def make_small(folder: Path) -> None:
    with serving(folder / "home", "uvicorn") as server:
        server.publish(zoo.counts(folder / "counts.onnx"), "counts")
        server.publish(zoo.affine(folder / "1.onnx", 1), "m", alias=("prod",))
        server.publish(zoo.affine(folder / "2.onnx", 2), "m", alias=("next",), promote=False)


@pytest.fixture(scope="session")
def writers_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with two tiny language models of random weights: what they write is noise.

    `assistant` is also served as gpt-4o-mini and meta/llama. `bare` has no chat template, and
    leaves out what its engine lacks. `counts` is no language model.
    """
    return made_once(tmp_path_factory, "writers", make_writers) / "home"


def make_writers(folder: Path) -> None:
    assistant = tiny_gguf(folder / "assistant.gguf")
    bare = tiny_gguf(folder / "bare.gguf", "llama", chat_template="")
    served = ("gpt-4o-mini", "meta/llama")
    with serving(folder / "home", "uvicorn") as server:
        # Which engine is the fastest with models as tiny as these is luck.
        engine = "openvino-genai"
        server.publish(assistant, "assistant", engine=engine, served_names=served, alias=("prod",))
        server.publish(bare, "bare", engine=engine, drop_params=True)
        server.publish(zoo.counts(folder / "counts.onnx"), "counts")


@pytest.fixture(scope="session")
def server(front: str, zoo_home: Path, tmp_path_factory: pytest.TempPathFactory):
    """One server for all tests of a front, with the whole zoo; a test leaves it as it was."""
    home = tmp_path_factory.mktemp(front) / "home"
    shutil.copytree(zoo_home, home)
    with serving(home, front) as running:
        yield running


@pytest.fixture(scope="session")
def usual(zoo_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same behind whichever front is usual here, where the front makes no difference."""
    home = tmp_path_factory.mktemp("usual") / "home"
    shutil.copytree(zoo_home, home)
    with serving(home, "auto") as running:
        yield running


@pytest.fixture(scope="session")
def guarded(front: str, zoo_home: Path, tmp_path_factory: pytest.TempPathFactory):
    """The same where predictions want a key, and `/predict` and `/classify` have defaults."""
    home = tmp_path_factory.mktemp(f"{front}-guarded") / "home"
    shutil.copytree(zoo_home, home)
    defaults = {"MAAS_DEFAULTS_PREDICT": "iris", "MAAS_DEFAULTS_CLASSIFY": "flowers"}
    with serving(home, front, "--auth", "required", **defaults) as running:
        yield running


class Starter:
    """Starts servers for one test, in folders of their own unless it says which."""

    def __init__(self, folder: Path, front: str):
        self._folder = folder
        self._front = front
        self.servers: list[Server] = []

    def __call__(
        self,
        *arguments: str,
        home: Path | None = None,
        like: Path | None = None,
        start: bool = True,
        wait: bool = True,
        port: int | None = None,
        **env: str,
    ) -> Server:
        """Starts one.

        Args:
            arguments: of `maas serve`.
            home: its data folder.
            like: a data folder to copy into its own.
            start: whether to start it at all.
            wait: whether to wait for its banner.
            port: its port; a free one where None.
            env: variables of its environment.
        """
        home = home or self._folder / f"home{len(self.servers)}"
        if like is not None:
            shutil.copytree(like, home)
        server = Server(home, self._front, arguments, env, port)
        self.servers.append(server)
        return server.start(wait=wait) if start else server


@pytest.fixture
def start(tmp_path: Path, front: str) -> Iterator[Starter]:
    """Starts servers that end with the test; one still running must end well."""
    starter = Starter(tmp_path, front)
    try:
        yield starter
        for server in starter.servers:
            if server.process is not None and server.process.poll() is None:
                server.stop()
    finally:
        for server in starter.servers:
            server.close()


@pytest.fixture
def start_any(tmp_path: Path) -> Iterator[Starter]:
    """The same where the front makes no difference to what is tested."""
    starter = Starter(tmp_path, "auto")
    try:
        yield starter
        for server in starter.servers:
            if server.process is not None and server.process.poll() is None:
                server.stop()
    finally:
        for server in starter.servers:
            server.close()
