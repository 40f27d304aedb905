"""Iris by a Keras network in a `model.h5`: train, measure on held-out flowers, publish, call.

Run it against a server that is up: `python examples/keras_classifier.py [--url URL]`; then

    curl -s localhost:8080/predict -d '{"model": "clf", "input_data": [[5.1, 3.5, 1.4, 0.2]]}'

HDF5 files of Keras can carry code, so this one is published with trust: it is opened in the
sandbox, lowered to ONNX there, and served without TensorFlow. Needs the extra `tensorflow`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

from maas import Client
from recipes import published, recipe, run

NAME = "clf"
RECIPE = recipe(__file__, "keras")


def main(client: Client) -> None:
    """Trains and publishes if that has not been done, then predicts one held-out flower."""
    data = load_iris()
    train_x, test_x, train_y, test_y = train_test_split(
        data.data, data.target, test_size=0.3, random_state=0, stratify=data.target
    )
    if RECIPE not in published(client, NAME):
        publish(client, train_x, test_x, train_y, test_y)
    [probabilities] = client.predict(NAME, test_x[:1]).values()
    flower, found = data.target_names[test_y[0]], data.target_names[probabilities[0].argmax()]
    print(f"a held-out {flower}: {found} was predicted")


def train(train_x, train_y) -> keras.Model:
    """Fits a network of 4, 16 and 3 units that scales its inputs itself."""
    keras.utils.set_random_seed(0)
    scale = keras.layers.Normalization(name="scale")
    scale.adapt(train_x)
    model = keras.Sequential(
        [
            keras.Input((4,), name="measurements"),
            scale,
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(3, activation="softmax", name="probabilities"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(0.02), loss="sparse_categorical_crossentropy")
    model.fit(train_x, train_y, epochs=60, batch_size=32, verbose=0)
    return model


def publish(client: Client, train_x, test_x, train_y, test_y) -> None:
    """Trains, evaluates on the held-out part, and publishes with what was measured."""
    model = train(train_x, train_y)
    probabilities = model.predict(test_x, verbose=0)
    accuracy = accuracy_score(test_y, probabilities.argmax(axis=1))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.h5"
        model.save(file)
        version = client.publish(
            file,
            NAME,
            description="Species of iris (setosa, versicolor, virginica) from sepal length and "
            "width, petal length and width, in cm. A Keras network with one hidden layer of 16.",
            accuracy=accuracy,
            metrics={"log_loss": log_loss(test_y, probabilities)},
            tags={"recipe": RECIPE, "data": "iris"},
            trust=True,
        )
    print(f"published {version.name}:{version.version}, accuracy {accuracy:.3f} on held-out data")


if __name__ == "__main__":
    run(main, __doc__)
