"""A server on 127.0.0.1 that plays hosts of photos, good and bad, and remembers what it was asked.

What it answers stands in the name of the photo: /images/I/KIND-NUMBER._SL320_.jpg; see KINDS.
"""

import asyncio
import gzip
import io
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from aiohttp.abc import AbstractResolver
from PIL import Image

from pipeline.ingest.fetch import guard
from pipeline.ingest.fetch.guard import Network
from tests.support.images import jpeg

HOSTS = ["a.test", "b.test"]  # both are this server
PRIVATE = "private.test"  # a name that resolves to an address that is not public
_PATH = re.compile(r"/images/I/([a-z0-9]+)-(\d+)(?:\._SL\d+_)?\.jpg")


def address(kind: str, number: int, host: str = HOSTS[0]) -> str:
    """The address of a photo as a list has it."""
    return f"http://{host}/images/I/{kind}-{number}.jpg"


@cache
def picture(number: int) -> bytes:
    """The photo of a number."""
    return jpeg(number, 48, 64)


@cache
def pixel() -> bytes:
    """A GIF of one pixel."""
    out = io.BytesIO()
    Image.new("P", (1, 1)).save(out, "GIF")
    return out.getvalue()


@cache
def bomb() -> bytes:
    """Some kilobytes that unfold to 50 MB."""
    return gzip.compress(bytes(50 << 20))


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    """An answer as it goes over the line."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    fields = {"Content-Type": "image/jpeg", "Content-Length": str(len(body)), **given}
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(to: str) -> bytes:
    """An answer that leads elsewhere."""
    return answer("302 Found", Location=to)


def soon() -> str:
    """A second from now, as a date."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)


GOOD = {
    "ok": lambda n, _: answer("200 OK", picture(n)),
    "pieces": lambda n, _: answer("200 OK", picture(n), Content_Type="application/octet-stream"),
    "away": lambda n, _: redirect(f"http://{HOSTS[1]}/images/I/ok-{n}.jpg"),
    "busy": lambda n, asked: answer("429 Too Many", b"wait") if asked == 1 else answer("200 OK", picture(n)),
    "busyseconds": lambda n, asked: (
        answer("429 Too Many", Retry_After="1") if asked == 1 else answer("200 OK", picture(n))
    ),
    "busydate": lambda n, asked: (
        answer("429 Too Many", Retry_After=soon()) if asked == 1 else answer("200 OK", picture(n))
    ),
    "late": lambda n, asked: answer("500 Oh", b"no") if asked < 3 else answer("200 OK", picture(n)),
    "same": lambda n, _: answer("200 OK", picture(0)),
}
GONE = {
    "missing": (lambda n, _: answer("404 Not Found", b"no such photo"), "HTTP 404"),
    "forbidden": (lambda n, _: answer("403 Forbidden"), "HTTP 403"),
    "bad": (lambda n, _: answer("400 Bad Request"), "HTTP 400"),
    "html": (lambda n, _: answer("200 OK", b"<html>no</html>", Content_Type="text/html"), "not an image"),
    "liar": (lambda n, _: answer("200 OK", b"<html>no</html>"), "not an image"),
    "pixel": (lambda n, _: answer("200 OK", pixel(), Content_Type="image/gif"), "a placeholder of one pixel"),
    "bomb": (lambda n, _: answer("200 OK", bomb(), Content_Encoding="gzip"), "not an image"),
    "large": (lambda n, _: answer("200 OK", picture(n) + bytes(200_000)), "larger than fetch.most_bytes"),
    "endless": (
        lambda n, _: b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n" + picture(n) + bytes(200_000),
        "larger than fetch.most_bytes",
    ),
    "elsewhere": (
        lambda n, _: redirect("https://c.test/images/I/ok-1.jpg"),
        "redirected to a host that is not in fetch.hosts",
    ),
    "metadata": (
        lambda n, _: redirect("http://169.254.169.254/latest/meta-data"),
        "redirected to a host that is not in fetch.hosts",
    ),
    "file": (lambda n, _: redirect("file:///etc/passwd"), "redirected to not an address of http or https"),
    "loop": (lambda n, _: redirect(f"/images/I/loop-{n}.jpg"), "redirected too often"),
}
FAILED = {
    "broken": (lambda n, _: answer("503 Oh"), "HTTP 503"),
    "busyalways": (lambda n, _: answer("429 Too Many", Retry_After="1"), "HTTP 429"),
    "empty": (lambda n, _: answer("200 OK"), "empty"),
    "long": (lambda n, _: answer("200 OK", picture(n), Content_Length="99999"), "cut short"),
    "cut": (lambda n, _: answer("200 OK", picture(n)[:700]), "cut short"),
    "short": (lambda n, _: answer("200 OK", picture(n), Content_Length="300"), "not an answer of HTTP"),
    "drip": (lambda n, _: answer("200 OK", picture(n)), "timed out"),
    "silent": (lambda n, _: b"", "the connection was lost"),
    "junk": (lambda n, _: b"\x00\x01\x02\r\n\r\n", "not an answer of HTTP"),
    "inward": (lambda n, _: redirect(f"http://{PRIVATE}/images/I/ok-1.jpg"), "an address that is not public"),
}
KINDS = {**GOOD, **{kind: entry[0] for kind, entry in {**GONE, **FAILED}.items()}}
ENDING = {"endless", "long", "short", "silent", "junk"}  # the connection goes with the answer


