"""A name means one model: served names are nobody else's names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import GenerativeSpec
from maas.core.records import PublishOptions, VersionRecord
from maas.registry import Registry, VersionDraft

Say = Callable[..., VersionRecord]


@pytest.fixture
def say(registry: Registry, make_draft: Callable[..., VersionDraft]) -> Say:
    """Publishes a language model under a name and served names."""

    def publish(name: str, *served: str) -> VersionRecord:
        staged = registry.stage()
        (staged / "artifact").mkdir()
        (staged / "artifact" / "model.onnx").write_bytes(name.encode())
        spec = GenerativeSpec(512, 600, served_names=served)
        report = msgspec.structs.replace(make_draft().report, generative=spec)
        options = PublishOptions(served_names=served)
        return registry.commit(staged, make_draft(name, report=report, options=options))

    return publish


def refusal(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(MaasError) as caught:
        call(*arguments)
    assert caught.value.kind is ErrorKind.ALREADY_EXISTS
    return caught.value.message


def test_a_name_that_is_free(say: Say, registry: Registry, publish: Say) -> None:
    publish("iris")
    assert say("assistant", "gpt-4o-mini", "openai/gpt-4o").version == 1
    assert say("assistant", "gpt-4o-mini", "assistant").version == 2, "its own names are its own"
    registry.check_served("other", ["gpt-4", "gpt-4o"])
    artifact = registry.artifact("assistant", 1)
    assert artifact.generative is not None
    assert artifact.generative.served_names == ("gpt-4o-mini", "openai/gpt-4o")


def test_another_models_name(say: Say, registry: Registry, publish: Say) -> None:
    publish("iris")
    said = refusal(say, "assistant", "gpt-4o", "iris")
    assert said.startswith("'iris' cannot be a served name of assistant")
    assert refusal(registry.check_served, "assistant", ["iris"]) == said
    with pytest.raises(MaasError, match="no model 'assistant'"):
        registry.model("assistant")


def test_another_models_served_name(say: Say, registry: Registry, publish: Say) -> None:
    say("assistant", "gpt-4o", "gpt-4")
    say("assistant")
    said = refusal(say, "other", "gpt-4")
    assert "'gpt-4' is a served name of assistant already" in said
    said = refusal(publish, "gpt-4o")
    assert said.startswith("'gpt-4o' is a served name of assistant; choose another name")
    registry.delete_version("assistant", 1)
    assert say("other", "gpt-4").version == 1


def test_a_deleted_models_names_are_free(say: Say, registry: Registry, publish: Say) -> None:
    publish("iris")
    say("assistant", "gpt-4o")
    registry.delete_model("assistant")
    registry.delete_model("iris")
    assert say("other", "gpt-4o", "iris").version == 1


def test_it_stays_so_when_opened_again(say: Say, registry: Registry, home: Path) -> None:
    say("助手", "gpt-4o")
    registry.close()
    with Registry.open(home, registry._now) as again:
        assert "served name of 助手" in refusal(again.check_served, "other", ["gpt-4o"])
