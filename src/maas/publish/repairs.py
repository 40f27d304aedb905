"""Sets right what skl2onnx is known to translate otherwise than scikit-learn answers.

Nothing is trusted for having been repaired: the proof runs afterwards, on rows that show these
very differences (missing values, runs of white space).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from maas.runtimes.estimator import entry_parts

SPACE = (
    r"[\t-\r\x{1c}-\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}"
    r"\x{3000}]"
)
"""What Python's `\\s` matches, in RE2's words, whose own `\\s` is ASCII only."""
PAD = "\uffff"
"""Fills short texts up to the longest of a batch: a code point that is no character. skl2onnx
takes '#', which would be counted where '#' is in the vocabulary."""
LOCALE = "C.UTF-8"
ASCII_WORDS = b"[a-zA-Z0-9_]+"
"""What skl2onnx makes of scikit-learn's usual pattern of a word."""
WORDS = {
    r"(?u)\b\w\w+\b": rb"[\p{L}\p{N}_]{2,}",
    r"(?u)\b\w+\b": rb"[\p{L}\p{N}_]+",
}
"""Patterns of words, the first scikit-learn's usual one, and the same in RE2's words."""
REGEX_OPSET = 20
"""The operator set that brought RegexFullMatch."""


def repair(model: Any, estimator: Any) -> None:
    """Repairs a converted model in place."""
    _fold_case_anywhere(model)
    _split_words(model, estimator)
    _collapse_space(model)
    _follow_missing(model, estimator)


def _fold_case_anywhere(model: Any) -> None:
    """Lower-cases by a locale that every system has; ONNX Runtime's own is en_US.UTF-8."""
    from onnx import helper

    for node in model.graph.node:
        if node.op_type == "StringNormalizer":
            kept = [a for a in node.attribute if a.name != "locale"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("locale", LOCALE)])


def _split_words(model: Any, estimator: Any) -> None:
    r"""Takes words of any script where scikit-learn does.

    skl2onnx writes ASCII letters and digits for the usual pattern, and any other as it is, though
    RE2 reads `\w` as ASCII. Source: `CountVectorizer.token_pattern`;
    Python's `\w` is letters and numbers of any kind, and the underscore.
    """
    patterns = {
        part.token_pattern
        for part in entry_parts(estimator)
        if getattr(part, "analyzer", None) == "word"
    }
    pattern = patterns.pop() if len(patterns) == 1 else ""
    if pattern not in WORDS:
        return
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == "Tokenizer" else ():
            if attribute.name == "tokenexp" and attribute.s in (ASCII_WORDS, pattern.encode()):
                attribute.s = WORDS[pattern]


def _collapse_space(model: Any) -> None:
    """Character analysers turn each run of two or more white-space characters into one space.

    Source: `sklearn.feature_extraction.text._VectorizerMixin._white_spaces`.
    """
    from onnx import helper

    places = [
        index
        for index, node in enumerate(model.graph.node)
        if node.op_type == "Tokenizer"
        and any(a.name == "tokenexp" and a.s == b"." for a in node.attribute)
    ]
    for index in reversed(places):
        node = model.graph.node[index]
        for attribute in node.attribute:
            if attribute.name == "tokenexp":
                attribute.s = f"{SPACE}{SPACE}+|(?s:.)".encode()
            elif attribute.name == "pad_value":
                attribute.s = PAD.encode()
        tokens = node.output[0]
        raw, run, space = f"{tokens}_raw", f"{tokens}_is_run", f"{tokens}_space"
        node.output[0] = raw
        model.graph.initializer.append(helper.make_tensor(space, 8, [1], [b" "]))
        pattern = f"{SPACE}{SPACE}+"
        model.graph.node.insert(index + 1, helper.make_node("Where", [run, space, raw], [tokens]))
        model.graph.node.insert(
            index + 1, helper.make_node("RegexFullMatch", [raw], [run], pattern=pattern)
        )
    if places:
        for opset in model.opset_import:
            if opset.domain == "":
                opset.version = max(opset.version, REGEX_OPSET)


def _follow_missing(model: Any, estimator: Any) -> None:
    """Trees send missing values where `missing_go_to_left` says, not always to the right."""
    ensembles = [node for node in model.graph.node if node.op_type.startswith("TreeEnsemble")]
    holders = list(_tree_holders(estimator))
    if len(ensembles) != len(holders):
        return
    for node, trees in zip(ensembles, holders, strict=True):
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if not {"nodes_treeids", "nodes_nodeids"} <= attributes.keys():
            continue
        ids = np.array(attributes["nodes_treeids"].ints)
        nodes = np.array(attributes["nodes_nodeids"].ints)
        if [int((ids == i).sum()) for i in range(len(trees))] != [t.node_count for t in trees]:
            continue
        left = [t.__getstate__()["nodes"]["missing_go_to_left"] for t in trees]
        tracks = [int(left[tree][index]) for tree, index in zip(ids, nodes, strict=True)]
        attribute = attributes.get("nodes_missing_value_tracks_true")
        if attribute is None:
            attribute = node.attribute.add()
            attribute.name, attribute.type = "nodes_missing_value_tracks_true", 7  # INTS
        del attribute.ints[:]
        attribute.ints.extend(tracks)


def _tree_holders(estimator: Any) -> Iterator[list[Any]]:
    """The trees of each estimator that becomes one TreeEnsemble node."""
    if type(estimator).__name__ == "Pipeline":
        for _, step in estimator.steps:
            yield from _tree_holders(step)
        return
    if hasattr(estimator, "tree_"):
        yield [estimator.tree_]
        return
    members = getattr(estimator, "estimators_", None)
    if members is None or isinstance(members, np.ndarray):  # gradient boosting takes no NaN
        return
    if type(estimator).__name__.startswith(("RandomForest", "ExtraTrees")):
        yield [member.tree_ for member in members]
        return
    for member in members:
        yield from _tree_holders(member)
