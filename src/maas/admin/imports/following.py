"""One watched model: what lies in its folder, what came of it, and one pass of looking and acting.

look (in a thread) ─▶ Standing ─▶ next_step ─▶ Actions ─▶ look again … until there is no step
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from maas.admin.imports import discovery
from maas.admin.imports.actions import Actions, LaterError
from maas.admin.imports.ledger import ModelLedger
from maas.admin.imports.sources import Latest, Source, Specific
from maas.admin.imports.steps import (
    DropLabel,
    Found,
    Import,
    Known,
    Promote,
    Retire,
    SetLabel,
    Standing,
    Step,
    is_new,
    loaded,
    next_step,
    serves,
)
from maas.core.errors import ErrorKind, MaasError
from maas.core.records import ImportRecord

PAUSE_S = 60.0
"""After the disk was full, so long nothing is copied."""


class Seen(Struct, frozen=True):
    """A version's folder as it was when it looked otherwise last.

    Args:
        stamp: how it looked.
        since: monotonic seconds.
    """

    stamp: str
    since: float


class Following:
    """One model. Lives on control's loop; only looking happens in a thread.

    Args:
        actions: what can be done.
        source: its folder.
        ledger: what came of it before.
    """

    def __init__(self, actions: Actions, source: Source, ledger: ModelLedger):
        self.source = source
        self._actions = actions
        self._known = dict(ledger.versions)
        self._promoted = ledger.promoted
        self._labelled = dict(ledger.labels)
        self._folders: dict[int, str] = {}
        self._seen: dict[int, Seen] = {}
        self._waiting: dict[int, str] = {}
        self._problems: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._importing: int | None = None
        self._stuck: dict[int, str] = {}
        self._unlabelled: dict[str, str] = {}
        self._not_before = 0.0

    @property
    def name(self) -> str:
        """The model's."""
        return self.source.name

    @property
    def waiting(self) -> bool:
        """Whether something is being copied into the folder."""
        return bool(self._waiting)

    def ledger(self) -> ModelLedger:
        """What is to be remembered."""
        return ModelLedger(dict(self._known), self._promoted, dict(self._labelled))

    def records(self) -> list[ImportRecord]:
        """What was found, and what came of it."""
        records = [
            ImportRecord(self.name, folder, None, "refused", reason)
            for folder, reason in sorted(self._problems.items())
        ]
        for number, folder in sorted(self._folders.items()):
            known = self._known.get(number)
            state, reason = "", ""
            if number == self._importing:
                state = "importing"
            elif number in self._waiting:
                state, reason = "waiting", self._waiting[number]
            elif known is not None:
                # What serves on after its folder was changed says why the change is not taken.
                state = "imported" if known.serves and not known.reason else "refused"
                reason = known.reason
            if state:
                records.append(ImportRecord(self.name, folder, number, state, reason))
        return records

    async def follow(self) -> None:
        """One pass: looks and acts until all is as it should be.

        Raises:
            OSError: what came of it cannot be written down.
        """
        stuck, self._stuck = self._stuck, {}
        while self._actions.clock() >= self._not_before:
            try:
                standing = await asyncio.to_thread(self._look)
            except (MaasError, OSError) as error:
                self._problem(discovery.said(error))
                return
            self._tell_problems()
            held = loaded(standing, self._actions.watched.held(self.name))
            step = next_step(standing)
            if step is not None and await self._actions.is_unloaded(self.name):
                return
            self._actions.hold(self.name, held)
            if step is None:
                return
            try:
                await self._take(step, standing, stuck)
            except LaterError as error:
                if error.pause:
                    self._not_before = self._actions.clock() + PAUSE_S
                return

    async def leave(self) -> bool:
        """The model was taken away: deletes what was imported of it; False where some stays."""
        actions = self._actions
        for label in list(self._labelled):
            await actions.drop_label(self.name, label)
            del self._labelled[label]
        # The default goes last, so that no version in between becomes it.
        stored = [number for number, known in self._known.items() if known.stored]
        for number in sorted(stored, key=lambda number: (number == self._promoted, number)):
            reason = await actions.retire(self.name, number)
            if reason:
                self._tell(f"{number}", f"{self.name}:{number} stays: {reason}")
                return False
            del self._known[number]
            actions.save()
        actions.watched.let_go(self.name)
        await actions.clear(self.name)
        return True

    # Looking

    def _look(self) -> Standing:
        """Looks at the folder; in a thread.

        Raises:
            MaasError, OSError: the folder as a whole cannot be read, or holds no version.
        """
        source = self.source
        folders, problems = discovery.version_folders(source)
        if not folders:
            self._problems = problems
            raise MaasError(
                ErrorKind.NOT_FOUND,
                "there is no version folder (1/, 2/ …) in it; what serves stays as it is",
            )
        self._folders = folders
        waiting: dict[int, str] = {}
        found: dict[int, Found] = {}
        good = 0
        for number in sorted(folders, reverse=True):
            wanted = not isinstance(source.policy, Specific) or number in source.policy.versions
            if isinstance(source.policy, Latest) and good >= source.policy.count:
                wanted = False
            # Versions that the policy passes over are not looked into: there may be hundreds.
            found[number] = self._found(number, waiting) if wanted else Found("", False)
            standing = self._standing(found)
            good += serves(standing, number) or is_new(standing, number)
        for label, number in source.labels.items():
            if number not in folders:
                problems[f"label {label}"] = f"there is no folder for its version {number}"
        if isinstance(source.policy, Specific):
            missing = [number for number in source.policy.versions if number not in folders]
            problems |= {
                f"{number}": "the policy wants it, and it is not there" for number in missing
            }
        self._waiting = waiting
        self._problems = problems | self._unlabelled
        return self._standing(found)

    def _standing(self, found: dict[int, Found]) -> Standing:
        return Standing(
            self.source.policy,
            found,
            self._known,
            self._promoted,
            self.source.labels,
            self._labelled,
            frozenset(self._stuck),
        )

    def _found(self, number: int, waiting: dict[int, str]) -> Found:
        actions = self._actions
        try:
            now = discovery.look_at(self.source, self._folders, number)
        except FileNotFoundError:
            waiting[number] = "it is being changed"
            return Found("", False)
        except (MaasError, OSError) as error:
            # Reading it will fail in the same way, and say why, until this changes.
            return Found(discovery.said(error), True)
        if not now.files:
            waiting[number] = "it is empty"
            return Found("", False)
        seen = self._seen.get(number)
        if seen is None or seen.stamp != now.stamp:
            seen = self._seen[number] = Seen(now.stamp, actions.clock())
        at_rest = actions.now_ns() - now.changed_ns >= actions.settle_s * 1e9
        complete = at_rest or actions.clock() - seen.since >= actions.settle_s
        if not complete:
            waiting[number] = "something in it has changed just now"
        return Found(now.stamp, complete)

    # Acting

    async def _take(self, step: Step, standing: Standing, stuck: Mapping[int, str]) -> None:
        actions = self._actions
        match step:
            case Import(number):
                await self._import(number, standing.found[number].stamp)
            case Promote(number):
                reason = await actions.promote(self.name, number)
                self._promoted = number
                if reason:
                    known = self._known[number]
                    self._known[number] = Known(known.stamp, known.stored, False, reason)
            case SetLabel(label, number):
                reason = await actions.set_label(self.name, label, number)
                self._labelled[label] = number
                self._unlabelled.pop(f"label {label}", None)
                if reason:
                    self._unlabelled[f"label {label}"] = reason
            case DropLabel(label):
                await actions.drop_label(self.name, label)
                del self._labelled[label]
                self._unlabelled.pop(f"label {label}", None)
            case Retire(number):
                reason = await actions.retire(self.name, number)
                if reason:
                    self._stuck[number] = reason
                    if stuck.get(number) != reason:
                        actions.warn(self.name, f"{self.name}:{number} stays: {reason}")
                else:
                    del self._known[number]
        actions.save()

    async def _import(self, number: int, stamp: str) -> None:
        before = self._known.get(number)
        self._importing = number
        try:
            known, created = await self._actions.publish(
                self.source, dict(self._folders), number, stamp, before
            )
        finally:
            self._importing = None
        self._known[number] = known
        if created and self._promoted == number:
            # It had been deleted by hand, and the default with it.
            self._promoted = None

    def _problem(self, reason: str) -> None:
        folder = discovery.shown(self.source.inside or Path(self.source.folder).name)
        self._problems = {**self._problems, folder: reason}
        self._tell_problems()

    def _tell_problems(self) -> None:
        for folder in [folder for folder in self._told if folder not in self._problems]:
            del self._told[folder]
        for folder, reason in self._problems.items():
            where = self.name if folder == self.name else f"{self.name}: {folder}"
            self._tell(folder, f"{where}: {reason}")

    def _tell(self, about: str, text: str) -> None:
        if self._told.get(about) != text:
            self._told[about] = text
            self._actions.warn(self.name, text)
