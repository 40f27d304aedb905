"""The loader: makes what a host holds follow the plan.

```
START ─ load, warm up, one proving sample ─▶ AVAILABLE (Ready) ─ not in the plan ─▶ END (Unloaded)
                      └─ any failure ─▶ END (Failed, with its reason)
```

Versions load one after the other on the loader's own thread, so that those that serve go on.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import resource
import time
from collections.abc import Callable
from pathlib import Path

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.core.ports import Artifact, Device, Generative, Runtime, Servable
from maas.runtimes.wording import one_sentence
from maas.serving.batcher import Batcher
from maas.serving.confined import ConfinedServable
from maas.serving.generating import bounds_of, wait_until_idle
from maas.serving.generating import warm_up as warm_up_generative
from maas.serving.messages import Failed, FromProcess, Ready, Unloaded
from maas.serving.plan import Plan, VersionPlan
from maas.serving.warmup import proving_sample, warm_up
from maas.serving.workerprocess import Bounds
from maas.settings import GenerationSettings, ServingSettings
from maas.telemetry.metrics import Metrics

log = logging.getLogger("maas.loader")


class Loader:
    """Holds a host's versions.

    Args:
        host_id: this host's id in the plan.
        runtime_for: gives a runtime by name.
        settings: threads and batch rows.
        generation: what language models may take.
        metrics: handed to the batchers.
        say: tells control.
        scratch: a folder for the temporary ones of workers.
        lost: called with the reason when the worker of a loaded version has ended by itself.
    """

    def __init__(
        self,
        host_id: str,
        runtime_for: Callable[[str], Runtime],
        settings: ServingSettings,
        generation: GenerationSettings,
        metrics: Metrics,
        say: Callable[[FromProcess], None],
        scratch: Path,
        lost: Callable[[str], None],
    ):
        self._host_id = host_id
        self._runtime_for = runtime_for
        self._settings = settings
        self._generation = generation
        self._metrics = metrics
        self._say = say
        self._scratch = scratch
        self._lost = lost
        self._loaded: dict[tuple[str, int], tuple[Batcher | Generative, Ready]] = {}
        self._failed: dict[tuple[str, int], tuple[Failed, int]] = {}

    def lookup(self, name: str, version: int) -> Batcher | Generative | None:
        """The batcher of a version that is loaded, or the language model that it is."""
        found = self._loaded.get((name, version))
        return None if found is None else found[0]

    def generative(self) -> list[tuple[str, int, Generative]]:
        """The language models that are loaded."""
        return [
            (*key, found)
            for key, (found, _) in list(self._loaded.items())
            if not isinstance(found, Batcher)
        ]

    def say_all(self) -> None:
        """Tells control what is loaded and what failed; said again when control is new."""
        for _, ready in list(self._loaded.values()):
            self._say(ready)
        for failed, _ in list(self._failed.values()):
            self._say(failed)

    def follow(self, plan: Plan) -> None:
        """Loads what the plan names for this host and is not here, unloads what it no longer does.

        Called from one thread. Ready, Failed and Unloaded are said as they happen.
        """
        host = plan.hosts.get(self._host_id)
        holds = [] if host is None else list(host.holds)
        for key in [key for key in self._loaded if key not in holds]:
            self._unload(key)
        for key in [key for key in self._failed if key not in holds]:
            del self._failed[key]
            self._say(Unloaded(*key))
        for name, version in holds:
            key = (name, version)
            wanted = plan.models[name].versions[version]
            if key in self._failed and self._failed[key][1] != wanted.attempt:
                del self._failed[key]
            if key not in self._loaded and key not in self._failed:
                self._load(key, wanted)

    def _load(self, key: tuple[str, int], version: VersionPlan) -> None:
        started = time.monotonic()
        servable_id = ServableId(*key)
        extra = {"model": str(servable_id)}
        log.info("loading %s with %s", servable_id, version.runtime, extra=extra)
        before = resident_bytes()
        servable: Servable | Generative | None = None
        try:
            servable = self._open(servable_id, version)
            # What another server does is not warmed here, and it may be away for now.
            if isinstance(servable, Generative):
                warm_up_generative(servable, self._settings.load_s)
            elif not getattr(servable, "remote", False):
                proving = proving_sample(Path(version.path), version.signatures)
                for signature in version.signatures.values():
                    warm_up(servable, signature, proving.get(signature.name))
        except Exception as error:
            log.warning("%s did not load", servable_id, exc_info=error, extra=extra)
            if servable is not None:
                servable.close()
            kind = error.kind if isinstance(error, MaasError) else ErrorKind.INTERNAL
            reason = (
                error.message
                if isinstance(error, MaasError)
                else f"{type(error).__name__}: {one_sentence(error)}"
            )
            failed = Failed(*key, kind, reason)
            self._failed[key] = (failed, version.attempt)
            self._say(failed)
            return
        served: Batcher | Generative
        if isinstance(servable, Generative):
            served = servable
        else:
            served = Batcher(
                key[0],
                key[1],
                servable,
                [s.name for s in version.signatures.values() if s.batched],
                self._settings.batch_rows,
                self._metrics,
                concurrency=getattr(servable, "concurrency", 1),
            )
        took = time.monotonic() - started
        memory = max(resident_bytes() - before, 0)
        if isinstance(servable, ConfinedServable):
            memory += servable.memory_bytes
            servable.on_death(self._lost)
        elif isinstance(servable, Generative):
            servable.on_failure = lambda: self._lost("its engine failed")
        ready = Ready(*key, memory, took)
        self._loaded[key] = (served, ready)
        log.info("%s is ready after %.3f s", servable_id, took, extra=extra)
        self._say(ready)

    def _open(self, servable_id: ServableId, version: VersionPlan) -> Servable | Generative:
        """Loads a version here, or in a worker where it can carry code."""
        runtime = self._runtime_for(version.runtime)
        artifact = Artifact(
            version.path, version.entry, version.format, version.signatures, version.generative
        )
        device = Device(threads=self._settings.threads, generation=bounds_of(self._generation))
        if not runtime.confined:
            return runtime.load(artifact, device)
        bounds = Bounds(self._settings.worker_bytes, self._settings.worker_threads)
        return ConfinedServable(
            version.runtime, artifact, device, bounds, self._scratch, str(servable_id)
        )

    def _unload(self, key: tuple[str, int]) -> None:
        served, _ = self._loaded.pop(key)
        if not isinstance(served, Batcher):
            # New calls go elsewhere; those under way are written to their end.
            wait_until_idle(served, self._settings.unload_s)
        served.close()
        del served
        give_memory_back()
        log.info("%s:%d is unloaded", *key, extra={"model": f"{key[0]}:{key[1]}"})
        self._say(Unloaded(*key))


def give_memory_back() -> None:
    """Returns what a model has freed to the system; glibc would keep most of it for itself."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def resident_bytes() -> int:
    """This process's resident memory now, bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - read often
        return int(file.read().split()[1]) * resource.getpagesize()
