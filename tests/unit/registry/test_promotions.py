from __future__ import annotations

import pytest

from maas.registry.promotions import Standing, standing


@pytest.mark.parametrize(
    ("stack", "default", "previous"),
    [
        ([], None, None),
        ([1], 1, None),
        ([2, 1], 2, 1),
        ([1, 2, 1], 1, 2),
        ([1, 1], 1, None),
        ([3, 3, 2, 3], 3, 2),
    ],
)
def test_a_stack_says_what_serves_and_what_served(
    stack: list[int], default: int | None, previous: int | None
) -> None:
    assert standing(stack) == Standing(default, previous)
