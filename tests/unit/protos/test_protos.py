"""The compiled descriptors are those of the sources, and compatible with the clients' own."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

import maas.protos
from maas.core.errors import ErrorKind, MaasError
from maas.protos import message, parse, pool

FOLDER = Path(maas.protos.__file__).parent


def test_the_descriptors_were_compiled_from_these_sources() -> None:
    sources = b"".join(path.read_bytes() for path in sorted(FOLDER.glob("*.proto")))
    written = (FOLDER / "descriptors.sha256").read_text().strip()
    assert hashlib.sha256(sources).hexdigest() == written, "run scripts/protos"


def test_the_pool_is_private() -> None:
    assert pool() is not descriptor_pool.Default()
    code = (
        "from google.protobuf import descriptor_pool; from maas.protos import message; "
        "message('inference.ModelInferRequest'); import tritonclient.grpc.service_pb2 as theirs; "
        "print(theirs.ModelInferRequest is message('inference.ModelInferRequest'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "False"


DUMP = """
import json, sys
from tritonclient.grpc import model_config_pb2, service_pb2

def fields(kind):
    return {f.name: [f.number, f.type, f.is_repeated] for f in kind.fields}

def messages(kinds, found):
    for kind in kinds:
        found[kind.full_name] = fields(kind)
        messages(kind.nested_types, found)

found = {}
for file in (model_config_pb2.DESCRIPTOR, service_pb2.DESCRIPTOR):
    messages(file.message_types_by_name.values(), found)
services = {
    f"{service.full_name}/{one.name}": [one.input_type.full_name, one.output_type.full_name]
    for service in service_pb2.DESCRIPTOR.services_by_name.values()
    for one in service.methods
}
print(json.dumps([found, services]))
"""


def test_the_messages_have_the_numbers_of_tritons_client() -> None:
    """In a process of its own, since both define the same names."""
    done = subprocess.run([sys.executable, "-c", DUMP], capture_output=True, check=True)
    messages, services = json.loads(done.stdout)
    assert len(messages) > 80
    for name, theirs in messages.items():
        kind = pool().FindMessageTypeByName(name)
        ours = {field.name: [field.number, field.type, field.is_repeated] for field in kind.fields}
        assert ours == theirs, name
    for name, types in services.items():
        service, _, method = name.partition("/")
        found = pool().FindServiceByName(service).FindMethodByName(method)
        assert [found.input_type.full_name, found.output_type.full_name] == types


def test_bytes_that_are_no_message_are_the_callers_fault() -> None:
    kind = message("inference.ModelInferRequest")
    assert parse(kind, kind(model_name="iris").SerializeToString()).model_name == "iris"
    for data in (b"\xff\xff", b"\x0a\x05abc", b"\x0a\x02\xff\xfe"):
        with pytest.raises(MaasError) as caught:
            parse(kind, data)
        assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
