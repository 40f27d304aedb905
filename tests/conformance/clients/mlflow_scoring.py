"""MLflow's own scoring client."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pandas as pd
from harness import FLOWER, raises, run
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

FRAME = pd.DataFrame([FLOWER], columns=["sepal length", "sepal width", "length", "width"])


def check_ping(client: Any) -> None:
    """MLFLOW: `GET /ping` answers 200"""
    client.ping()
    client.wait_server_ready()


def check_version(client: Any) -> None:
    """MLFLOW: `GET /version`"""
    assert client.get_version()[0].isdigit()


def check_frame(client: Any) -> None:
    """MLFLOW: a DataFrame (`dataframe_split`); the answer as a DataFrame"""
    answer = client.invoke(FRAME)
    assert answer.get_predictions()[0].tolist() == [0]


def check_array(client: Any) -> None:
    """MLFLOW: an array (`inputs`); the answer as an ndarray"""
    answer = client.invoke(np.array([FLOWER]))
    assert answer.get_predictions("ndarray").tolist() == [0]


def check_params(client: Any) -> None:
    """MLFLOW: `params`, ignored by a model that declares none"""
    answer = client.invoke(FRAME, params={"temperature": 0.5})
    assert answer.get_predictions()[0].tolist() == [0]


def check_wrong(client: Any) -> None:
    """MLFLOW: a table that does not fit is 400 with `error_code` and `message`"""
    raises(Exception, "BAD_REQUEST", lambda: client.invoke(FRAME[["length"]]))


def connect(address: str) -> Any:
    """The client has nothing to close."""
    host, port = address.split(":")
    return nullcontext(ScoringServerClient(host, int(port)))


if __name__ == "__main__":
    run(globals(), connect)
