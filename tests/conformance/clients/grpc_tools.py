"""gRPC's own health client, and reflection as grpcurl uses it: no message is known beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from harness import raises, run

import grpc

SERVICES = {
    "inference.GRPCInferenceService",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "grpc.health.v1.Health",
}


def check_health(channel: grpc.Channel) -> None:
    """GRPC: `grpc.health.v1.Health/Check`, of the server and of each service"""
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", *SERVICES):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, service


def check_health_of_nobody(channel: grpc.Channel) -> None:
    """GRPC: health of an unknown service is NOT_FOUND"""
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="nobody")
    error = raises(grpc.RpcError, "", lambda: stub.Check(request, timeout=30))
    assert error.code() is grpc.StatusCode.NOT_FOUND


def check_health_watch(channel: grpc.Channel) -> None:
    """GRPC: `Health/Watch` begins with the present state"""
    stub = health_pb2_grpc.HealthStub(channel)
    call = stub.Watch(health_pb2.HealthCheckRequest(), timeout=30)
    assert next(call).status == health_pb2.HealthCheckResponse.SERVING
    call.cancel()


def check_services(channel: grpc.Channel) -> None:
    """GRPC: reflection lists every service"""
    assert set(ProtoReflectionDescriptorDatabase(channel).get_services()) >= SERVICES


def check_call_by_reflection(channel: grpc.Channel) -> None:
    """GRPC: a method is called by what reflection says of it alone, as grpcurl does"""
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    service = pool.FindServiceByName("inference.GRPCInferenceService")
    method = service.methods_by_name["ModelMetadata"]
    request: Any = GetMessageClass(method.input_type)(name="iris")
    call = channel.unary_unary(
        f"/{service.full_name}/{method.name}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    assert call(request, timeout=30).inputs[0].name == "x"


def check_unknown_method(channel: grpc.Channel) -> None:
    """GRPC: an unknown method is UNIMPLEMENTED"""
    call = channel.unary_unary("/inference.GRPCInferenceService/Nothing")
    error = raises(grpc.RpcError, "", lambda: call(b"", timeout=30))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


@contextmanager
def connect(address: str) -> Iterator[grpc.Channel]:
    """Opens a channel."""
    with grpc.insecure_channel(address) as channel:
        yield channel


if __name__ == "__main__":
    run(globals(), connect)
