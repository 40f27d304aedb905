"""Small real Keras and TensorFlow models, made when a test asks for them."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from maas.publish.messages import Job
from maas.runtimes.tf_process import open_keras

OWN = '''
import keras
import numpy as np


class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x


@keras.saving.register_keras_serializable("mine")
class Net(keras.Model):
    def __init__(self, units=3, **rest):
        super().__init__(**rest)
        self.units = units
        self.dense = keras.layers.Dense(units)

    def call(self, features):
        return {"scores": self.dense(features)}

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("mine")
class Noise(keras.layers.Layer):
    def __init__(self, **rest):
        super().__init__(**rest)
        self.seed = keras.random.SeedGenerator(1)

    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x), seed=self.seed)


@keras.saving.register_keras_serializable("mine")
class InNumPy(keras.layers.Layer):
    """Cannot be traced as a graph."""

    def call(self, x):
        return keras.ops.convert_to_tensor(np.asarray(x) * 2)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, dtype=x.dtype)
'''
"""A module of somebody's own layers."""
TEXTS = ("服务很好", "态度很差", "质量不错", "价格太贵")


@contextmanager
def quiet() -> Iterator[None]:
    """Saving warns about NumPy's `copy` and about HDF5 being old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def job_for(folder: Path, source: Path, format_: str, **options: Any) -> Job:
    """A job whose artifact and work folders lie, empty, in `folder`."""
    artifact, work = folder / "artifact", folder / "work"
    artifact.mkdir(parents=True)
    work.mkdir()
    given: dict[str, Any] = {
        "format": format_,
        "source": str(source),
        "entry": "",
        "sample": "",
        "sample_name": "",
        "code": "",
        "artifact": str(artifact),
        "work": str(work),
        "samples": 256,
        "threads": 1,
        "trust": False,
        "engine": "",
        "cpu_s": 600,
        "file_bytes": 1 << 30,
    }
    return Job(**{**given, **options})


def own_layers(folder: Path) -> Any:
    """Writes `own.py` into a folder and imports it."""
    import importlib.util

    open_keras()
    (folder / "own.py").write_text(OWN)
    spec = importlib.util.spec_from_file_location("own_for_tests", folder / "own.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(name: str, own: Any = None) -> Any:
    """One of `MODELS`."""
    keras = open_keras()
    keras.utils.set_random_seed(7)
    with quiet():
        return MODELS[name](keras, keras.layers, own)


def save(model: Any, path: Path) -> Path:
    """Saves a model where its path's ending says."""
    with quiet():
        model.save(path)
    return path


def ask(model: Any, inputs: Any) -> Any:
    """Keras's own answers, as NumPy."""
    keras = open_keras()
    with quiet():
        return keras.tree.map_structure(keras.ops.convert_to_numpy, model(inputs, training=False))


def _mlp(keras: Any, layers: Any, own: Any) -> Any:
    return keras.Sequential(
        [
            keras.Input((4,), name="features"),
            layers.Dense(16, activation="relu"),
            layers.Dense(3, activation="softmax", name="probabilities"),
        ]
    )


