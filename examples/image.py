"""Images to scores: a convolutional network of the size of the large ones, in a SavedModel folder.

Run it against a server that is up: `python examples/image.py [--url URL]`. It publishes `my_model`,
which takes `images` float32 [1, 299, 299, 3] and gives `scores` float32 [1, 1000], and calls it
the way any HTTP client would. Nobody trained it: its weights come from a fixed seed, since a data
set of a thousand classes is no part of an example. Needs the extra `tensorflow`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from maas import Client
from recipes import published, recipe, run

NAME = "my_model"
RECIPE = recipe(__file__, "keras")
SHAPE = (1, 299, 299, 3)
CLASSES = 1000
SIGNATURE = "predict_images"


def main(client: Client) -> None:
    """Makes and publishes the network if that has not been done, then scores one image."""
    if RECIPE not in published(client, NAME):
        publish(client)
    images = np.random.default_rng(1).random(SHAPE, np.float32)
    answer = client.predict(NAME, {"images": images})
    best = int(answer["scores"].argmax())
    print(f"of {answer['scores'].shape[-1]} classes, number {best} has the highest score")


def network() -> keras.Model:
    """Four convolutions that halve the image each, the mean over the rest, a thousand scores."""
    keras.utils.set_random_seed(0)
    draw = keras.initializers.RandomNormal(stddev=0.3)
    images = keras.Input(batch_shape=SHAPE, name="images")
    x = images
    for filters in (8, 16, 32, 64):
        x = keras.layers.Conv2D(filters, 3, strides=2, activation="relu", kernel_initializer=draw)(
            x
        )
        x = keras.layers.LayerNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    scores = keras.layers.Dense(CLASSES, kernel_initializer=draw)(x)
    return keras.Model(images, scores)


def save(model: keras.Model, folder: Path) -> None:
    """Writes a SavedModel whose one signature is images → scores."""

    @tf.function(input_signature=[tf.TensorSpec(SHAPE, tf.float32, name="images")])
    def predict_images(images):
        return {"scores": model(images, training=False)}

    tf.saved_model.save(model, str(folder), signatures={SIGNATURE: predict_images})


def publish(client: Client) -> None:
    """Saves the network and publishes the folder."""
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / NAME
        save(network(), saved)
        version = client.publish(
            saved,
            NAME,
            description="Scores of a thousand classes for an image of 299 × 299 points. A "
            "convolutional network with weights from a fixed seed: it has learnt nothing.",
            tags={"recipe": RECIPE},
        )
    print(f"published {version.name}:{version.version}")


if __name__ == "__main__":
    run(main, __doc__)
