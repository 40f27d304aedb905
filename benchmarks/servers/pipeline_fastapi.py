"""The FastAPI service one writes by hand for a scikit-learn pipeline: joblib, `predict_proba`."""

import os

import joblib
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

model = joblib.load(os.environ["PIPELINE_MODEL"])


class Rows(BaseModel):
    """The body of a call."""

    input_data: list[list[float]]


class Prediction(BaseModel):
    """The answer to a call."""

    probabilities: list[list[float]]


app = FastAPI()


@app.post("/predict")
async def predict(rows: Rows) -> Prediction:
    """Answer `{"input_data": [[…]]}` with the probability of each class."""
    probabilities = model.predict_proba(np.array(rows.input_data))
    return Prediction(probabilities=probabilities.tolist())


@app.get("/ready")
async def ready() -> str:
    """Answer once the model is loaded."""
    return "ready"
