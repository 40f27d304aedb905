"""The language models of the plan in force, and the names that they are served under."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from maas.core.generation import GenerativeSpec
from maas.dialects.openai.models import ListedModel
from maas.serving.plan import EMPTY, ModelPlan, Plan


class ServedNames:
    """They are looked for once a plan: it is replaced whole."""

    __slots__ = ("_models", "_names", "_plan", "created")

    def __init__(self) -> None:
        self.created = int(time.time())
        """When this process began; the plan does not say when a model was published."""
        self._plan = EMPTY
        self._models: Mapping[str, GenerativeSpec] = {}
        self._names: Mapping[str, str] = {}

    def _follow(self, plan: Plan) -> None:
        if plan is self._plan:
            return
        models = {name: spec for name, model in plan.models.items() if (spec := spec_of(model))}
        names: dict[str, str] = {}
        for name, spec in models.items():
            for served in spec.served_names:
                if served not in plan.models:
                    names.setdefault(served, name)
        self._plan, self._models, self._names = plan, models, names

    def find(self, plan: Plan, name: str) -> str | None:
        """The model that is served under that name; None where it is nobody's."""
        self._follow(plan)
        return self._names.get(name)

    def models(self, plan: Plan) -> list[str]:
        """The language models that have a version for calls."""
        self._follow(plan)
        return sorted(self._models)

    def listed(self, plan: Plan) -> Sequence[ListedModel]:
        """Each of them, under each of its names."""
        self._follow(plan)
        found = {name: spec.context_tokens for name, spec in self._models.items()}
        found |= {name: self._models[of].context_tokens for name, of in self._names.items()}
        return [ListedModel(name, self.created, found[name]) for name in sorted(found)]

    def get(self, plan: Plan, name: str) -> ListedModel | None:
        """One of them by one of its names."""
        self._follow(plan)
        spec = self._models.get(self._names.get(name, name))
        return None if spec is None else ListedModel(name, self.created, spec.context_tokens)


def spec_of(model: ModelPlan) -> GenerativeSpec | None:
    """What is known of a model's version for calls, where it is a language model."""
    return None if model.default is None else model.versions[model.default].generative
