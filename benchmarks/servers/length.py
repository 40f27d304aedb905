"""A model in Python, as it is published: four floats a row → their length."""

import numpy as np

from maas import Float32, PythonModel


class Length(PythonModel):
    """The Euclidean length of rows of four numbers."""

    def infer(self, x: Float32["n", 4]) -> dict:  # noqa: F821 - a letter: any number of rows
        """Answer x float32 [n, 4] with y float32 [n]."""
        return {"y": np.sqrt((x * x).sum(axis=1))}
