from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import maas_test_parrot
import numpy as np
import pytest
from maas_test_models import BATCHED, HOLD, SIGNATURES, WHOLE, NumpyRuntime
from maas_test_scripted import installed

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Delta, GenerateRequest, Sampling, TextPrompt
from maas.core.signature import Signature, check_inputs, text_signature
from maas.core.states import ServableState
from maas.core.tensor import DType, TensorSpec
from maas.serving.batcher import Job
from maas.serving.frames import InferFrame
from maas.serving.loader import Loader, resident_bytes
from maas.serving.messages import Failed, FromProcess, Ready, Unloaded
from maas.serving.plan import SCHEMA, HostPlan, ModelPlan, Plan, VersionPlan
from maas.serving.segments import Budget, SegmentPool
from maas.serving.warmup import sample_inputs
from maas.settings import GenerationSettings, ServingSettings
from maas.telemetry.metrics import Metrics


class Host:
    """A loader with the NumPy runtime, and the plan it follows."""

    def __init__(
        self,
        folder: Path,
        runtime: NumpyRuntime | maas_test_parrot.ParrotRuntime | None = None,
        settings: ServingSettings = ServingSettings(threads=3),  # noqa: B008 - it is frozen
    ):
        self.folder = folder
        self.runtime = runtime or NumpyRuntime()
        self.said: list[FromProcess] = []
        self.lost: list[str] = []
        self.loader = Loader(
            "host-1",
            {"numpy": self.runtime, "script": self.runtime}.__getitem__,
            settings,
            GenerationSettings(),
            Metrics(),
            self.said.append,
            folder / "scratch",
            self.lost.append,
        )

    def follow(
        self, signatures: Mapping[str, Signature] | None = None, runtime: str = "numpy",
        host: str = "host-1", attempt: int = 1, **texts: str,
    ) -> list[FromProcess]:  # fmt: skip
        """Follows a plan that holds these models, version 1 of each; gives what was said."""
        for name, text in texts.items():
            if text != "missing":
                (self.folder / name).write_text(text, encoding="utf-8")
        models = {
            name: ModelPlan(
                {
                    1: VersionPlan(
                        ServableState.LOADING, "", host, runtime, "numpy", str(self.folder), name,
                        "text", dict(signatures or SIGNATURES), attempt,
                    )
                },
                None,
                {},
            )
            for name in texts
        }  # fmt: skip
        holds = tuple((name, 1) for name in texts)
        self.said.clear()
        self.loader.follow(Plan(SCHEMA, "e", 1, models, {host: HostPlan("s", 1, False, holds)}))
        return list(self.said)

    def ask(self, name: str, value: float, signature: str = BATCHED.name) -> bytes:
        batcher = self.loader.lookup(name, 1)
        assert batcher is not None
        answers: SimpleQueue[bytes] = SimpleQueue()
        inputs = {"x": np.array([[value]], np.float32)}
        frame = InferFrame(1, name, 1, signature, (1,), (math.inf,), ())
        batcher.put(Job(frame, inputs, answers.put, time.monotonic(), SegmentPool(Budget(0))))
        return answers.get(timeout=5)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_what_the_plan_names_is_loaded_warmed_up_and_said(host: Host) -> None:
    [ready] = host.follow(m="ok")
    assert isinstance(ready, Ready)
    assert (ready.name, ready.version) == ("m", 1)
    assert ready.memory_bytes >= 0
    assert ready.load_s > 0
    [model] = host.runtime.loaded
    # A row, then a batch of each batched signature; a row of the others.
    sizes = {
        name: [len(values) for n, values in model.executions if n == name] for name in SIGNATURES
    }
    assert sizes == {name: [1, 8] if one.batched else [1] for name, one in SIGNATURES.items()}
    assert host.runtime.devices[0].threads == 3
    assert host.ask("m", 2)
    host.follow()


def test_what_is_loaded_is_not_loaded_again(host: Host) -> None:
    host.follow(m="ok")
    assert host.follow(m="ok") == []
    [added] = host.follow(m="ok", n="ok")
    assert isinstance(added, Ready)
    assert len(host.runtime.loaded) == 2
    host.follow()


