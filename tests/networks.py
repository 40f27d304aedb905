"""Keras and TensorFlow models as people save them, untrained.

`NETWORKS` gives for each a function that writes it below a folder and returns the file or folder
to publish. `scripts/lowering-docs` publishes each, and writes what became of it into
`docs/lowering.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Saved = Callable[[Path], Path]


def _dense_h5(folder: Path) -> Path:
    return _save(_sequential((4,), ("Dense", 16, "relu"), ("Dense", 3, "softmax")), folder, "h5")


def _dense(folder: Path) -> Path:
    return _save(_sequential((4,), ("Dense", 16, "relu"), ("Dense", 3, "softmax")), folder)


def _normalised(folder: Path) -> Path:
    import keras
    import numpy as np

    scale = keras.layers.Normalization()
    scale.adapt(np.random.default_rng(0).normal([5, 100, -3], [1, 40, 0.2], (200, 3)))
    model = keras.Sequential([keras.Input((3,)), scale, keras.layers.Dense(2)])
    return _save(model, folder)


def _convolutional(folder: Path) -> Path:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(8, 3, activation="relu", padding="same"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    return _save(model, folder)


def _depthwise(folder: Path) -> Path:
    import keras
    from keras import layers

    images = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(images)
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(x)
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.Conv2D(16, 1)(layers.ReLU(6.0)(y))
    x = layers.Add()([x, y])
    return _save(keras.Model(images, layers.Dense(5)(layers.GlobalMaxPooling2D()(x))), folder)


def _lstm(folder: Path) -> Path:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((12,), dtype="int32"),
            layers.Embedding(50, 8),
            layers.LSTM(16),
            layers.Dense(2, activation="softmax"),
        ]
    )
    return _save(model, folder)


def _masked_lstm(folder: Path) -> Path:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((12,), dtype="int32"),
            layers.Embedding(50, 8, mask_zero=True),
            layers.LSTM(16),
            layers.Dense(2, activation="softmax"),
        ]
    )
    return _save(model, folder)


def _bidirectional_gru(folder: Path) -> Path:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((20, 6)),
            layers.Bidirectional(layers.GRU(8, return_sequences=True)),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1),
        ]
    )
    return _save(model, folder)


def _attention(folder: Path) -> Path:
    import keras
    from keras import layers

    tokens = keras.Input((16,), dtype="int32")
    x = layers.Embedding(40, 16)(tokens)
    y = layers.MultiHeadAttention(num_heads=2, key_dim=8)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    y = layers.Dense(16)(layers.Dense(32, activation="gelu")(x))
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    scores = layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(x))
    return _save(keras.Model(tokens, scores), folder)


def _several(folder: Path) -> Path:
    import keras
    from keras import layers

    image = keras.Input((8, 8, 1), name="image")
    facts = keras.Input((5,), name="facts")
    x = layers.Concatenate()([layers.Flatten()(image), facts])
    x = layers.Dense(16, activation="elu")(x)
    price = layers.Dense(1, name="price")(x)
    kind = layers.Dense(4, activation="softmax", name="kind")(x)
    return _save(keras.Model([image, facts], {"price": price, "kind": kind}), folder)


def _text(folder: Path) -> Path:
    import keras
    import tensorflow as tf
    from keras import layers

    words = layers.TextVectorization(split="character", output_sequence_length=12)
    words.adapt(["今天的足球比赛很精彩", "新手机的芯片更快", "股票价格下跌了"])
    model = keras.Sequential(
        [
            keras.Input((), dtype=tf.string),
            words,
            layers.Embedding(words.vocabulary_size(), 8),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    return _save(model, folder)


def _lambda(folder: Path) -> Path:
    import keras
    from keras import layers

    model = keras.Sequential(
        [keras.Input((4,)), layers.Lambda(lambda x: x * x + 1), layers.Dense(2)]
    )
    return _save(model, folder)


def _savedmodel(folder: Path) -> Path:
    import tensorflow as tf

    saved = folder / "saved"
    model = _sequential((6,), ("Dense", 12, "tanh"), ("Dense", 2, "softmax"))
    tf.saved_model.save(model, str(saved))
    return saved


def _module(folder: Path) -> Path:
    import tensorflow as tf

    class Scale(tf.Module):
        """Two signatures: numbers in, and text in."""

        def __init__(self) -> None:
            super().__init__()
            self.factor = tf.Variable([1.0, 2.0, 3.0])

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def scale(self, x: Any) -> Any:
            return {"y": x * self.factor, "total": tf.reduce_sum(x * self.factor, axis=1)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def length(self, text: Any) -> Any:
            return {"length": tf.strings.length(text, unit="UTF8_CHAR")}

    module = Scale()
    saved = folder / "module"
    signatures = {"serving_default": module.scale, "length": module.length}
    tf.saved_model.save(module, str(saved), signatures=signatures)
    return saved


NETWORKS: dict[str, Saved] = {
    "dense network, .h5": _dense_h5,
    "dense network, .keras": _dense,
    "adapted Normalization": _normalised,
    "convolutional network": _convolutional,
    "depthwise convolutions, residual": _depthwise,
    "Embedding and LSTM": _lstm,
    "Embedding with mask and LSTM": _masked_lstm,
    "bidirectional GRU": _bidirectional_gru,
    "attention block": _attention,
    "two inputs, two outputs": _several,
    "TextVectorization of Chinese": _text,
    "Lambda layer": _lambda,
    "SavedModel of a Keras network": _savedmodel,
    "SavedModel of a tf.Module, two signatures": _module,
}


def _sequential(shape: tuple[int, ...], *layers: tuple[str, int, str]) -> Any:
    import keras

    made = [getattr(keras.layers, kind)(units, activation=name) for kind, units, name in layers]
    return keras.Sequential([keras.Input(shape), *made])


def _save(model: Any, folder: Path, ending: str = "keras") -> Path:
    file = folder / f"model.{ending}"
    model.save(file)
    return file
