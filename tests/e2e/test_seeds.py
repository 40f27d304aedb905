"""The second document's service: Chinese texts to topics, called as it calls it.

`examples/chinese.py` trains, measures and publishes; everything after goes over HTTP.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import requests
from tests.server import Server, serving

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def chinese() -> Iterator[ModuleType]:
    """The example as a module."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        import chinese

        yield chinese
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the example's model and no other."""
    with serving(tmp_path_factory.mktemp("topics") / "home", "auto") as server:
        said = run_example(server)
        assert said.startswith("published topics:1, accuracy 0.9")
        yield server


def run_example(server: Server) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "chinese.py")],
        env=server.client_env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_call_of_the_document(topics: Server) -> None:
    response = requests.post(
        f"{topics.url}/classify", json={"text": "主队在加时赛中攻入一球"}, timeout=60
    )
    assert response.status_code == 200
    assert response.json()["prediction"] == "体育"
    assert response.headers["maas-model"] == "topics:1"


def test_every_topic(topics: Server) -> None:
    texts = {
        "体育": "替补前锋在比赛中打进两球",
        "科技": "新款手机的芯片更快更省电",
        "财经": "股票价格下跌，基金亏损",
        "娱乐": "这部电影的女演员演唱了主题曲",
        "健康": "医生建议高血压病人少吃盐",
        "教育": "老师给学生布置了暑假作业",
    }
    answer = topics.post("/classify", {"text": list(texts.values())}).json()
    assert answer["prediction"] == list(texts)
    assert np.array(answer["probabilities"]).shape == (6, 6)


def test_the_served_pipeline_is_the_one_trained(topics: Server, chinese: ModuleType) -> None:
    """The fitted vectoriser and scaler travel with the network."""
    texts, wanted = chinese.written()
    answer = topics.post("/topics/classify", {"text": texts}).json()
    ours = chinese.train()
    assert answer["prediction"] == ours.predict(texts).tolist()
    np.testing.assert_allclose(answer["probabilities"], ours.predict_proba(texts), atol=1e-4)
    right = np.mean(np.array(answer["prediction"]) == wanted)
    [version] = topics.api("GET", "/models/topics").json()["versions"]
    assert version["accuracy"] == pytest.approx(right)
    assert right > 0.9


def test_no_held_out_sentence_is_learnt_from(chinese: ModuleType) -> None:
    learnt = set(chinese.training()[0])
    for texts, topics in (chinese.held_out(), chinese.written()):
        assert len(texts) == len(set(texts)) == len(topics) > 40
        assert learnt.isdisjoint(texts)
        assert set(topics) == set(chinese.training()[1])


def test_it_is_lowered_and_proven_on_varied_texts(topics: Server) -> None:
    [version] = topics.api("GET", "/models/topics").json()["versions"]
    report = version["report"]
    assert report["format"] == "skops"
    assert report["lowered"]
    assert report["parity"]["agrees"]
    assert report["parity"]["samples"] >= 200
    assert report["parity"]["distinct_answers"] == 6


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"text": 5}, "text"),
        ({"text": None}, "text"),
        ({"text": {"a": "b"}}, "a"),
        ({"texts": "主队"}, "text"),
        ({}, "text"),
        ({"text": ["主队", 5]}, "text"),
    ],
    ids=["number", "null", "object", "misspelt", "empty", "mixed"],
)
def test_bad_bodies(topics: Server, body: dict[str, object], word: str) -> None:
    answer = topics.post("/topics/classify", body)
    assert answer.status_code == 400
    assert word in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "text",
    ["", " ", "hello", "😀", "𠮷野家", "\u0000", "主队\n" * 10_000],
    ids=["empty", "blank", "english", "emoji", "beyond_bmp", "nul", "long"],
)
def test_texts_that_nobody_trained_on_are_answered(topics: Server, text: str) -> None:
    answer = topics.post("/classify", {"text": text})
    assert answer.status_code == 200
    assert answer.json()["prediction"] in {"体育", "科技", "财经", "娱乐", "健康", "教育"}


def test_run_again_it_publishes_nothing(topics: Server) -> None:
    assert "published" not in run_example(topics)
    assert len(topics.api("GET", "/models/topics").json()["versions"]) == 1