def test_what_the_plan_no_longer_names_is_unloaded(host: Host) -> None:
    host.follow(m="ok", n="ok")
    assert host.follow(n="ok") == [Unloaded("m", 1)]
    assert [model.closed for model in host.runtime.loaded] == [1, 0]
    assert host.loader.lookup("m", 1) is None
    assert host.loader.lookup("n", 1) is not None
    assert host.follow() == [Unloaded("n", 1)]


def test_a_version_that_waits_elsewhere_is_called_from_several_threads(host: Host) -> None:
    host.follow(m="meeting")
    with ThreadPoolExecutor() as pool:
        data = list(pool.map(lambda _: host.ask("m", HOLD, WHOLE.name), range(2)))
    assert all(b"BrokenBarrier" not in one for one in data)
    host.follow()


def test_another_hosts_versions_are_not_its_business(host: Host) -> None:
    assert host.follow(host="host-2", m="ok") == []
    assert host.loader.lookup("m", 1) is None


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("refused the file ends early", ErrorKind.FAILED_PRECONDITION, "the file ends early"),
        ("crash", ErrorKind.INTERNAL, "RuntimeError: the file is torn"),
        ("broken", ErrorKind.INTERNAL, "OSError: a library is missing"),
        ("misnamed", ErrorKind.INTERNAL, "it answered ['z'] where its signature has ['y']"),
    ],
)
def test_a_load_that_fails_is_said_with_its_reason(
    host: Host, text: str, kind: ErrorKind, reason: str
) -> None:
    said = host.follow({BATCHED.name: BATCHED}, m=text)
    assert said == [Failed("m", 1, kind, reason)]
    assert host.loader.lookup("m", 1) is None


def test_the_reason_holds_no_path_of_the_server(host: Host) -> None:
    [failed] = host.follow(m="missing")
    assert isinstance(failed, Failed)
    assert str(host.folder) not in failed.reason


def test_a_failure_stops_no_other_version(host: Host) -> None:
    said = host.follow(a="ok", b="crash", c="ok")
    assert [type(message) for message in said] == [Ready, Failed, Ready]
    host.follow()


def test_a_failed_version_is_not_tried_again_until_the_plan_has_dropped_it(host: Host) -> None:
    host.follow(m="crash")
    assert host.follow(m="ok") == []
    assert host.follow() == [Unloaded("m", 1)]
    assert isinstance(host.follow(m="ok")[0], Ready)
    host.follow()


def test_a_failed_version_is_tried_again_when_it_is_given_to_the_host_again(host: Host) -> None:
    """Also where the plan that dropped it was never read, being replaced at once."""
    host.follow(m="crash")
    assert [type(one) for one in host.follow(attempt=2, m="crash")] == [Failed]
    assert [type(one) for one in host.follow(attempt=3, m="ok")] == [Ready]
    assert host.follow(attempt=4, m="ok") == []
    host.follow()


def test_a_model_that_fails_its_warm_up_gives_its_memory_back(host: Host) -> None:
    host.follow({BATCHED.name: BATCHED}, m="broken")
    assert [model.closed for model in host.runtime.loaded] == [1]


def test_a_model_that_refuses_made_up_values_is_ready(host: Host) -> None:
    [ready] = host.follow({BATCHED.name: BATCHED}, m="picky")
    assert isinstance(ready, Ready)
    assert len(host.runtime.loaded[0].executions) == 2
    host.follow()


def test_a_runtime_that_is_not_installed_is_a_failure(host: Host) -> None:
    [failed] = host.follow(runtime="mxnet", m="ok")
    assert isinstance(failed, Failed)
    assert "mxnet" in failed.reason


def test_all_is_said_again_to_a_control_that_is_new(host: Host) -> None:
    first = host.follow(m="ok", n="crash")
    host.said.clear()
    host.loader.say_all()
    assert host.said == first
    host.follow()


EVERY = Signature(
    "every",
    tuple(
        TensorSpec(dtype.value, dtype, shape)
        for dtype, shape in zip(
            DType, [(None,), (None, 2), (None, None, 3)] * 5, strict=False
        )
    ),
    (),
    batched=True,
)  # fmt: skip


