from __future__ import annotations

from pathlib import Path

import pytest

from maas.core.errors import MaasError
from maas.core.records import PublishOptions
from maas.publish.uploads import fingerprint_of, is_the_model

DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    (folder / "package").mkdir(parents=True)
    (folder / "features.py").write_text("a = 1")
    (folder / "package" / "__init__.py").touch()
    return folder


def test_a_publish_without_code_or_trust_keeps_its_fingerprint() -> None:
    # As versions were fingerprinted before there was code; another one would publish all anew.
    assert fingerprint_of(DIGEST, None, PublishOptions(accuracy=0.5)) == (
        "cdb35222490556e8d4bd975c5cd8c43c0db3bef6badeb3d254f41243e62bd7ea"
    )


def test_code_trust_and_engine_make_another_publish(code: Path) -> None:
    options = PublishOptions(trust=True)
    prints = {
        fingerprint_of(DIGEST, None, PublishOptions()),
        fingerprint_of(DIGEST, None, options),
        fingerprint_of(DIGEST, None, PublishOptions(trust=True, engine="sklearn")),
        fingerprint_of(DIGEST, None, options, code),
    }
    same = fingerprint_of(DIGEST, None, options, code)
    assert same in prints
    (code / "features.py").write_text("a = 2")
    prints.add(fingerprint_of(DIGEST, None, options, code))
    (code / "features.py").rename(code / "feature.py")
    prints.add(fingerprint_of(DIGEST, None, options, code))
    assert len(prints) == 6


def test_code_that_is_a_link_is_refused(code: Path) -> None:
    (code / "link.py").symlink_to("/etc/hostname")
    with pytest.raises(MaasError, match="link or a device"):
        fingerprint_of(DIGEST, None, PublishOptions(trust=True), code)


@pytest.mark.parametrize(
    ("file", "meant"),
    [
        ("m.onnx", "m.onnx"),
        ("iris/m.onnx", "iris"),
        ("config.pbtxt", ""),
        ("1/model.py", ""),  # a Triton model whose code completes its configuration
        ("12/model.onnx", ""),
        ("1/forest.onnx", "1"),
        ("01/model.py", "01"),
    ],
)
def test_what_is_alone_in_a_folder_is_meant(tmp_path: Path, file: str, meant: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert is_the_model(tmp_path) == tmp_path / meant