class Request(NamedTuple):
    """What the server was asked.

    Attributes:
        time: seconds of the clock, when it came in.
        host: which of the hosts.
        path: of the photo.
        agent: who asks.
    """

    time: float
    host: str
    path: str
    agent: str


class Loopback(AbstractResolver):
    """Names to the server; PRIVATE to what is not public."""

    def __init__(self, port: int):
        self._port = port

    async def resolve(self, host, port=0, family=0):
        ip, port = ("169.254.169.254", port) if host == PRIVATE else ("127.0.0.1", self._port)
        return [{"hostname": host, "host": ip, "port": port, "family": 2, "proto": 0, "flags": 0}]

    async def close(self):
        pass


def network(port: int) -> Network:
    """What reaches the server and, of what is not public, nothing else."""
    return Network(lambda ip: "" if ip == "127.0.0.1" else guard.refusal(ip), Loopback(port))


class PhotoHosts:
    """The server, in a thread of its own.

    Args:
        photos: what the kind "photo" sends, by its number.

    Attributes:
        port: on 127.0.0.1.
        requests: in the order they came.
        most_open: connections at a time.
    """

    def __init__(self, photos: Sequence[Path] = ()):
        self._photos = photos
        self.requests: list[Request] = []
        self.most_open = self._open = 0
        self._asked: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def asked(self) -> Counter[str]:
        """How often each photo was asked for, by KIND-NUMBER."""
        return Counter(name_of(request.path) for request in self.requests)

    @property
    def addresses(self) -> list[str]:
        """What was asked for, in the order it came."""
        return [f"http://{request.host}{request.path}" for request in self.requests]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode("latin-1").splitlines()
                fields = dict(line.split(": ", 1) for line in lines if ": " in line)
                path = first.split(" ")[1]
                self.requests.append(Request(time.monotonic(), fields["Host"], path, fields["User-Agent"]))
                if await self._answer(path, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the server goes
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> bool:
        """Answers, and says whether the connection ends with it."""
        found = _PATH.fullmatch(path)
        assert found, path
        kind, number = found[1], int(found[2])
        self._asked[path] += 1
        if kind == "photo":
            content = answer("200 OK", self._photos[number].read_bytes())
        else:
            content = KINDS[kind](number, self._asked[path])
        if kind == "drip":
            for place in range(len(content)):
                writer.write(content[place : place + 1])
                await writer.drain()
                await asyncio.sleep(0.02)
            return True
        writer.write(content)
        await writer.drain()
        return kind in ENDING


def name_of(path: str) -> str:
    """KIND-NUMBER of a path or an address."""
    return path.rpartition("/")[2].partition(".")[0]
