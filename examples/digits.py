"""Handwritten digits: a quick model, then a better one, which the alias `prod` points at.

Run it against a server that is up: `python examples/digits.py [--url URL]`. Run again, it finds
its versions there and only calls them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import skops.io
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from maas import Client
from recipes import published, recipe, run

NAME = "digits"
MODELS = {
    "quick": ("Logistic regression.", (), lambda: LogisticRegression(max_iter=200, C=0.05)),
    "better": (
        "A network with one hidden layer of 64.",
        ("prod",),
        lambda: MLPClassifier(hidden_layer_sizes=(64,), max_iter=400, random_state=0),
    ),
}
"""Kind → what it is, the aliases it gets, and how it is made; published in this order."""
RECIPES = {kind: recipe(__file__, "scikit-learn", kind=kind) for kind in MODELS}


def main(client: Client) -> None:
    """Trains and publishes what is not there yet, then predicts one held-out digit with each."""
    data = load_digits()
    parts = train_test_split(
        data.data, data.target, test_size=0.3, random_state=0, stratify=data.target
    )
    _, test_x, _, test_y = parts
    there = published(client, NAME)
    for kind in MODELS:
        if RECIPES[kind] not in there:
            publish(client, kind, parts)
    there = published(client, NAME)
    quick = client.predict(f"{NAME}:{there[RECIPES['quick']]}", test_x[:1])
    prod = client.predict(f"{NAME}@prod", test_x[:1])
    print(
        f"a held-out {test_y[0]}: the quick model says {quick['label'][0]}, "
        f"prod says {prod['label'][0]}"
    )


def publish(client: Client, kind: str, parts) -> None:
    """Trains, evaluates on the held-out part, and publishes with what was measured."""
    train_x, test_x, train_y, test_y = parts
    what, alias, make = MODELS[kind]
    model = make_pipeline(MinMaxScaler(), make())
    model.fit(train_x, train_y)
    accuracy = accuracy_score(test_y, model.predict(test_x))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"digits-{kind}.skops"
        skops.io.dump(model, file)
        version = client.publish(
            file,
            NAME,
            alias=alias,
            description=f"The digit, 0 to 9, in an image of 8 × 8 grey values, 0 to 16. {what}",
            accuracy=accuracy,
            tags={"recipe": RECIPES[kind], "kind": kind, "data": "digits"},
            sample=train_x,
        )
    print(f"published {version.name}:{version.version}, accuracy {accuracy:.3f} on held-out data")


if __name__ == "__main__":
    run(main, __doc__)
