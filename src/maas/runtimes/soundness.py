"""Makes a freshly loaded estimator safe to call.

skops checks types, not content, and parts of scikit-learn follow indices in compiled code without
looking at their bounds: a crafted file could make `predict` read, or write, anywhere. Here every
such index is checked, or thrown away and rebuilt (neighbour trees). Also set to rest is what
reaches outside the model: vectorisers that open files, worker processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from maas.core.errors import MaasError, invalid
from maas.runtimes.wording import one_sentence

MOST_PARTS = 5_000_000


def make_sound(estimator: Any) -> Any:
    """Checks every part of a loaded estimator; rebuilds neighbour trees; one job, no files.

    Raises:
        MaasError: INVALID_ARGUMENT, naming the part that is damaged.
    """
    try:
        for part in list(_parts(estimator)):
            kind = type(part).__name__
            for base in type(part).__mro__:
                fitted, check = _CHECKS.get(base.__name__, ("", None))
                # One that is not fitted (a template inside a meta-estimator) runs no such code.
                if check is not None and hasattr(part, fitted):
                    check(part)
            if hasattr(part, "__dict__"):
                _settle(part, kind)
    except MaasError:
        raise
    except Exception as error:
        raise invalid(f"the model's content is damaged: {one_sentence(error)}") from error
    return estimator


def _parts(root: Any) -> Iterator[Any]:
    """Every object reachable through attributes, containers and object arrays, once each."""
    seen: set[int] = set()
    stack = [root]
    while stack:
        part = stack.pop()
        if isinstance(part, str | bytes | int | float | bool | type(None)) or id(part) in seen:
            continue
        seen.add(id(part))
        if len(seen) > MOST_PARTS:
            raise invalid("the model has more parts than can be checked")
        if isinstance(part, np.ndarray):
            if part.dtype == object:
                stack.extend(part.ravel().tolist())
            continue
        if isinstance(part, dict):
            stack.extend(part.values())
        elif isinstance(part, list | tuple | set):
            stack.extend(part)
        yield part
        stack.extend(getattr(part, "__dict__", {}).values())


def _settle(part: Any, kind: str) -> None:
    attributes = part.__dict__
    if isinstance(attributes.get("n_jobs"), int):
        attributes["n_jobs"] = None  # one thread a model: never a pool of processes
    if attributes.get("input", "content") != "content" and hasattr(part, "analyzer"):
        raise invalid(
            f"the {kind} takes input={attributes['input']!r}, which opens files of the server; "
            "expected input='content'"
        )
    for name, value in list(attributes.items()):
        if type(value).__name__ in ("KDTree", "BallTree"):
            attributes[name] = _rebuilt(value)


def _rebuilt(tree: Any) -> Any:
    """The same neighbour tree, built anew from its points alone."""
    from sklearn.metrics import _dist_metrics

    state = tree.__getstate__()
    points, leaf_size, metric, weights = np.array(state[0]), state[4], state[11], state[12]
    metrics = {
        _dist_metrics.EuclideanDistance64: "euclidean",
        _dist_metrics.ManhattanDistance64: "manhattan",
        _dist_metrics.ChebyshevDistance64: "chebyshev",
        _dist_metrics.MinkowskiDistance64: "minkowski",
    }
    name = metrics[type(metric)]
    options = {"p": float(metric.__getstate__()[0])} if name == "minkowski" else {}
    _need(points.ndim == 2 and len(points) > 0, "a neighbour tree has no points")
    return type(tree)(
        points,
        leaf_size=max(1, int(leaf_size)),
        metric=name,
        sample_weight=None if weights is None else np.array(weights),
        **options,
    )


def _need(holds: object, what: str) -> None:
    if not holds:
        raise invalid(f"the model's content is damaged: {what}")


def _check_tree(tree: Any) -> None:
    """Children come after their parent and exist, features exist. Source: `_tree.pyx`, `apply`."""
    state = tree.__getstate__()
    count = int(tree.node_count)
    _need(count >= 1 and "nodes" in state, "a decision tree has no nodes")
    nodes = state["nodes"]
    _need(len(nodes) == count == len(state["values"]), "a decision tree's arrays differ in length")
    left, right, feature = nodes["left_child"], nodes["right_child"], nodes["feature"]
    inner = left != -1
    own = np.arange(count)[inner]
    for child in (left[inner], right[inner]):
        _need(np.all((child > own) & (child < count)), "a decision tree's node leads nowhere")
    _need(
        np.all((feature[inner] >= 0) & (feature[inner] < tree.n_features)),
        "a decision tree asks for a feature that does not exist",
    )


def _check_tree_owner(estimator: Any) -> None:
    _need(
        type(estimator.tree_).__name__ == "Tree"
        and estimator.tree_.n_features == estimator.n_features_in_
        and estimator.tree_.n_outputs == estimator.n_outputs_,
        "a decision tree and its estimator disagree on the number of features",
    )


def _check_forest(estimator: Any) -> None:
    for tree in np.ravel(np.asarray(estimator.estimators_, dtype=object)):
        _need(
            tree.n_features_in_ == estimator.n_features_in_,
            "a forest's tree and the forest disagree on the number of features",
        )


def _check_boosting(estimator: Any) -> None:
    """`predict_stages` writes one column a stage's tree. Source: `_gradient_boosting.pyx`."""
    stages = estimator.estimators_
    columns = estimator.n_trees_per_iteration_
    _need(stages.ndim == 2 and stages.shape[1] == columns, "a boosting stage lacks a tree")
    _check_forest(estimator)
    for tree in stages.ravel():
        _need(
            type(tree).__name__ == "DecisionTreeRegressor" and tree.tree_.n_outputs == 1,
            "a boosting stage holds something other than a regression tree",
        )
    if not isinstance(estimator.init_, str):
        if type(estimator.init_).__name__ not in ("DummyClassifier", "DummyRegressor"):
            raise invalid(
                "gradient boosting that starts from an estimator of one's own is not served; "
                "expected init=None or init='zero'"
            )
        row = np.zeros((1, estimator.n_features_in_), dtype=np.float32)
        raw = estimator._raw_predict_init(row)
        _need(raw.shape == (1, columns), "boosting starts from the wrong number of columns")