def test_made_up_inputs_fit_the_signature() -> None:
    assert check_inputs(EVERY, sample_inputs(EVERY, 8)) == 8
    assert check_inputs(WHOLE, sample_inputs(WHOLE, 1)) == 1
    assert sample_inputs(EVERY, 1)["BYTES"].tolist() == [[b"text", b"text"]]


def test_resident_memory_is_measured() -> None:
    before = resident_bytes()
    held = np.ones(8 << 20)  # 64 MiB
    assert resident_bytes() - before > 32 << 20
    assert held[0] == 1


# Versions that can carry code

ONE = {BATCHED.name: BATCHED}


class Confined(NumpyRuntime):
    """Says what its namesake in the worker is."""

    confined = True


@pytest.fixture
def confined(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Host:
    monkeypatch.setenv("PYTHONPATH", str(installed(tmp_path_factory.mktemp("site"))))
    return Host(tmp_path, Confined())


def test_a_version_that_can_carry_code_is_loaded_in_a_worker(confined: Host) -> None:
    [ready] = confined.follow(ONE, runtime="script", m="def infer(x): return {'y': 2 * x}")
    assert isinstance(ready, Ready)
    assert ready.memory_bytes > 10 << 20
    assert confined.runtime.loaded == []
    assert confined.ask("m", 2)
    assert confined.follow() == [Unloaded("m", 1)]
    assert confined.lost == []


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ValueError('no weights')", "ValueError: no weights"),
        ("import os; os._exit(3)", "exit status 3"),
        ("import os\ndef infer(x): os._exit(4)", "exit status 4"),
        ("def infer(x): return {'z': x}", "answered ['z'] where its signature has ['y']"),
        ("def infer(x): raise KeyError('size')", "KeyError: 'size'"),
    ],
    ids=["raises", "ends while loaded", "ends while warmed up", "answers wrongly", "fails"],
)
def test_one_that_cannot_be_loaded_is_said_with_its_reason(
    confined: Host, source: str, reason: str
) -> None:
    [failed] = confined.follow(ONE, runtime="script", m=source)
    assert isinstance(failed, Failed)
    assert reason in failed.reason
    assert confined.lost == []
    assert list((confined.folder / "scratch").iterdir()) == []


def test_a_worker_that_ends_by_itself_is_lost(confined: Host) -> None:
    confined.follow(
        ONE,
        runtime="script",
        m="import os\ndef infer(x):\n if x[0, 0] < 0: os._exit(5)\n return {'y': x}",
    )
    confined.ask("m", -1)
    assert confined.lost == ["exit status 5"]


def test_the_bounds_are_the_settings(confined: Host) -> None:
    host = Host(confined.folder, Confined(), ServingSettings(worker_bytes=100 << 20))
    [failed] = host.follow(
        ONE, runtime="script", m="import time; held = bytearray(1 << 28); time.sleep(60)"
    )
    assert isinstance(failed, Failed)
    assert "took more than 100 MiB" in failed.reason


def test_a_language_model_is_loaded_and_lets_its_answers_end(tmp_path: Path) -> None:
    host = Host(tmp_path, maas_test_parrot.ParrotRuntime(), ServingSettings(unload_s=20))
    signature = text_signature()
    [ready] = host.follow({signature.name: signature}, m="ok")
    assert isinstance(ready, Ready)
    [(name, version, model)] = host.loader.generative()
    assert (name, version, host.loader.lookup("m", 1)) == ("m", 1, model)
    over = threading.Event()

    def deliver(items: Sequence[tuple[int, Delta | MaasError]]) -> None:
        if any(isinstance(item, Delta) and item.usage is not None for _, item in items):
            over.set()

    prompt = TextPrompt(" ".join(["word"] * 100))
    model.start(7, GenerateRequest(prompt, Sampling()), deliver)
    assert isinstance(host.follow()[-1], Unloaded)
    assert over.is_set()
    assert host.loader.generative() == []


def test_a_language_model_that_does_not_load_says_why(tmp_path: Path) -> None:
    host = Host(tmp_path, maas_test_parrot.ParrotRuntime())
    [failed] = host.follow(m="mute")
    assert isinstance(failed, Failed)
    assert failed.reason == "it does not speak"
