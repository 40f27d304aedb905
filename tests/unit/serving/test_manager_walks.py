"""Whatever happens in whatever order, no call is dropped and all comes to rest as it should."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from maas_test_ground import Ground

from maas.core.identity import ServableId
from maas.core.states import ServableState
from maas.serving.manager import SHARED
from maas.serving.messages import Lost, Want
from maas.serving.policy import aspired_versions

AVAILABLE, LOADING = ServableState.AVAILABLE, ServableState.LOADING
MODELS = ("a", "b")
MOST = 4
"""Versions of one model."""


class Walk:
    """A manager among events, and what must hold after each of them.

    Args:
        run: its run folder.
        hosts: the kind of host of each model.
    """

    def __init__(self, run: Path, hosts: tuple[str, str]):
        self.ground = Ground(run, load_s=300.0)
        self.hosts = dict(zip(MODELS, hosts, strict=True))
        self.served: dict[str, int] = {}

    async def apply(self, event: tuple[str, str, int]) -> None:
        kind, name, number = event
        await getattr(self, f"_{kind}")(name, number)
        self.check()

    async def _publish(self, name: str, number: int) -> None:
        """Adds a version and promotes it, as publishing does."""
        record = self.ground.records.get(name)
        known = [] if record is None else sorted(one.version for one in record.versions)
        # The number is never used again, also after the model was deleted.
        highest = max(
            [*known, *(one.version for one in self.ground.manager.versions if one.name == name)],
            default=0,
        )
        if len(known) < MOST:
            previous = None if record is None else record.default_version
            self.ground.publish(name, *known, highest + 1, previous=previous, host=self.hosts[name])

    async def _promote(self, name: str, number: int) -> None:
        record = self.ground.records.get(name)
        if record is not None:
            version = record.versions[number % len(record.versions)].version
            if version != record.default_version:
                self.ground.change(
                    name, default_version=version, previous_version=record.default_version
                )

    async def _alias(self, name: str, number: int) -> None:
        record = self.ground.records.get(name)
        if record is not None:
            version = record.versions[number % len(record.versions)].version
            self.ground.change(name, aliases={"prod": version})

    async def _want(self, name: str, number: int) -> None:
        self.ground.manager.on_want(Want(name, number))

    async def _delete(self, name: str, number: int) -> None:
        if name in self.ground.records:
            self.ground.delete(name)

    async def _fails(self, name: str, number: int) -> None:
        self.ground.fleet.failures[ServableId(name, number)] = "the file is torn"

    async def _slow(self, name: str, number: int) -> None:
        self.ground.fleet.slow.add(ServableId(name, number))

    async def _fast(self, name: str, number: int) -> None:
        self.ground.fleet.slow.clear()

    async def _crash(self, name: str, number: int) -> None:
        alive = sorted(self.ground.fleet.hosts)
        if alive:
            host_id = alive[number % len(alive)]
            incarnation = self.ground.fleet.hosts[host_id].incarnation
            held = sorted(self.ground.fleet.hosts[host_id].loaded)
            in_flight = tuple((one.name, one.version) for one in held[:1])
            self.ground.manager.on_lost(Lost(host_id, incarnation, in_flight))
            self.ground.crash(host_id)

    async def _deaf(self, name: str, number: int) -> None:
        self.ground.acking = False

    async def _hears(self, name: str, number: int) -> None:
        self.ground.acking = True

    async def _wait(self, name: str, number: int) -> None:
        self.ground.now += number * 20

    async def _step(self, name: str, number: int) -> None:
        for _ in range(number):
            await self.ground.step()
            self.check()

    def check(self) -> None:
        """What an ingress may still be doing is something that works, or is being repaired."""
        ground = self.ground
        held = ground.acknowledged or 0
        for number, plan in ground.plans.items():
            if number < held:
                continue
            for name, model in plan.models.items():
                for target in {model.default, *model.aliases.values()} - {None}:
                    version = model.versions[target]
                    assert version.state in (AVAILABLE, LOADING), (number, name, target)
                    if version.state is AVAILABLE:
                        self._check_there(plan.hosts[version.host].incarnation, version.host,
                                          ServableId(name, target))  # fmt: skip
        self._check_nothing_dropped()

    def _check_there(self, incarnation: int, host_id: str, servable: ServableId) -> None:
        """A version that a plan in force routes to is in its host, unless that has crashed."""
        if (host_id, incarnation) in self.ground.crashed:
            return
        host = self.ground.fleet.hosts.get(host_id)
        assert host is not None, (host_id, servable)
        if host.incarnation == incarnation:
            assert servable in host.loaded, (host_id, servable)

    def _check_nothing_dropped(self) -> None:
        """Once a model serves it goes on to, until it is deleted or what serves cannot be had."""
        manager = self.ground.manager
        for name, before in self.served.items():
            if name in self.ground.records and name not in manager.serving:
                entry = manager.versions.get(ServableId(name, before))
                assert entry is None or entry.failed, (name, before)
        self.served = dict(manager.serving)

    async def rest(self) -> None:
        """Lets everything settle, and looks at what came of it."""
        ground = self.ground
        ground.acking = True
        ground.fleet.slow.clear()
        for _ in range(6):
            await ground.settle()
            ground.now += 40
            self.check()
        wanted = {
            name: aspired_versions(record, frozenset(ground.manager._wanted.get(name, ())))
            for name, record in ground.records.items()
        }
        assert set(ground.plan.models) == set(wanted)
        loaded: set[str] = set()
        for name, aspired in wanted.items():
            for version, state in ground.states(name).items():
                entry = ground.manager.versions[ServableId(name, version)]
                if state is AVAILABLE:
                    assert version in aspired or ground.model(name).default == version
                    loaded.add(f"{name}:{version}")
                else:
                    assert state is ServableState.END
                    assert entry.failed or version not in aspired
                    assert not (entry.failed and not ground.model(name).versions[version].reason)
            default = ground.records[name].default_version
            if ground.states(name)[default] is AVAILABLE:
                assert ground.model(name).default == default
        assert {one for held in ground.loaded().values() for one in held} == loaded
        assert set(ground.plan.hosts) - {SHARED} == set(ground.fleet.hosts) - {SHARED}
        assert all(host.holds for host in ground.plan.hosts.values() if host.dedicated)


STEPS = st.tuples(st.just("step"), st.just(""), st.integers(1, 5))
EVENTS = st.one_of(
    STEPS,
    STEPS,
    st.tuples(st.just("publish"), st.sampled_from(MODELS), st.just(0)),
    st.tuples(
        st.sampled_from(["promote", "alias", "want", "fails", "slow"]),
        st.sampled_from(MODELS),
        st.integers(1, MOST),
    ),
    st.tuples(st.sampled_from(["delete"]), st.sampled_from(MODELS), st.just(0)),
    st.tuples(st.sampled_from(["deaf", "hears", "fast"]), st.just(""), st.just(0)),
    st.tuples(st.sampled_from(["crash", "wait"]), st.just(""), st.integers(0, 3)),
)


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(*[st.sampled_from(["shared", "dedicated"])] * 2),
    st.lists(EVENTS, min_size=12, max_size=40),
)
def test_no_walk_drops_a_call(hosts: tuple[str, str], events: list[tuple[str, str, int]]) -> None:
    run = Path(tempfile.mkdtemp(prefix="maas"))

    async def walk() -> None:
        found = Walk(run, hosts)
        for event in events:
            await found.apply(event)
        await found.rest()

    try:
        asyncio.run(walk())
    finally:
        shutil.rmtree(run)
