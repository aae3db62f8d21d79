"""No connection but to public addresses, whatever a name resolves to and wherever a redirect leads."""

import ipaddress
import socket
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

NAT64 = ipaddress.ip_network("64:ff9b::/96")

# The client learns only that no connection came about; why is kept here for the request that is being made.
refusals: ContextVar[list[str] | None] = ContextVar("refusals", default=None)


class Refused(OSError):
    """A connection that is not made."""


def refusal(address: str) -> str:
    """Why an IP address is not connected to; empty for a public one.

    >>> refusal("::ffff:127.0.0.1"), refusal("169.254.169.254"), refusal("8.8.8.8")
    ('an address that is not public', 'an address that is not public', '')
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "no IP address"
    inner = [ip, *_embedded(ip)]
    return "" if all(one.is_global and not one.is_multicast for one in inner) else "an address that is not public"


def _embedded(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """The addresses of IPv4 that one of IPv6 stands for."""
    if isinstance(ip, ipaddress.IPv4Address):
        return []
    found = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if ip in NAT64:
        found.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


@dataclass(frozen=True)
class Network:
    """What the client connects through.

    Attributes:
        refusal: why an IP address is not connected to; empty for one that is. A test lets loopback pass.
        resolver: looks up names, as aiohttp's do; None: the system's.
    """

    refusal: Callable[[str], str] = refusal
    resolver: Any = None

    def socket(self, info: tuple) -> socket.socket:
        """A socket for an address that was looked up, as aiohttp asks for one.

        Raises:
            Refused: where the address is refused; with the reason in `refusals`.
        """
        family, kind, protocol, _, place = info
        if reason := self.refusal(str(place[0])):
            if (noted := refusals.get()) is not None:
                noted.append(reason)
            raise Refused(reason)
        return socket.socket(family, kind, protocol)