def _check_isolation(estimator: Any) -> None:
    """Trees are applied without their own look at the input. Source: `_iforest.py`."""
    whole = estimator._max_features == estimator.n_features_in_
    for tree, features in zip(estimator.estimators_, estimator.estimators_features_, strict=True):
        width = estimator.n_features_in_ if whole else len(features)
        _need(tree.n_features_in_ == width, "an isolation tree has the wrong number of features")


def _check_hist_tree(tree: Any) -> None:
    """As `_check_tree`. Source: `_hist_gradient_boosting/_predictor.pyx`."""
    nodes = tree.nodes
    _need(nodes.ndim == 1 and len(nodes) >= 1, "a boosted tree has no nodes")
    inner = nodes["is_leaf"] == 0
    own = np.arange(len(nodes))[inner]
    for side in ("left", "right"):
        child = nodes[side][inner].astype(np.int64)
        _need(np.all((child > own) & (child < len(nodes))), "a boosted tree's node leads nowhere")
    for bitsets in (tree.raw_left_cat_bitsets, tree.binned_left_cat_bitsets):
        _need(bitsets.ndim == 2 and bitsets.shape[1] == 8, "a boosted tree's categories are cut")
    by_category = inner & (nodes["is_categorical"] != 0)
    _need(
        np.all(nodes["bitset_idx"][by_category] < len(tree.raw_left_cat_bitsets)),
        "a boosted tree asks for categories that do not exist",
    )


