"""Memory: what fits, what does not, and what is suggested then."""

from __future__ import annotations

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.publish.language_memory import MIB, plan_memory

GIB = 1 << 30
TOKEN = 64 << 10
"""Numbers of a token in the KV cache: 128 KiB."""


def test_a_model_that_fits():
    plan = plan_memory(4 * GIB, TOKEN, 8192, 0, 16 * GIB)
    assert plan.context_tokens == 8192
    assert plan.kv_bytes == pytest.approx(GIB, rel=0.01)
    assert plan.describe() == (
        "weights of 4,096 MiB, a KV cache of 125 MiB for each 1,000 tokens, 1,026 MiB for the "
        "whole context of 8,192 tokens"
    )


def test_a_smaller_context_fits_more():
    with pytest.raises(MaasError) as refused:
        plan_memory(4 * GIB, TOKEN, 131_072, 0, 16 * GIB)
    assert refused.value.kind is ErrorKind.FAILED_PRECONDITION
    assert "weights of 4,096 MiB" in refused.value.message
    assert "16,384 MiB are free" in refused.value.message
    suggested = int(refused.value.message.rsplit("--context ", 1)[1])
    assert suggested % 256 == 0
    assert plan_memory(4 * GIB, TOKEN, 131_072, suggested, 16 * GIB).context_tokens == suggested
    with pytest.raises(MaasError):
        plan_memory(4 * GIB, TOKEN, 131_072, suggested + 256, 16 * GIB)


def test_weights_that_do_not_fit():
    with pytest.raises(MaasError, match="publish a smaller model"):
        plan_memory(4 * GIB, TOKEN, 8192, 0, 4 * GIB)
    with pytest.raises(MaasError, match="publish a smaller model"):
        plan_memory(4 * GIB, TOKEN, 8192, 256, 4 * GIB + 270 * MIB)


def test_contexts_that_cannot_be():
    with pytest.raises(MaasError, match="the model was made for 2048"):
        plan_memory(MIB, 64, 2048, 4096, GIB)
    with pytest.raises(MaasError, match="holds no answer"):
        plan_memory(MIB, 64, 2048, 8, GIB)


def test_a_model_without_a_kv_cache():
    assert plan_memory(MIB, 0, 1 << 20, 0, GIB).kv_bytes == 0


def test_this_machine_is_looked_at():
    assert plan_memory(MIB, 64, 64, 0).free_bytes > MIB
