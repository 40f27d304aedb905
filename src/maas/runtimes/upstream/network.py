"""Which addresses may be called: checked on the address that is connected to, each time.

A name is resolved once, the answer is checked, and that very address is connected to. A name that
means something else at the next look is checked again, so nothing is gained by changing it.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator, Sequence

from maas.core.errors import ErrorKind, MaasError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]
"""A host's addresses, in the order to try. Raises OSError where there are none."""

NEVER_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.0.0/24", "64:ff9b:1::/48", "3fff::/20", "5f00::/16", "fec0::/10"),
    )
)
"""What some versions of `ipaddress` call global and nobody routes; in the first lies a cloud's
metadata service."""
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
MOST_ADDRESSES = 8


def resolve_host(host: str, port: int) -> list[str]:
    """Asks the system's resolver.

    Raises:
        OSError: it knows no address.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Network:
    """Says what may be called.

    Args:
        networks: allowed beside public addresses, in CIDR form.
        resolve: gives a host's addresses.
    """

    def __init__(self, networks: Sequence[str], resolve: Resolve = resolve_host):
        self._networks = tuple(ipaddress.ip_network(text) for text in networks)
        self._resolve = resolve

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host that may be connected to, at least one.

        Raises:
            MaasError: UNAVAILABLE for a name without an address, FAILED_PRECONDITION where none of
                its addresses may be called.
        """
        try:
            found = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise MaasError(
                ErrorKind.UNAVAILABLE, "the upstream's name has no address; check the name"
            ) from error
        allowed = [text for text in found[:MOST_ADDRESSES] if self.allows(text)]
        if not allowed:
            raise refused()
        return allowed

    def check(self, address: str) -> None:
        """Checks the address that a connection has been made to.

        Raises:
            MaasError: FAILED_PRECONDITION.
        """
        if not self.allows(address):
            raise refused()

    def allows(self, text: str) -> bool:
        """Whether an address may be connected to; every address that it stands for must be."""
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return False
        return all(self._may(each) for each in _meant(address))

    def _may(self, address: Address) -> bool:
        if any(address in network for network in self._networks):
            return True
        return (
            address.is_global
            and not any(address in network for network in NEVER_PUBLIC)
            and not address.is_multicast
            and not address.is_reserved
            and not address.is_private
            and not address.is_unspecified
        )


def refused() -> MaasError:
    """The error for a host in a network that is not to be called; it does not say which."""
    return MaasError(
        ErrorKind.FAILED_PRECONDITION,
        "the upstream is in a private, loopback or link-local network, which this server does not "
        "call unless the setting upstream.networks allows that network",
    )


def _meant(address: Address) -> Iterator[Address]:
    """What packets to an address may reach: IPv6 can carry an IPv4 address in several ways."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    mapped = address.ipv4_mapped
    if mapped is None and address in NAT64:
        mapped = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if mapped is not None:
        yield mapped
        return
    yield address
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
