"""Examples drawn for what a graph parses."""

from __future__ import annotations

import numpy as np
import pytest
from tests import tf_zoo

from maas.publish.tf_examples import DRAWN, Feature, draw_examples, features_of

pytestmark = pytest.mark.xdist_group("tensorflow")


@pytest.fixture(scope="module")
def tf():
    tf_zoo.open_keras()
    import tensorflow

    return tensorflow


def nodes_of(tf, function, *specs):
    """The nodes of a graph, whose functions are inlined by hand: there are none."""
    with tf.Graph().as_default() as graph:
        function(*(tf.compat.v1.placeholder(dtype, shape) for dtype, shape in specs))
    return [graph.as_graph_def().node]


EXAMPLES = ("string", [None])
EXPECTED = {
    "x": Feature("float_list", 6),
    "n": Feature("int64_list", 1),
    "open": Feature("int64_list", 1),
    "texts": Feature("bytes_list", 1),
}


def wanted(tf):
    return {
        "x": tf.io.FixedLenFeature([2, 3], tf.float32),
        "n": tf.io.FixedLenFeature([], tf.int64, 0),
        "open": tf.io.VarLenFeature(tf.int64),
        "texts": tf.io.RaggedFeature(tf.string),
    }


def test_parse_example(tf):
    found = features_of(nodes_of(tf, lambda x: tf.io.parse_example(x, wanted(tf)), EXAMPLES))
    assert found == EXPECTED


def test_parse_single_example(tf):
    features = {name: one for name, one in wanted(tf).items() if name != "texts"}
    nodes = nodes_of(
        tf,
        lambda x: tf.raw_ops.ParseSingleExample(
            serialized=x,
            dense_defaults=[tf.constant([], tf.float32), tf.constant([0], tf.int64)],
            num_sparse=1,
            sparse_keys=["open"],
            dense_keys=["x", "n"],
            sparse_types=[tf.int64],
            dense_shapes=[[2, 3], []],
        ),
        ("string", []),
    )
    assert features_of(nodes) == {name: EXPECTED[name] for name in features}


def test_the_first_form_of_parse_example(tf):
    nodes = nodes_of(
        tf,
        lambda x: tf.raw_ops.ParseExample(
            serialized=x,
            names=tf.constant([], tf.string),
            sparse_keys=[tf.constant("open")],
            dense_keys=[tf.constant("x"), tf.constant("n")],
            dense_defaults=[tf.constant([], tf.float32), tf.constant([0], tf.int64)],
            sparse_types=[tf.int64],
            dense_shapes=[[2, 3], []],
        ),
        EXAMPLES,
    )
    assert features_of(nodes) == {name: EXPECTED[name] for name in ("x", "n", "open")}


def test_keys_that_are_no_constants(tf):
    nodes = nodes_of(
        tf,
        lambda x, key: tf.raw_ops.ParseExample(
            serialized=x,
            names=tf.constant([], tf.string),
            sparse_keys=[key],
            dense_keys=[],
            dense_defaults=[],
            sparse_types=[tf.int64],
            dense_shapes=[],
        ),
        EXAMPLES,
        ("string", []),
    )
    assert features_of(nodes) == {}


def test_a_feature_too_large_to_be_drawn(tf):
    huge = {"x": tf.io.FixedLenFeature([1 << 20, 2], tf.float32)}
    assert features_of(nodes_of(tf, lambda x: tf.io.parse_example(x, huge), EXAMPLES)) == {}


def test_drawn_examples_are_parsed(tf):
    drawn = draw_examples(EXPECTED)
    assert len(set(drawn)) > DRAWN // 2
    parsed = tf.io.parse_example(np.array(drawn, object), wanted(tf))
    assert parsed["x"].shape == (DRAWN, 2, 3)
    assert np.isfinite(parsed["x"].numpy()).all()
    assert draw_examples(EXPECTED) == drawn


def test_large_examples_are_fewer(tf):
    assert len(draw_examples({"x": Feature("float_list", 1 << 18)})) == 4
