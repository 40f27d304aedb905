from __future__ import annotations

import socket

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.runtimes.upstream.network import Network, resolve_host

PUBLIC = "93.184.216.34"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001:0:7f00:1::",
        "192.0.0.192",
        "::ffff:192.0.0.192",
        "64:ff9b:1::7f00:1",
        "fec0::1",
        "3fff::1",
        "5f00::1",
        "no address",
        "",
    ],
)
def test_only_public_addresses_are_called(address):
    network = Network((), lambda host, port: [address])
    assert not network.allows(address)
    with pytest.raises(MaasError, match=r"upstream\.networks") as caught:
        network.addresses("name", 80)
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION
    assert address == "" or address not in caught.value.message


@pytest.mark.parametrize(
    "address", [PUBLIC, "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses(address):
    assert Network((), lambda host, port: [address]).addresses("name", 80) == [address]


def test_networks_that_the_setting_allows():
    network = Network(("10.1.0.0/16", "::1/128"), lambda host, port: [])
    assert network.allows("10.1.2.3")
    assert network.allows("::ffff:10.1.2.3")
    assert network.allows("::1")
    assert not network.allows("10.2.0.1")
    assert not network.allows("127.0.0.1")


def test_of_several_addresses_the_allowed_ones_are_called():
    found = ["127.0.0.1", PUBLIC, "169.254.169.254"]
    assert Network((), lambda host, port: found).addresses("name", 80) == [PUBLIC]


def test_a_name_without_an_address():
    def none(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(MaasError) as caught:
        Network((), none).addresses("nowhere.example", 80)
    assert caught.value.kind is ErrorKind.UNAVAILABLE


def test_the_systems_resolver():
    assert "127.0.0.1" in resolve_host("localhost", 80)
    assert resolve_host("127.0.0.1", 80) == ["127.0.0.1"]
