"""The FastAPI service one writes by hand for a function of four floats."""

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel


class Rows(BaseModel):
    """The body of a call."""

    input_data: list[list[float]]


class Prediction(BaseModel):
    """The answer to a call."""

    prediction: list[float]


app = FastAPI()


@app.post("/predict")
async def predict(rows: Rows) -> Prediction:
    """Answer `{"input_data": [[…]]}` with the length of each row."""
    x = np.array(rows.input_data, dtype=np.float32)
    return Prediction(prediction=np.sqrt((x * x).sum(axis=1)).tolist())


@app.get("/ready")
async def ready() -> str:
    """Answer once it is up."""
    return "ready"
