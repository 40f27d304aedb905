"""Iris: train, measure on held-out flowers, publish, call.

Run it against a server that is up: `python examples/iris.py [--url URL]`. Run again, it finds its
version there and only calls it.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from pathlib import Path

import sklearn
import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from maas.client import ApiError, Client
from maas.core.errors import ErrorKind, MaasError

NAME = "iris"


def main() -> None:
    """Trains and publishes if that has not been done, then predicts one held-out flower."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="the server; MAAS_URL, else http://127.0.0.1:8080")
    url = parser.parse_args().url

    data = load_iris()
    train_x, test_x, train_y, test_y = train_test_split(
        data.data, data.target, test_size=0.3, random_state=0, stratify=data.target
    )
    with Client(url) as client:
        if not is_published(client):
            publish(client, train_x, test_x, train_y, test_y)
        answer = client.predict(NAME, test_x[:1])
    label = int(answer["label"][0])
    print(f"a held-out {data.target_names[test_y[0]]}: {data.target_names[label]} was predicted")


def is_published(client: Client) -> bool:
    """Whether this script, with this scikit-learn, has published its model already."""
    try:
        versions = client.model(NAME).versions
    except ApiError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        return False
    return any(version.tags.get("recipe") == recipe() for version in versions)


def recipe() -> str:
    """What the model is made from: a saved model differs in its bytes each time it is saved."""
    made_from = Path(__file__).read_bytes() + sklearn.__version__.encode()
    return hashlib.sha256(made_from).hexdigest()[:12]


def publish(client: Client, train_x, test_x, train_y, test_y) -> None:
    """Trains, evaluates on the held-out part, and publishes with what was measured."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=0))
    model.fit(train_x, train_y)
    accuracy = accuracy_score(test_y, model.predict(test_x))
    loss = log_loss(test_y, model.predict_proba(test_x))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "iris.skops"
        skops.io.dump(model, file)
        version = client.publish(
            file,
            NAME,
            description="Species of iris (setosa, versicolor, virginica) from sepal length and "
            "width, petal length and width, in cm. Logistic regression.",
            accuracy=accuracy,
            metrics={"log_loss": loss},
            tags={"recipe": recipe(), "data": "iris"},
            sample=train_x,
        )
    print(f"published {version.name}:{version.version}, accuracy {accuracy:.3f} on held-out data")


if __name__ == "__main__":
    try:
        main()
    except MaasError as error:
        raise SystemExit(f"error: {error}") from None
