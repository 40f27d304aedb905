"""Seed 0's Flask service, with the model loaded once instead of in every call."""

import os

import numpy as np
import onnxruntime
from flask import Flask, Response, jsonify, request

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["IRIS_MODEL"], options)

app = Flask(__name__)


@app.route("/predict", methods=["POST"])
def predict() -> Response:
    """Answer `{"input_data": [[…]]}` with the classes and their probabilities."""
    data = request.get_json()
    input_data = np.array(data["input_data"], dtype=np.float32)
    label, probabilities = session.run(None, {"x": input_data})
    return jsonify(prediction=label.tolist(), probabilities=probabilities.tolist())


@app.route("/ready")
def ready() -> str:
    """Answer once the model is loaded."""
    return "ready"
