"""A template's syntax tree before it is compiled: what it cannot have, and where it is watched.

Python would do some things itself, unwatched: concatenate, slice, compare, build lists, go round a
loop, write the template's own texts. Each gets a filter of this house around it, whose name begins
with a space, so that no template can use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import TemplateSyntaxError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.visitor import NodeTransformer

from maas.runtimes.language.template_sandbox import TemplateEnvironment

PARTS = 20_000
"""Nodes of a tree; the longest templates of well-known models have a tenth of that."""

_REFUSED: Mapping[type[nodes.Node], str] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from … import",
    nodes.Extends: "extends",
    nodes.ScopedEvalContextModifier: "autoescape",
}


class GenerationTag(Extension):
    """`{% generation %}`: marks what the model wrote, for training; here it is a scope."""

    tags = {"generation"}  # noqa: RUF012  # as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        """Reads the body."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def watched(environment: TemplateEnvironment, tree: nodes.Template) -> nodes.Template:
    """Puts the watching filters into a tree, and them into the environment.

    Raises:
        TemplateSyntaxError: the template has what a chat template cannot.
    """
    environment.filters.update(
        {name: partial(make, environment) for name, make in _WATCHERS.items()}
    )
    for count, node in enumerate(tree.find_all(nodes.Node)):
        if type(node) in _REFUSED:
            raise TemplateSyntaxError(f"it has '{_REFUSED[type(node)]}'", node.lineno)
        if count >= PARTS:
            raise TemplateSyntaxError(f"it has more than {PARTS} parts", node.lineno)
    done: nodes.Template = _Watcher().visit(tree)
    done.set_environment(environment)
    return done


class _Watcher(NodeTransformer):
    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        """What is inside first, then the node itself."""
        done = self.generic_visit(node, *args, **kwargs)
        watch = _WATCHED.get(type(node))
        return watch(done) if watch else done


def _watch_concat(node: nodes.Concat) -> nodes.Node:
    return _filtered(node.nodes[0], " concat", *node.nodes[1:])


def _watch_compare(node: nodes.Compare) -> nodes.Node:
    node.expr = _filtered(node.expr, " look")
    for operand in node.ops[1:]:
        operand.expr = _filtered(operand.expr, " look")
    return node


def _watch_slice(node: nodes.Getitem) -> nodes.Node:
    if not isinstance(node.arg, nodes.Slice):
        return node
    ends = (node.arg.start, node.arg.stop, node.arg.step)
    return _filtered(node.node, " cut", *(end or nodes.Const(None) for end in ends))


def _watch_container(node: nodes.Tuple | nodes.List | nodes.Dict) -> nodes.Node:
    """One that is built; the names on the left of an assignment are a tuple, too."""
    return node if getattr(node, "ctx", "load") == "store" else _filtered(node, " keep")


def _watch_loop(node: nodes.For) -> nodes.Node:
    around = nodes.ExprStmt(_filtered(nodes.Const(None), " look"), lineno=node.lineno)
    node.body.insert(0, around)
    return node


def _watch_output(node: nodes.Output) -> nodes.Node:
    size = sum(len(part.data) for part in node.nodes if isinstance(part, nodes.TemplateData))
    if size:
        node.nodes.insert(0, _filtered(nodes.Const(size), " write"))
    return node


_WATCHED: Mapping[type[nodes.Node], Callable[[Any], nodes.Node]] = {
    nodes.Compare: _watch_compare,
    nodes.Concat: _watch_concat,
    nodes.Dict: _watch_container,
    nodes.For: _watch_loop,
    nodes.Getitem: _watch_slice,
    nodes.List: _watch_container,
    nodes.Output: _watch_output,
    nodes.Tuple: _watch_container,
}


def _filtered(node: nodes.Expr, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)


def _concat(environment: TemplateEnvironment, *values: Any) -> Any:
    texts = [environment.text(value) for value in values]
    environment.meter.room(sum(map(len, texts)))
    return environment.meter.accept("".join(texts))


def _look(environment: TemplateEnvironment, value: Any) -> Any:
    environment.meter.tick()
    return value


def _cut(environment: TemplateEnvironment, value: Any, *ends: Any) -> Any:
    return environment.meter.accept(value[slice(*ends)])


def _keep(environment: TemplateEnvironment, value: Any) -> Any:
    return environment.meter.accept(value)


def _write(environment: TemplateEnvironment, size: int) -> str:
    environment.meter.tick()
    environment.meter.spend(size)
    return ""


_WATCHERS: Mapping[str, Callable[..., Any]] = {
    " concat": _concat,
    " look": _look,
    " cut": _cut,
    " keep": _keep,
    " write": _write,
}
