"""Seed 0's Flask handler as it is written there: the model is loaded in every request.

Two things in it cannot run and are put right: `predict` takes an array, and `jsonify` takes a list.
"""

import os

import numpy as np
import tensorflow as tf
from flask import Flask, Response, jsonify, request

app = Flask(__name__)


@app.route("/predict", methods=["POST"])
def predict() -> Response:
    """Answer `{"input_data": [[…]]}` with the network's answers."""
    data = request.get_json()
    input_data = data["input_data"]
    model = tf.keras.models.load_model(os.environ["KERAS_MODEL"])
    prediction = model.predict(np.array(input_data))
    return jsonify(prediction.tolist())


@app.route("/ready")
def ready() -> str:
    """Answer once Flask is up."""
    return "ready"


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ["BENCHMARK_PORT"]))
