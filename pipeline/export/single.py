"""The application as one HTML file that opens from a folder, without a server.

A browser takes no module, and no WebAssembly, from files beside a page that has no server. So all of them stand inside
the page as text, and become addresses of the browser's own (blob:) when it opens: first the modules that import
nothing, then those that import them.
"""

import base64
import json
import re
from pathlib import Path

IMPORT = re.compile(r'from "\./([\w.-]+)"')
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".json": "application/json"}
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' blob: 'wasm-unsafe-eval'; worker-src blob:; connect-src blob:; "
    "style-src 'unsafe-inline'; img-src blob: data:; base-uri 'none'; form-action 'none'"
)
LEFT_OUT = ("sw.js", "worker.js")  # neither works without a server
BEGIN = """
const files = JSON.parse(document.getElementById("files").textContent);
const from = /from "\\.\\/([\\w.-]+)"/g;
const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const addresses = {};
for (const [path, type, text] of files) {
  const isModule = path.endsWith(".js");
  const content = isModule
    ? new TextDecoder().decode(bytes(text)).replace(from, (_, name) => `from "${addresses[name]}"`)
    : bytes(text);
  addresses[path] = URL.createObjectURL(new Blob([content], { type }));
}
document.getElementById("files").remove();
globalThis.visaggEmbedded = addresses;
import(addresses["main.js"]);
"""


def write_single(path: Path, folder: Path) -> None:
    """Writes the page.

    Args:
        path: the file.
        folder: the exported folder, with app/ and the runtime in it.
    """
    app = folder / "app"
    files = [("../" + name, folder / name) for name in ("config.json", "backbone.onnx", "head.onnx")]
    files += [(f"runtime/{item.name}", item) for item in sorted((app / "runtime").iterdir())]
    files += [(name, app / name) for name in in_order(app)]
    embedded = [
        [name, TYPES.get(item.suffix, "application/octet-stream"), base64.b64encode(item.read_bytes()).decode()]
        for name, item in files
    ]
    page = (app / "index.html").read_text(encoding="utf-8")
    icon = base64.b64encode((app / "icons/icon.svg").read_bytes()).decode()
    style = (app / "app.css").read_text(encoding="utf-8")
    for pattern, new in (
        (r'(http-equiv="Content-Security-Policy" content=)"[^"]*"', rf'\1"{POLICY}"'),
        (r'<link rel="manifest"[^>]*>\n', ""),
        (r'<link rel="apple-touch-icon"[^>]*>\n', ""),
        (r'<link rel="icon"[^>]*>', f'<link rel="icon" href="data:image/svg+xml;base64,{icon}">'),
        (r'<link rel="stylesheet"[^>]*>', f"<style>\n{style}</style>".replace("\\", r"\\")),
        (r"<script [^>]*></script>\n", ""),
    ):
        page, count = re.subn(pattern, new, page)
        assert count == 1, pattern
    data = f'<script type="application/json" id="files">{json.dumps(embedded)}</script>'
    page = page.replace("</body>", f'{data}\n<script type="module">{BEGIN}</script>\n</body>')
    path.write_text(page, encoding="utf-8")


def in_order(app: Path) -> list[str]:
    """The modules' names, each behind those that it imports."""
    sources = {path.name: path.read_text(encoding="utf-8") for path in sorted(app.glob("*.js"))}
    done: list[str] = []

    def visit(name: str) -> None:
        if name not in done:
            for imported in IMPORT.findall(sources[name]):
                visit(imported)
            done.append(name)

    for name in sources:
        if name not in LEFT_OUT:
            visit(name)
    return done
