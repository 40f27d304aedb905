"""What tools ask of any gRPC server: health, reflection; and what is no call at all."""

from __future__ import annotations

import pytest

grpc = pytest.importorskip("grpc", reason="needs grpcio")
health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2", reason="needs grpcio-health-checking")
health_pb2_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc")
reflection = pytest.importorskip(
    "grpc_reflection.v1alpha.proto_reflection_descriptor_database",
    reason="needs grpcio-reflection",
)
SERVICES = {"grpc.health.v1.Health", "inference.GRPCInferenceService"}
INFER = "/inference.GRPCInferenceService/ModelInfer"


@pytest.fixture
def channel(rpc: str):
    with grpc.insecure_channel(rpc) as opened:
        yield opened


def code_of(work) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        work()
    return caught.value.code().name, caught.value.details()


def raw(channel, path: str):
    return channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)


def test_health(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", *SERVICES):
        assert stub.Check(health_pb2.HealthCheckRequest(service=service)).status == 1
    request = health_pb2.HealthCheckRequest(service="nobody.Knows")
    assert code_of(lambda: stub.Check(request))[0] == "NOT_FOUND"


def test_health_is_watched(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    watching = stub.Watch(health_pb2.HealthCheckRequest())
    assert next(watching).status == 1
    watching.cancel()
    unknown = stub.Watch(health_pb2.HealthCheckRequest(service="nobody.Knows"))
    assert next(unknown).status == 3
    unknown.cancel()


def test_reflection(channel):
    database = reflection.ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    assert services >= SERVICES
    for service in services:
        file = database.FindFileContainingSymbol(service)
        names = {f"{file.package}.{one.name}" for one in file.service}
        assert service in names
    assert database.FindFileByName("inference.proto").package == "inference"
    with pytest.raises(KeyError):
        database.FindFileContainingSymbol("nobody.Knows")


def test_an_unknown_method_is_unimplemented(channel):
    for path in ("/inference.GRPCInferenceService/Nothing", "/nobody.Knows/Method"):
        code, details = code_of(lambda path=path: raw(channel, path)(b""))
        assert (code, path in details) == ("UNIMPLEMENTED", True)


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x05abc", b"\x3a\xff\xff\xff\xff\x7fabc"])
def test_bytes_that_are_no_message(channel, data):
    code, details = code_of(lambda: raw(channel, INFER)(data))
    assert (code, details) == (
        "INVALID_ARGUMENT", "the bytes are no inference.ModelInferRequest message"
    )  # fmt: skip


def test_a_message_beyond_the_limit(channel):
    code, details = code_of(lambda: raw(channel, INFER)(b"\x3a" + bytes(66 << 20)))
    assert (code, "MiB" in details) == ("RESOURCE_EXHAUSTED", True)