def _check_hist_boosting(estimator: Any) -> None:
    features = len(estimator._bin_mapper.bin_thresholds_)
    _need(features == estimator._n_features, "boosting and its bins disagree on the features")
    _need(
        estimator.n_features_in_ == features and estimator._preprocessor is None,
        "boosting and its bins disagree on the number of features",
    )
    bitsets, index = estimator._bin_mapper.make_known_categories_bitsets()
    _need(len(index) == features, "boosting's categories do not fit its features")
    for stage in estimator._predictors:
        _need(len(stage) == estimator.n_trees_per_iteration_, "a boosting stage lacks a tree")
        for tree in stage:
            nodes = tree.nodes[tree.nodes["is_leaf"] == 0]
            feature = nodes["feature_idx"]
            _need(
                np.all((feature >= 0) & (feature < features)),
                "a boosted tree asks for a feature that does not exist",
            )
            used = feature[nodes["is_categorical"] != 0]
            _need(np.all(index[used] < len(bitsets)), "a boosted tree's categories do not exist")


def _check_libsvm(estimator: Any) -> None:
    """All sizes come from `_n_support` (CVE-2020-28975). Source: `libsvm_helper.c`."""
    vectors = estimator.support_vectors_
    support = np.asarray(estimator._n_support)
    dual, width = estimator._dual_coef_, estimator.shape_fit_[1]
    classes = max(2, len(support))
    pairs = classes * (classes - 1) // 2
    _need(support.min(initial=0) >= 0, "a support vector machine has a negative size")
    several = hasattr(estimator, "classes_")
    total = int(support.sum()) if several else vectors.shape[0]
    _need(not several or len(support) == len(estimator.classes_), "its classes do not fit")
    _need(
        vectors.shape[0] == total
        and dual.shape == (classes - 1, total)
        and (estimator.kernel == "precomputed" or vectors.shape[1] == width)
        and len(estimator._intercept_) == pairs
        and len(estimator.support_) == total,
        "a support vector machine's arrays do not fit together",
    )
    for part in (estimator._probA, estimator._probB):
        _need(len(part) in ((0, pairs) if several else (0, 1)), "its probabilities do not fit")


def _check_centres(estimator: Any) -> None:
    centres = estimator.cluster_centers_
    _need(
        centres.ndim == 2 and centres.shape[1] == estimator.n_features_in_ and len(centres),
        "cluster centres do not have the model's number of features",
    )
    if hasattr(estimator, "_n_threads"):
        estimator._n_threads = 1


def _check_neighbours(estimator: Any) -> None:
    points = estimator._fit_X
    _need(points.shape[1] == estimator.n_features_in_, "neighbours have the wrong width")
    known = getattr(estimator, "_y", None)
    if known is not None:
        _need(len(known) == points.shape[0], "neighbours and their answers differ in number")
    tree = getattr(estimator, "_tree", None)
    if tree is not None:
        _need(tree.data.shape == points.shape, "neighbours and their tree differ")


def _check_vocabulary(vectoriser: Any) -> None:
    words = vectoriser.vocabulary_
    columns = sorted(int(column) for column in words.values())
    _need(columns == list(range(len(words))), "a vocabulary's columns have gaps")


def _check_encoder(encoder: Any) -> None:
    for mapping in getattr(encoder, "_default_to_infrequent_mappings", None) or []:
        if mapping is not None:
            _need(
                np.all((mapping >= 0) & (mapping < len(mapping))),
                "an encoder's rare categories lead nowhere",
            )


def _check_sparse(matrix: Any) -> None:
    matrix.check_format(full_check=True)


_CHECKS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "Tree": ("__getstate__", _check_tree),
    "BaseDecisionTree": ("tree_", _check_tree_owner),
    "BaseForest": ("estimators_", _check_forest),
    "BaseGradientBoosting": ("estimators_", _check_boosting),
    "IsolationForest": ("estimators_", _check_isolation),
    "TreePredictor": ("__getstate__", _check_hist_tree),
    "BaseHistGradientBoosting": ("_predictors", _check_hist_boosting),
    "BaseLibSVM": ("_n_support", _check_libsvm),
    "_BaseKMeans": ("cluster_centers_", _check_centres),
    "NeighborsBase": ("_fit_X", _check_neighbours),
    "CountVectorizer": ("vocabulary_", _check_vocabulary),
    "OneHotEncoder": ("categories_", _check_encoder),
    "_data_matrix": ("check_format", _check_sparse),
}
"""By the name of a class or of one of its bases: an attribute that it has once fitted, without
which its compiled code is not reached, and its check."""
