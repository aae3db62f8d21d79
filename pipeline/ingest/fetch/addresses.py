"""Addresses of photos: the size that is asked for, and which addresses are asked at all."""

import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

LONGEST = 2000  # characters
# The hosts of 2014 whose certificates are not valid; the same files are served by the later one.
OLD_HOSTS, LATER_HOST = {"ecx.images-amazon.com", "g-ecx.images-amazon.com"}, "m.media-amazon.com"
PLACEHOLDERS = ("no-img-sm", "01RmK+J4pJL", "01RmK%2BJ4pJL")
PLACEHOLDER = "a placeholder by its name"
PORTS = {"http": (None, 80), "https": (None, 443)}

_PLAIN = re.compile(r"[!-;=?-Z\[\]_a-z~]+")  # without spaces, controls and signs that no address holds
_NAME = re.compile(r"(?P<id>[^./]+)(?:\._[^/]*_)?\.(?P<suffix>[A-Za-z]{3,4})")


def sized(address: str, pixels: int) -> str:
    """The address of an Amazon photo with its longest side at most `pixels`, on a host whose certificate is valid.

    The photo's id is left as it is spelt. Other addresses are returned unchanged.

    >>> sized("http://ecx.images-amazon.com/images/I/51f%2BVkTbyL._SY300_.jpg", 320)
    'https://m.media-amazon.com/images/I/51f%2BVkTbyL._SL320_.jpg'
    >>> sized("https://m.media-amazon.com/images/I/31dl+d7tHSL.jpg", 320)
    'https://m.media-amazon.com/images/I/31dl+d7tHSL._SL320_.jpg'
    """
    if (parts := _split(address)) is None:
        return address
    if parts.netloc.lower() in OLD_HOSTS:
        parts = parts._replace(scheme="https", netloc=LATER_HOST)
    folder, _, name = parts.path.rpartition("/")
    if folder.endswith("/images/I") and (found := _NAME.fullmatch(name)):
        parts = parts._replace(path=f"{folder}/{found['id']}._SL{pixels}_.{found['suffix']}")
    return parts.geturl()


def host_of(address: str) -> str:
    """The host of an address in lower case; empty where there is none.

    >>> host_of("https://M.media-amazon.com/images/I/1.jpg")
    'm.media-amazon.com'
    """
    parts = _split(address)
    return "" if parts is None else parts.hostname or ""


def refusal(address: str, hosts: Collection[str]) -> str:
    """Why an address is not asked; empty for one that is.

    >>> refusal("http://169.254.169.254/latest/meta-data", {"m.media-amazon.com"})
    'a host that is not in fetch.hosts'
    >>> refusal("https://m.media-amazon.com/images/I/1.jpg", {"m.media-amazon.com"})
    ''
    """
    if not address:
        return "no address"
    parts = _split(address)
    if parts is None or parts.scheme not in PORTS or not parts.hostname or "@" in parts.netloc:
        return "not an address of http or https"
    if parts.hostname not in hosts:
        return "a host that is not in fetch.hosts"
    try:
        if parts.port not in PORTS[parts.scheme]:
            return "a port that is not the usual one"
    except ValueError:
        return "not an address of http or https"
    name = parts.path.rpartition("/")[2]
    return PLACEHOLDER if name.startswith(PLACEHOLDERS) else ""


def _split(address: str) -> SplitResult | None:
    """The parts of an address; None where it is none, or holds what an address must not hold."""
    if len(address) > LONGEST or not _PLAIN.fullmatch(address):
        return None
    try:
        return urlsplit(address)
    except ValueError:
        return None
