"""The FastAPI service one writes by hand: a pydantic body for rows, `json` for an image."""

import json
import os
from typing import Any

import numpy as np
import onnxruntime
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
iris = onnxruntime.InferenceSession(os.environ["IRIS_MODEL"], options)
image = onnxruntime.InferenceSession(os.environ["IMAGE_MODEL"], options)


class Rows(BaseModel):
    """The body of a call."""

    input_data: list[list[float]]


class Prediction(BaseModel):
    """The answer to a call."""

    prediction: list[int]
    probabilities: list[list[float]]


app = FastAPI()


@app.post("/predict")
async def predict(rows: Rows) -> Prediction:
    """Answer `{"input_data": [[…]]}` with the classes and their probabilities."""
    label, probabilities = iris.run(None, {"x": np.array(rows.input_data, dtype=np.float32)})
    return Prediction(prediction=label.tolist(), probabilities=probabilities.tolist())


@app.post("/image/predict")
async def predict_image(request: Request) -> Response:
    """Answer `{"images": [[[[…]]]]}` with the scores of 1000 classes."""
    body: dict[str, Any] = json.loads(await request.body())
    images = np.array(body["images"], dtype=np.float32)
    scores = image.run(None, {"images": images})[0]
    return Response(json.dumps({"scores": scores.tolist()}), media_type="application/json")


@app.get("/ready")
async def ready() -> str:
    """Answer once the models are loaded."""
    return "ready"
