"""The FastAPI service one writes by hand for a Keras network: loaded once, called as a function."""

import os

import numpy as np
import tensorflow as tf
from fastapi import FastAPI
from pydantic import BaseModel

model = tf.keras.models.load_model(os.environ["KERAS_MODEL"])
infer = tf.function(model, input_signature=[tf.TensorSpec([None, 4], tf.float32)])
infer(np.zeros((1, 4), np.float32))


class Rows(BaseModel):
    """The body of a call."""

    input_data: list[list[float]]


class Prediction(BaseModel):
    """The answer to a call."""

    prediction: list[list[float]]


app = FastAPI()


@app.post("/predict")
async def predict(rows: Rows) -> Prediction:
    """Answer `{"input_data": [[…]]}` with the network's answers."""
    answer = infer(np.array(rows.input_data, dtype=np.float32))
    return Prediction(prediction=answer.numpy().tolist())


@app.get("/ready")
async def ready() -> str:
    """Answer once the model is loaded."""
    return "ready"
