"""What one rendering of a chat template has used up, and the sizes that its values may have.

Everything that a template can do goes through here before or after it is done (`template_tree`,
`template_sandbox`), so nothing runs long between two looks at the clock: every step is short
because every value is small, counted with what it holds as often as it holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from maas.core.errors import invalid

WORK = 32
"""All values made, in bytes, are at most so many times the longest text that is allowed."""
ITEM_BYTES = 8
"""An item of a list, besides what it is."""
DEEPEST = 250
"""Lists in lists; deeper ones would bring down what walks through them in C."""
_LONGEST_INTEGER = 4096
_EMPTY: dict[str, None] = {}
CONTAINERS: tuple[type[Collection[Any]], ...] = (
    list,
    tuple,
    dict,
    set,
    type(_EMPTY.items()),
    type(_EMPTY.keys()),
    type(_EMPTY.values()),
)
"""What holds other values and can be walked through by Python itself."""


class Meter:
    """Counts one rendering.

    Args:
        seconds: how long it may take.
        most: bytes of the longest text, and of any value: 1 a character, `ITEM_BYTES` an item.
        clock: seconds, monotonic.
        undefined: the class that stands for what is not there.
    """

    __slots__ = ("_clock", "_end", "_left", "_most", "_seconds", "_undefined")

    def __init__(self, seconds: float, most: int, clock: Callable[[], float], undefined: type):
        self._clock = clock
        self._seconds = seconds
        self._end = clock() + seconds
        self._most = most
        self._left = WORK * most
        self._undefined = undefined

    def tick(self) -> None:
        """Looks at the clock.

        Raises:
            MaasError: INVALID_ARGUMENT: the time is over.
        """
        if self._clock() > self._end:
            raise invalid(f"the chat template took longer than {self._seconds:g} s")

    def room(self, size: int) -> None:
        """Asks for the room of a value before it is made.

        Raises:
            MaasError: INVALID_ARGUMENT: it is too large.
        """
        self.tick()
        if size > self._most:
            raise invalid(f"the chat template makes a value larger than {self._most} bytes")

    def spend(self, size: int) -> None:
        """Takes bytes from what the rendering may make.

        Raises:
            MaasError: INVALID_ARGUMENT: there are none left.
        """
        self._left -= size
        if self._left < 0:
            raise invalid(
                f"the chat template makes more than {WORK * self._most} bytes of values on the way"
            )

    def accept(self, value: Any) -> Any:
        """Lets a new value in, or raises; gives it back."""
        self.tick()
        if isinstance(value, str):
            self.room(len(value))
            self.spend(len(value) if value.isascii() else 4 * len(value))
        elif isinstance(value, int):
            self._integer(value)
        elif isinstance(value, CONTAINERS):
            self.spend(ITEM_BYTES * len(value))
            self.weigh((value,))
        return value

    def weigh(self, values: Iterable[Any]) -> int:
        """Refuses lists and objects that are too deep or, with all they hold, too large.

        What is held twice counts twice: so do `==`, `in`, `tojson` and writing see it.

        Returns:
            The size of what they hold.

        Raises:
            MaasError: INVALID_ARGUMENT.
        """
        pending = [(value, 1) for value in values if isinstance(value, CONTAINERS)]
        total = 0
        while pending:
            container, depth = pending.pop()
            if depth > DEEPEST:
                raise invalid(f"the chat template nests lists deeper than {DEEPEST}")
            total += ITEM_BYTES * len(container)
            self.room(total)
            if isinstance(container, dict):
                total += self._weigh_items(container, depth, pending)
                container = container.values()
            total += self._weigh_items(container, depth, pending)
            self.room(total)
        return total

    def _weigh_items(self, items: Iterable[Any], depth: int, pending: list[Any]) -> int:
        total = 0
        for item in items:
            if isinstance(item, str):
                total += len(item)
            elif isinstance(item, CONTAINERS):
                pending.append((item, depth + 1))
            elif isinstance(item, int):
                self._integer(item)
            elif not (item is None or isinstance(item, (float, self._undefined))):
                raise invalid(f"the chat template keeps a {type(item).__name__} in a list")
        return total

    def _integer(self, value: int) -> None:
        if value.bit_length() > _LONGEST_INTEGER:
            raise invalid(f"the chat template makes a number of more than {_LONGEST_INTEGER} bits")
