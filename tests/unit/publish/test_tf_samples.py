"""The rows that TensorFlow models are proved on."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tf_zoo import job_for

from maas.core.errors import MaasError, invalid
from maas.core.tensor import DType, TensorSpec
from maas.publish import tf_samples
from maas.publish.tf_samples import Hint, collect_samples


@pytest.fixture
def job(tmp_path):
    return job_for(tmp_path / "job", tmp_path, "keras")


def spec(name="x", dtype=DType.FP32, shape=(None, 4)):
    return TensorSpec(name, dtype, shape)


def same(inputs):
    return dict(inputs)


def total(inputs):
    """One number a row, whatever the other sizes are."""
    return {n: a.reshape(len(a), -1).sum(1) for n, a in inputs.items()}


def test_at_least_256_varied_rows_of_several_magnitudes(job):
    samples = collect_samples(same, (spec(),), {}, job)
    rows = samples.inputs()["x"]
    assert rows.shape == (256, 4)
    assert rows.dtype == np.float32
    assert samples.source == "model"
    size = np.abs(rows).max(1)
    assert size.min() < 1 < 5 < size.max()
    assert (rows < 0).any()


def test_the_rows_are_the_same_every_time(job):
    first = collect_samples(same, (spec(),), {}, job).inputs()["x"]
    assert (collect_samples(same, (spec(),), {}, job).inputs()["x"] == first).all()


@pytest.mark.parametrize(
    ("hint", "dtype", "low", "high"),
    [
        (Hint("index", high=50), DType.INT32, 0, 49),
        (Hint("index", high=50), DType.FP32, 0, 49),
        (Hint("index", high=1), DType.INT64, 0, 0),
        (Hint("scaled", mean=np.full((1, 4), 100.0), deviation=1.0), DType.FP32, 90, 110),
        (Hint("pixels", high=255), DType.FP32, 0, 255),
        (Hint("pixels", high=255), DType.UINT8, 0, 255),
    ],
)
def test_hints_are_obeyed(job, hint, dtype, low, high):
    rows = collect_samples(same, (spec(dtype=dtype),), {"x": hint}, job).inputs()["x"]
    assert rows.dtype == dtype.numpy
    assert low <= rows.min() <= rows.max() <= high
    if high > low:
        assert rows.max() - rows.min() > 0.05 * (high - low)
    if hint.kind == "index":
        assert (rows == np.round(rows)).all()
        assert rows.max() == high


def test_images_are_drawn_dark_and_light(job):
    rows = collect_samples(total, (spec(shape=(None, 16, 16, 3)),), {}, job).inputs()["x"]
    assert rows.min() >= 0
    brightest = rows.reshape(len(rows), -1).max(1)
    assert brightest.min() < 1 < 200 < brightest.max()


@pytest.mark.parametrize("words", [("服", "务", "好"), ("good", "bad")])
def test_texts_are_made_of_the_vocabulary(job, words):
    texts = spec(dtype=DType.BYTES, shape=(None,))
    rows = collect_samples(same, (texts,), {"x": Hint("words", words=words)}, job).inputs()["x"]
    assert len(set(rows)) > 20
    for text in rows[:20]:
        parts = text.decode().split(" ") if len(words[0]) > 1 else list(text.decode())
        assert set(parts) <= set(words)


def test_sizes_that_the_model_does_not_take_are_passed_over(job):
    def only_32(inputs):
        if inputs["x"].shape[1] not in (32, 48):
            raise invalid("32 or 48")
        return total(inputs)

    samples = collect_samples(only_32, (spec(shape=(None, None)),), {}, job)
    assert samples.inputs()["x"].shape[1] == 32
    assert samples.groups[-1]["x"].shape == (4, 48)
    assert len(samples.outputs()["x"]) == len(samples.inputs()["x"])


def test_rows_that_the_model_refuses_are_left_out(job):
    def no_negative(inputs):
        if (inputs["x"] < -3).any():
            raise invalid("too cold")
        return dict(inputs)

    samples = collect_samples(no_negative, (spec(),), {}, job)
    assert 50 < len(samples.inputs()["x"]) < 256
    assert samples.inputs()["x"].min() >= -3


def test_a_model_that_answers_nothing_says_why(job):
    def never(inputs):
        raise invalid("not today")

    with pytest.raises(MaasError, match=r"not today.*--sample"):
        collect_samples(never, (spec(),), {}, job)


def test_slow_models_get_fewer_rows(job, monkeypatch):
    seconds = iter(range(0, 10_000, 2))
    monkeypatch.setattr(tf_samples.time, "monotonic", lambda: next(seconds))
    assert len(collect_samples(same, (spec(),), {}, job).inputs()["x"]) == 10


def test_large_rows_are_fewer_and_run_in_parts(job):
    heights = []

    def watch(inputs):
        heights.append(len(inputs["x"]))
        return total(inputs)

    samples = collect_samples(watch, (spec(shape=(None, 1024, 1024, 3)),), {}, job)
    assert len(samples.inputs()["x"]) == 26
    assert max(heights) <= 2


def test_a_scalar_input_means_calls_instead_of_rows(job):
    specs = (spec(), spec("k", shape=()))

    def scaled(inputs):
        return {"y": inputs["x"] * inputs["k"]}

    samples = collect_samples(scaled, specs, {}, job)
    assert not samples.rows_axis
    assert len(samples.groups) == 256
    assert samples.inputs()["k"].shape == ()


def test_answers_without_rows_are_calls_too(job):
    samples = collect_samples(lambda rows: {"y": rows["x"].sum()}, (spec(),), {}, job)
    assert not samples.rows_axis
    assert samples.outputs()["y"].shape == ()


def test_given_rows_must_have_equal_counts(job, tmp_path):
    np.savez(tmp_path / "s.npz", x=np.ones((3, 4), "f4"), y=np.ones((2, 4), "f4"))
    given = job_for(
        tmp_path / "j", tmp_path, "keras", sample=str(tmp_path / "s.npz"), sample_name="s.npz"
    )
    with pytest.raises(MaasError, match="different numbers of rows"):
        collect_samples(same, (spec(), spec("y")), {}, given)