def _cnn(keras: Any, layers: Any, own: Any) -> Any:
    return keras.Sequential(
        [
            keras.Input((12, 12, 3), name="images"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPool2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(5, activation="softmax", name="scores"),
        ]
    )


def _lstm(keras: Any, layers: Any, own: Any) -> Any:
    return keras.Sequential(
        [keras.Input((None,)), layers.Embedding(50, 8), layers.LSTM(6), layers.Dense(2)]
    )


def _lists(keras: Any, layers: Any, own: Any) -> Any:
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    both, shared = layers.Concatenate()([a, b]), layers.Dense(2, name="d")
    return keras.Model([a, b], [shared(layers.Dense(4)(both)), shared(layers.Dense(4)(both))])


def _dictionaries(keras: Any, layers: Any, own: Any) -> Any:
    a, b = keras.Input((4,), name="q"), keras.Input((3,), name="p")
    both = layers.Concatenate()([a, b])
    outputs = {"v": layers.Dense(3)(both), "u": layers.Dense(2)(both)}
    return keras.Model({"q": a, "p": b}, outputs)


def _normalised(keras: Any, layers: Any, own: Any) -> Any:
    scaler = layers.Normalization()
    scaler.adapt(np.random.default_rng(0).normal(5000, 200, (100, 4)))
    return keras.Sequential([keras.Input((4,)), scaler, layers.Dense(3)])


def _text(keras: Any, layers: Any, own: Any) -> Any:
    vectoriser = layers.TextVectorization(split="character", output_mode="multi_hot")
    vectoriser.adapt(list(TEXTS))
    return keras.Sequential([keras.Input((), dtype="string"), vectoriser, layers.Dense(2)])


def _lambda(keras: Any, layers: Any, own: Any) -> Any:
    return keras.Sequential(
        [keras.Input((4,)), layers.Lambda(lambda x: x * 2, name="twice"), layers.Dense(3)]
    )


def _own(kind: str) -> Callable[[Any, Any, Any], Any]:
    def make(keras: Any, layers: Any, own: Any) -> Any:
        return keras.Sequential([keras.Input((4,)), getattr(own, kind)(), layers.Dense(3)])

    return make


def _subclass(keras: Any, layers: Any, own: Any) -> Any:
    model = own.Net()
    model(np.zeros((2, 4), "f4"))
    return model


def _identity(keras: Any, layers: Any, own: Any) -> Any:
    x = keras.Input((4,), name="x")
    return keras.Model(x, x)


def _fixed(keras: Any, layers: Any, own: Any) -> Any:
    return keras.Sequential([keras.Input((4,), batch_size=2), layers.Dense(3)])


MODELS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "mlp": _mlp,
    "cnn": _cnn,
    "lstm": _lstm,
    "lists": _lists,
    "dictionaries": _dictionaries,
    "normalised": _normalised,
    "text": _text,
    "lambda": _lambda,
    "own layer": _own("Twice"),
    "noise": _own("Noise"),
    "in numpy": _own("InNumPy"),
    "subclass": _subclass,
    "identity": _identity,
    "fixed": _fixed,
}


def keras_2(path: Path, *layers: dict[str, Any], weights: dict[str, Any] | None = None) -> Path:
    """Writes an `.h5` file as Keras 2.15 does: no modules, `batch_input_shape` in layers."""
    config = {"class_name": "Sequential", "config": {"name": "sequential", "layers": list(layers)}}
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights or {}]
        for name, arrays in (weights or {}).items():
            names = [f"{name}/{each}:0" for each in arrays]
            group.create_group(name).attrs["weight_names"] = [each.encode() for each in names]
            for each, array in zip(names, arrays.values(), strict=True):
                group[name].create_dataset(each, data=array)
    return path


def rewrite(source: Path, target: Path, **members: bytes | None) -> Path:
    """Copies a `.keras` file with other members: `config`, `weights`; None leaves one out."""
    names = {"config": "config.json", "metadata": "metadata.json", "weights": "model.weights.h5"}
    other = {names[key]: value for key, value in members.items()}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = other.get(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


def saved_model(name: str, folder: Path) -> Any:
    """Saves one of `SAVED` as a SavedModel; gives the module or model itself."""
    keras = open_keras()
    import tensorflow as tf

    keras.utils.set_random_seed(7)
    with quiet():
        return SAVED[name](tf, keras, str(folder))


def _linear(tf: Any, kept: Collection[str]) -> Any:
    class Linear(tf.Module):  # type: ignore[misc]  # TensorFlow has no types here
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(tf.random.normal((4, 3)))
            self.table = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(["服务", "模型"], [1.0, 2.0]), 0.0
            )

        def score(self, x: Any) -> Any:
            scores = tf.nn.softmax(x @ self.weights)
            return {"scores": scores, "label": tf.argmax(scores, 1)}

        def rows(self, x: Any) -> Any:
            return [x @ self.weights, tf.reduce_sum(x, 1)]

        def look(self, text: Any) -> Any:
            return {"value": self.table.lookup(text), "upper": tf.strings.upper(text)}

        def scale(self, x: Any, k: Any) -> Any:
            return {"y": x @ self.weights * k}

        def half(self, x: Any) -> Any:
            return {"y": tf.cast(x @ self.weights, tf.bfloat16)}

        def waves(self, x: Any) -> Any:
            return {"y": tf.cast(x, tf.complex64)}

        def random(self, x: Any) -> Any:
            return {"y": x + tf.random.normal(tf.shape(x))}

        def parse(self, examples: Any) -> Any:
            wanted = {"a": tf.io.FixedLenFeature([1], tf.float32)}
            return tf.io.parse_example(examples, wanted)

        def read(self, path: Any) -> Any:
            return {"text": tf.io.read_file(path)}

        def prints(self, x: Any) -> Any:
            tf.print(x, output_stream="file:///srv/printed")
            return {"y": x @ self.weights}

        def saves(self, x: Any) -> Any:
            y = x @ self.weights
            tf.raw_ops.SaveV2(
                prefix="/srv/saved", tensor_names=["y"], shape_and_slices=[""], tensors=[y]
            )
            return {"y": y}

        def python(self, x: Any) -> Any:
            y = tf.py_function(lambda v: v * 2, [x], tf.float32)
            return {"y": tf.ensure_shape(y, (None, 4))}

    number = tf.TensorSpec((None, 4), tf.float32, name="x")
    taken = {
        "look": [tf.TensorSpec((None,), tf.string, name="text")],
        "parse": [tf.TensorSpec((None,), tf.string, name="examples")],
        "read": [tf.TensorSpec((), tf.string, name="path")],
        "scale": [number, tf.TensorSpec((), tf.float32, name="k")],
    }
    module = Linear()
    # TensorFlow saves every function that it finds, whether in a signature or not.
    for name in kept:
        function = tf.function(getattr(module, name), input_signature=taken.get(name, [number]))
        setattr(module, name, function)
    return module


