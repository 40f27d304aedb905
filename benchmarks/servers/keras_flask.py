"""Seed 0's Flask service with the model loaded once, and `model.predict` in every request."""

import os

import numpy as np
import tensorflow as tf
from flask import Flask, Response, jsonify, request

model = tf.keras.models.load_model(os.environ["KERAS_MODEL"])
model.predict(np.zeros((1, 4), np.float32), verbose=0)

app = Flask(__name__)


@app.route("/predict", methods=["POST"])
def predict() -> Response:
    """Answer `{"input_data": [[…]]}` with the network's answers."""
    input_data = np.array(request.get_json()["input_data"], dtype=np.float32)
    return jsonify(prediction=model.predict(input_data, verbose=0).tolist())


@app.route("/ready")
def ready() -> str:
    """Answer once the model is loaded."""
    return "ready"
