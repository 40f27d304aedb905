"""What Keras's layers say about the values that a model wants."""

from __future__ import annotations

import numpy as np
import pytest
from tests import tf_zoo

from maas.core.tensor import DType, TensorSpec
from maas.publish.keras_hints import hints_of
from maas.publish.tf_samples import Hint, collect_samples
from maas.runtimes.keras_model import function_of
from maas.runtimes.tf_process import open_keras

pytestmark = pytest.mark.xdist_group("tensorflow")


@pytest.fixture(scope="module")
def keras():
    return open_keras()


def told(model):
    return hints_of(model, function_of(model).inputs)


def test_embeddings_behind_other_layers_and_in_models_within_models(keras):
    layers = keras.layers
    inner = keras.Sequential([keras.Input((6,)), layers.Embedding(70, 4), layers.Flatten()])
    first, second = keras.Input((6,), name="first"), keras.Input((4,), name="second")
    tokens = layers.Reshape((2, 2))(second)
    both = [inner(first), layers.Flatten()(layers.Embedding(30, 3)(tokens))]
    model = keras.Model([first, second], layers.Dense(2)(layers.Concatenate()(both)))
    found = told(model)
    assert found["first"] == Hint("index", high=70)
    assert found["second"] == Hint("index", high=30)


def test_nothing_is_told_by_layers_behind_weights(keras):
    layers = keras.layers
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Rescaling(1 / 255)])
    assert told(model) == {}


def test_rescaling_tells_pixels(keras):
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Rescaling(1 / 127.5, -1)])
    assert told(model) == {"x": Hint("pixels", high=255)}
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Rescaling(0.5)])
    assert told(model) == {}


def test_lookups_tell_their_vocabulary(keras):
    layers = keras.layers
    words = keras.Sequential(
        [keras.Input((1,), dtype="string", name="x"), layers.StringLookup(vocabulary=["红", "绿"])]
    )
    assert {"红", "绿"} <= set(told(words)["x"].words)
    numbers = keras.Sequential(
        [keras.Input((1,), dtype="int64", name="x"), layers.IntegerLookup(vocabulary=[5, 40])]
    )
    assert told(numbers) == {"x": Hint("index", high=42)}


@pytest.mark.parametrize("axis", [-1, 1, None])
def test_scalers_of_every_axis_give_rows_around_them(keras, axis, tmp_path):
    scaler = keras.layers.Normalization(axis=axis)
    seen = np.random.default_rng(0).normal(1000, 5, (50, 6, 3)).astype(np.float32)
    scaler.adapt(seen)
    model = keras.Sequential([keras.Input((6, 3), name="x"), scaler])
    job = tf_zoo.job_for(tmp_path / "job", tmp_path, "keras")
    spec = TensorSpec("x", DType.FP32, (None, 6, 3))
    rows = collect_samples(dict, (spec,), told(model), job).inputs()["x"]
    assert 950 < rows.min() < rows.max() < 1050


def test_a_scaler_over_two_inputs_side_by_side(keras, tmp_path):
    scaler = keras.layers.Normalization(mean=[100.0] * 7, variance=[4.0] * 7)
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    model = keras.Model([a, b], scaler(keras.layers.Concatenate()([a, b])))
    specs = function_of(model).inputs
    job = tf_zoo.job_for(tmp_path / "job", tmp_path, "keras")
    rows = collect_samples(dict, specs, hints_of(model, specs), job).inputs()
    assert 80 < rows["a"].min() < rows["b"].max() < 120
