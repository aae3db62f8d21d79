"""One photo from its host, whatever the host does: bounded in time and bytes, and held to the allowed hosts."""

import asyncio
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urljoin

import aiohttp
from yarl import URL

from pipeline.ingest.fetch import guard, photo
from pipeline.ingest.fetch.addresses import host_of, refusal
from pipeline.ingest.fetch.faults import Fault
from pipeline.ingest.fetch.guard import Network
from pipeline.ingest.fetch.pace import Pace, retry_after

if TYPE_CHECKING:
    from pipeline.settings.fetching import FetchSettings

MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
PASSING = (408, 421, 425, 429)  # beside 5xx
SLOWING = (429, 503)
DRAINED = 64 << 10  # bytes of an answer of no use that are read, so that the connection can be used again
BLOCK = 64 << 10


class Client:
    """Asks hosts, at a pace. A context: `async with Client(...) as client`.

    Args:
        settings: bounds, hosts, contact.
        pace: gives turns.
        network: what is connected through.
    """

    def __init__(self, settings: "FetchSettings", pace: Pace, network: Network):
        self._settings, self._pace, self._network = settings, pace, network
        self._hosts = frozenset(settings.hosts)

    async def __aenter__(self) -> Self:
        settings = self._settings
        connector = aiohttp.TCPConnector(
            limit=0,
            limit_per_host=settings.connections,
            socket_factory=self._network.socket,
            resolver=self._network.resolver,
        )
        time = aiohttp.ClientTimeout(
            total=settings.total_seconds, sock_connect=settings.connect_seconds, sock_read=settings.read_seconds
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=time,
            headers=_headers(settings.contact),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # what unfolds to any size would get past the bound
            trust_env=False,
        )
        self._session._retry_connection = False  # it would ask again at once: what is tried again is for the pace
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, address: str) -> bytes:
        """A photo.

        Raises:
            Fault: with why there is none.
        """
        refused: list[str] = []
        guard.refusals.set(refused)
        try:
            for _ in range(MOST_REDIRECTS + 1):
                if reason := refusal(address, self._hosts):
                    raise Fault(f"redirected to {reason}")
                await self._pace.turn(host_of(address))
                async with self._session.get(URL(address, encoded=True), allow_redirects=False) as answer:
                    if answer.status not in REDIRECTS:
                        return await self._photo(answer)
                    address = urljoin(address, answer.headers.get("Location", ""))
                    await _drain(answer)
            raise Fault("redirected too often")
        except ValueError:  # also aiohttp's, of a host that cannot be one
            raise Fault("not an address of http or https") from None
        except TimeoutError:
            raise Fault("timed out", passes=True, slows=True) from None
        except aiohttp.ClientError as error:
            raise _explained(error, refused) from None

    async def _photo(self, answer: aiohttp.ClientResponse) -> bytes:
        status = answer.status
        if status != 200:
            passes = status >= 500 or status in PASSING
            wait = retry_after(answer.headers.get("Retry-After"), datetime.now(UTC)) if passes else None
            await _drain(answer)
            raise Fault(f"HTTP {status}", passes=passes, wait=wait, slows=status in SLOWING)
        most = self._settings.most_bytes
        parts, left = [], most - (answer.content_length or 0)
        if left >= 0:
            left = most
            async for part in answer.content.iter_chunked(BLOCK):
                parts.append(part)
                if (left := left - len(part)) < 0:
                    break
        if left < 0:
            answer.close()
            raise Fault("larger than fetch.most_bytes")
        data = b"".join(parts)
        await asyncio.to_thread(photo.require, data, answer.content_type if "Content-Type" in answer.headers else "")
        return data


def _headers(contact: str) -> dict[str, str]:
    try:
        release = version("visagg")
    except PackageNotFoundError:
        release = "0"
    return {
        "User-Agent": f"visagg/{release} ({contact})",
        "Accept": "image/jpeg, image/png, image/gif, image/webp;q=0.8, image/*;q=0.5",
        "Accept-Encoding": "identity",
    }


async def _drain(answer: aiohttp.ClientResponse) -> None:
    """Reads a short answer to its end."""
    if answer.content_length is not None and answer.content_length <= DRAINED:
        await answer.read()


def _explained(error: aiohttp.ClientError, refused: list[str]) -> Fault:
    """Why there was no answer, or no whole one: all of it may pass."""
    if refused:
        return Fault(refused[0], passes=True)
    if isinstance(error, aiohttp.ClientSSLError):
        return Fault("no connection: the certificate is not valid", passes=True)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Fault("no connection: the host's name is not known", passes=True, slows=True)
    if isinstance(error, aiohttp.ClientConnectorError):
        return Fault("no connection", passes=True, slows=True)
    if isinstance(error, aiohttp.ClientPayloadError):
        return Fault("cut short", passes=True)
    is_odd = isinstance(error, aiohttp.ClientResponseError)
    return Fault("not an answer of HTTP" if is_odd else "the connection was lost", passes=True)
