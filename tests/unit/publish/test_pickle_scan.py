"""What a pickle would import is known before anything of it is run."""

from __future__ import annotations

import gzip
import io
import pickle
import zlib
from collections import OrderedDict

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from maas.core.errors import ErrorKind, MaasError
from maas.publish.pickle_scan import scan_pickle

X = np.arange(40.0).reshape(20, 2)
Y = np.arange(20) % 2
COMPRESSIONS = [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 1), ("lzma", 1)]


class Held:
    """Somebody's object."""

    def __init__(self, value):
        self.value = value


@pytest.fixture
def file(tmp_path):
    return tmp_path / "m.pkl"


def dumped(file, value, protocol=None):
    file.write_bytes(pickle.dumps(value, protocol))
    return scan_pickle(file)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_run(file, canary, protocol):
    scan = dumped(file, [1, canary], protocol)
    assert ("posix", "mkdir") in scan.imports
    assert scan.modules == ("posix",)


@pytest.mark.parametrize("protocol", range(6))
def test_an_estimator(file, protocol):
    scan = dumped(file, LogisticRegression().fit(X, Y), protocol)
    assert {"numpy", "sklearn"} <= set(scan.modules)
    assert ("sklearn.linear_model._logistic", "LogisticRegression") in scan.imports
    assert scan.written_with == {"scikit-learn": sklearn.__version__}


@pytest.mark.parametrize("compress", COMPRESSIONS, ids=str)
def test_a_joblib_file_with_arrays_between_its_opcodes(file, compress):
    held = Held(
        {
            "forest": RandomForestClassifier(3, n_jobs=-1).fit(X, Y),
            "large": np.zeros((300, 7), order="F"),
            "objects": np.array([{"a": 1}, "b", X], dtype=object),
            "table": pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
            "times": np.array(["2024-01-01"], dtype="M8[D]"),
            "none": np.zeros((0, 3)),
            "after": OrderedDict(a=1),
        }
    )
    joblib.dump(held, file, compress=compress)
    scan = scan_pickle(file)
    assert {"joblib", "numpy", "pandas", "sklearn", "collections"} <= set(scan.modules)
    assert ("collections", "OrderedDict") in scan.imports
    assert scan.written_with["scikit-learn"] == sklearn.__version__


def test_what_was_defined_in_a_notebook(file):
    data = pickle.dumps(Held(3), 2).replace(Held.__module__.encode(), b"__main__")
    file.write_bytes(data)
    assert scan_pickle(file).from_main == ("Held",)


def test_what_looks_like_a_pickle_and_is_cut_off(file):
    whole = io.BytesIO()
    joblib.dump(RandomForestClassifier(3).fit(X, Y), whole)
    data = whole.getvalue()
    for length in range(1, len(data), len(data) // 50):
        file.write_bytes(data[:length])
        with pytest.raises(MaasError, match="cut off or damaged") as caught:
            scan_pickle(file)
        assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_random_bytes_never_crash(file):
    rng = np.random.default_rng(0)
    whole = bytearray(pickle.dumps(LogisticRegression().fit(X, Y)))
    for _ in range(300):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 4):
            data[place] = rng.integers(256)
        file.write_bytes(data)
        try:
            scan_pickle(file)
        except MaasError as error:
            assert error.kind is ErrorKind.INVALID_ARGUMENT  # noqa: PT017  (most are refused)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "zlib"])
def test_damaged_compression(file, pack):
    data = bytearray(pack(pickle.dumps(LogisticRegression().fit(X, Y))))
    data[len(data) // 2] ^= 255
    file.write_bytes(data)
    with pytest.raises(MaasError, match="cut off or damaged"):
        scan_pickle(file)


def test_lz4_is_named(file):
    file.write_bytes(b"\x04\x22\x4d\x18" + bytes(60))
    with pytest.raises(MaasError, match=r"lz4, which is not read here; save it with joblib.dump"):
        scan_pickle(file)


def test_an_array_that_claims_to_be_endless(file):
    whole = io.BytesIO()
    joblib.dump(Held(np.zeros(3)), whole)
    before, after = b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"
    assert before in whole.getvalue()
    file.write_bytes(whole.getvalue().replace(before, after))
    with pytest.raises(MaasError, match="cut off or damaged"):
        scan_pickle(file)
