"""Encrypted upstreams: the address is connected to, the name's certificate is asked for."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import pytest
from tests.unit.runtimes.upstream.peers import http, peer, settings

import grpc
from maas.core.errors import ErrorKind, MaasError
from maas.core.upstreams import parse_upstream
from maas.runtimes.upstream.network import Network
from maas.runtimes.upstream.rest import Rest
from maas.runtimes.upstream.rpc import Rpc

x509 = pytest.importorskip("cryptography.x509")
NAME = "models.test"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of `models.test`, signed by itself, and its key."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def https_port(certificate: tuple[Path, Path]) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    asked: list[str] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)

    def answer(connection, request: bytes) -> None:
        assert f"Host: {NAME}:".encode() in request
        connection.sendall(http(b"{}"))

    with peer(
        answer, wrap=lambda connection: context.wrap_socket(connection, server_side=True)
    ) as (port):
        yield port
    assert asked == [NAME] * len(asked)


def rest_to(port: int, host: str = NAME) -> Rest:
    target = parse_upstream(f"oip+https://{host}:{port}/m")
    return Rest(target, settings(), Network(settings().networks, lambda host, port: ["127.0.0.1"]))


def test_https(https_port, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    rest = rest_to(https_port)
    assert rest.get("/v2").body == b"{}"
    assert rest.get("/v2").body == b"{}"
    rest.close()


def test_https_of_an_unknown_certificate(https_port):
    rest = rest_to(https_port)
    with pytest.raises(MaasError, match="its certificate is not known") as caught:
        rest.get("/v2")
    rest.close()
    assert caught.value.kind is ErrorKind.UNAVAILABLE


def test_https_of_another_name(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    wrap = lambda connection: context.wrap_socket(connection, server_side=True)  # noqa: E731
    with peer(lambda connection, _: None, wrap=wrap) as port:
        rest = rest_to(port, "other.test")
        with pytest.raises(MaasError, match="its certificate is not known"):
            rest.get("/v2")
        rest.close()


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: request)


@pytest.fixture
def grpcs_port(certificate: tuple[Path, Path]) -> Iterator[int]:
    cert, key = (path.read_bytes() for path in certificate)
    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Echo()])
    credentials = grpc.ssl_server_credentials([(key, cert)])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield port
    server.stop(None).wait()


def rpc_to(port: int, host: str = NAME) -> Rpc:
    target = parse_upstream(f"oip+grpcs://{host}:{port}/m")
    return Rpc(target, settings(), Network(settings().networks, lambda host, port: ["127.0.0.1"]))


def test_grpcs(grpcs_port, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    rpc = rpc_to(grpcs_port)
    assert rpc.call("/any/Method", b"x") == b"x"
    rpc.close()
    rpc = rpc_to(grpcs_port, "other.test")
    with pytest.raises(MaasError) as caught:
        rpc.call("/any/Method", b"x")
    rpc.close()
    assert caught.value.kind is ErrorKind.UNAVAILABLE


def test_grpcs_of_an_unknown_certificate(grpcs_port):
    rpc = rpc_to(grpcs_port)
    with pytest.raises(MaasError) as caught:
        rpc.call("/any/Method", b"x")
    rpc.close()
    assert caught.value.kind is ErrorKind.UNAVAILABLE
