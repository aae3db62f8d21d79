"""The browser's runtime: two files of onnxruntime-web, at one version, whose content is known.

They come by the npm client when an application is made; nothing of them is part of this program.
"""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from pipeline.core.errors import StageError

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
FILES = {  # SHA-256 of each
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
SECONDS = 600  # for the client to bring 33 MB
BY_HAND = f"unpack {', '.join(FILES)} of {PACKAGE} {VERSION} (its folder dist) somewhere, and name it with --runtime"


def write_runtime(to: Path, directory: Path | None) -> None:
    """Puts the two files into a folder.

    Args:
        to: the folder, which is made.
        directory: where they lie already; None: the npm client brings them.

    Raises:
        StageError: when there is no npm client, it does not bring them, or a file is another.
    """
    to.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as work:
        source = directory or _bring(Path(work))
        for name, digest in FILES.items():
            path = source / name
            if not path.is_file():
                raise StageError(f"{path} is missing: {BY_HAND}")
            if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise StageError(f"{path} is not that of {PACKAGE} {VERSION}: {BY_HAND}")
            shutil.copyfile(path, to / name)


def _bring(work: Path) -> Path:
    """The package, packed by the npm client, and the two files of it unpacked."""
    if (npm := shutil.which("npm")) is None:
        raise StageError(f"the application needs the npm client, which is not here; or {BY_HAND}")
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--ignore-scripts"]
    try:
        subprocess.run(command, cwd=work, check=True, capture_output=True, timeout=SECONDS)
        [packed] = work.glob("*.tgz")
        with tarfile.open(packed) as archive:
            for name in FILES:
                member = archive.extractfile(f"package/dist/{name}")
                assert member is not None  # extractfile raises KeyError where there is none
                (work / name).write_bytes(member.read())
    except (subprocess.SubprocessError, OSError, ValueError, KeyError, tarfile.TarError) as error:
        said = getattr(error, "stderr", b"") or b""
        why = said.decode(errors="replace").strip().partition("\n")[0] or type(error).__name__
        raise StageError(f"npm did not bring {PACKAGE} {VERSION} ({why[:200]}): try again, or {BY_HAND}") from None
    return work
