"""Iris: train, measure on held-out flowers, publish, call.

Run it against a server that is up: `python examples/iris.py [--url URL]`. Run again, it finds its
version there and only calls it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from maas import Client
from recipes import published, recipe, run

NAME = "iris"
RECIPE = recipe(__file__, "scikit-learn")


def main(client: Client) -> None:
    """Trains and publishes if that has not been done, then predicts one held-out flower."""
    data = load_iris()
    train_x, test_x, train_y, test_y = train_test_split(
        data.data, data.target, test_size=0.3, random_state=0, stratify=data.target
    )
    if RECIPE not in published(client, NAME):
        publish(client, train_x, test_x, train_y, test_y)
    answer = client.predict(NAME, test_x[:1])
    label = int(answer["label"][0])
    print(f"a held-out {data.target_names[test_y[0]]}: {data.target_names[label]} was predicted")


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
            tags={"recipe": RECIPE, "data": "iris"},
            sample=train_x,
        )
    print(f"published {version.name}:{version.version}, accuracy {accuracy:.3f} on held-out data")


if __name__ == "__main__":
    run(main, __doc__)