def _module(**names: str) -> Callable[[Any, Any, str], Any]:
    """Saves methods of the module above: signature's name → method."""

    def make(tf: Any, keras: Any, folder: str) -> Any:
        module = _linear(tf, names.values())
        tf.saved_model.save(
            module, folder, signatures={name: getattr(module, m) for name, m in names.items()}
        )
        return module

    return make


def _exported(tf: Any, keras: Any, folder: str) -> Any:
    model = build("cnn")
    model.export(folder, verbose=False)
    return model


def _without_signatures(tf: Any, keras: Any, folder: str) -> Any:
    module = tf.Module()
    module.weights = tf.Variable(1.0)
    tf.saved_model.save(module, folder)
    return module


SAVED: dict[str, Callable[[Any, Any, str], Any]] = {
    "one": _module(serving_default="score"),
    "list": _module(serving_default="rows"),
    "two": _module(serving_default="score", look="look"),
    "three": _module(serving_default="score", scale="scale", rows="rows"),
    "other name": _module(predict="score"),
    "slash": _module(**{"serving_default": "score", "a/b": "rows"}),
    "half": _module(serving_default="half"),
    "complex": _module(serving_default="waves"),
    "complex beside": _module(serving_default="score", waves="waves"),
    "random": _module(serving_default="random"),
    "parse": _module(serving_default="parse"),
    "parse beside": _module(serving_default="score", parse="parse"),
    "read": _module(serving_default="read"),
    "prints": _module(serving_default="prints"),
    "saves": _module(serving_default="saves"),
    "python": _module(serving_default="python"),
    "exported": _exported,
    "none": _without_signatures,
}


def with_methods(folder: Path) -> Path:
    """A SavedModel as TensorFlow 1 wrote them, with signatures for Classify and Regress.

    They take serialised examples with the features `x`, two floats, and `age`, an integer. One
    says that it classifies and takes numbers.
    """
    open_keras()
    import tensorflow as tf

    v1 = tf.compat.v1
    features = {
        "x": tf.io.FixedLenFeature([2], tf.float32),
        "age": tf.io.FixedLenFeature([], tf.int64, default_value=0),
    }
    with quiet(), v1.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, [None])
        parsed = tf.io.parse_example(examples, features)
        rows = tf.shape(parsed["x"])[0]
        labels = tf.tile(tf.constant([["low", "high"]]), [rows, 1])
        total = tf.reduce_sum(parsed["x"], 1, keepdims=True)
        total += tf.cast(parsed["age"], tf.float32)[:, None]
        numbers = v1.placeholder(tf.float32, [None, 2])
        doubled = v1.get_variable("factor", initializer=2.0) * numbers
        session.run(v1.global_variables_initializer())
        signatures = {
            "serving_default": ("predict", {"x": numbers}, {"y": doubled}),
            "classification": (
                "classify",
                {"inputs": examples},
                {"classes": labels, "scores": parsed["x"]},
            ),
            "regression": ("regress", {"inputs": examples}, {"outputs": total}),
            "odd": ("classify", {"inputs": numbers}, {"scores": doubled}),
        }
        info = v1.saved_model.build_tensor_info
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                name: v1.saved_model.build_signature_def(
                    {key: info(tensor) for key, tensor in inputs.items()},
                    {key: info(tensor) for key, tensor in outputs.items()},
                    f"tensorflow/serving/{method}",
                )
                for name, (method, inputs, outputs) in signatures.items()
            },
        )
        builder.save()
    return folder
