"""An exported folder on the local network, for a first try on a phone."""

import errno
import socket
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pipeline.core.errors import StageError
from pipeline.core.progress import Console

PAGE = "app/index.html"
# As in the page, for its worker, which takes a policy from the server alone; the page in one file brings its own.
POLICY = "default-src 'none'; connect-src 'self'; script-src 'self' 'wasm-unsafe-eval'; base-uri 'none'"
CONSOLE = Console()


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder, with the types that browsers insist on; the log is silent but for faults."""

    extensions_map = {  # noqa: RUF012 (as the base class has it)
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".webmanifest": "application/manifest+json",
        ".onnx": "application/octet-stream",
    }

    def end_headers(self) -> None:
        """Has the browser ask anew each time, so that a new export is seen."""
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.path.endswith(".js"):
            self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Says nothing of what went well."""


def open_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of a folder on all of this machine's addresses; port 0: a free one.

    Raises:
        StageError: when the folder has no application, or the port is taken.
    """
    if not (folder / PAGE).is_file():
        raise StageError(f"{folder / PAGE} is missing: visagg export BACKBONE HEAD --to {folder} --app makes it")
    try:
        return ThreadingHTTPServer(("", port), partial(Handler, directory=str(folder)))
    except OSError as error:
        reason = "another program has it" if error.errno == errno.EADDRINUSE else error.strerror
        raise StageError(f"port {port} cannot be used ({reason}): name another one with --port") from None


def serve(folder: Path, *, port: int) -> None:
    """Serves a folder until Ctrl-C, and says where. Raises as `open_server`."""
    with open_server(folder, port) as server:
        port = server.server_address[1]
        CONSOLE.say(f"On this machine: http://localhost:{port}/{PAGE}")
        if address := _address():
            CONSOLE.say(f"In this network:  http://{address}:{port}/{PAGE}")
        CONSOLE.say(
            "By the second address the page works, but a browser installs it, and opens it without network, only from "
            "localhost or by HTTPS: put the folder on any web server that has it. Ctrl-C ends this one."
        )
        server.serve_forever()


def _address() -> str | None:
    """This machine's address in its network; None where it has none. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation, which nobody has (RFC 5737)
            return str(probe.getsockname()[0])
        except OSError:
            return None
