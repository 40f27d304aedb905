from __future__ import annotations

import pytest

from maas.dialects.media import parse_media


@pytest.mark.parametrize(
    ("header", "kind", "parameters"),
    [
        (b"", "", {}),
        (b"application/json", "application/json", {}),
        (b"Text/CSV; Charset=UTF-8 ; header=absent", "text/csv",
         {"charset": "UTF-8", "header": "absent"}),
        (b'multipart/form-data;boundary="aB c"', "multipart/form-data", {"boundary": "aB c"}),
        (b"a/b;;=x; y", "a/b", {"y": ""}),
        (b"\xff/\xff", "ÿ/ÿ", {}),
    ],
)  # fmt: skip
def test_a_content_type_is_taken_apart(header, kind, parameters):
    media = parse_media(header)
    assert (media.kind, media.parameters) == (kind, parameters)
