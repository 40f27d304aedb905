from __future__ import annotations

from maas_test_plane import IRIS, version
from msgspec.structs import replace

from maas.core.generation import GenerativeSpec
from maas.serving.plan import SCHEMA, ModelPlan, Plan
from maas.wire.served import ServedNames

SPEC = GenerativeSpec(context_tokens=64, vocabulary=10, served_names=("gpt", "iris"))
WRITER = replace(version(IRIS), generative=SPEC)


def plan(**models: ModelPlan) -> Plan:
    return Plan(SCHEMA, "e", 1, models, {})


def test_names():
    served = ServedNames()
    one = plan(chat=ModelPlan({1: WRITER}, 1, {}), iris=ModelPlan({1: version(IRIS)}, 1, {}))
    assert served.models(one) == ["chat"]
    assert served.find(one, "gpt") == "chat"
    assert served.find(one, "iris") is None  # a model's own name goes before
    assert [model.id for model in served.listed(one)] == ["chat", "gpt"]
    assert served.get(one, "gpt").context_tokens == 64
    assert served.get(one, "iris") is None


def test_a_model_without_a_version_for_calls_has_no_names():
    served = ServedNames()
    none = plan(chat=ModelPlan({1: WRITER}, None, {}))
    assert (served.models(none), served.find(none, "gpt")) == ([], None)


def test_another_plan_is_another_list():
    served = ServedNames()
    assert served.models(plan(a=ModelPlan({1: WRITER}, 1, {}))) == ["a"]
    assert served.models(plan(b=ModelPlan({1: WRITER}, 1, {}))) == ["b"]
