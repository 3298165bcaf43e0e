"""`python -m satchel.server`: the service alone, with the flags of `satchel serve`. One JSON line tells when ready."""

from __future__ import annotations

import argparse
import sys

import msgspec
import uvloop

from satchel.core.errors import Fault
from satchel.server.logs import Redaction
from satchel.server.main import Ready, serve
from satchel.server.settings import SETTINGS, load_settings


def run(arguments: list[str]) -> int:
    """Run until stopped; return the exit code."""
    parser = argparse.ArgumentParser(prog="satchel-server", description="The Satchel service.")
    parser.add_argument("--config")
    for setting in SETTINGS:
        if setting.flag:
            parser.add_argument(setting.flag, dest=setting.name, help=setting.doc)
    given = vars(parser.parse_args(arguments))
    config = given.pop("config")
    secrets: list[str] = []
    try:
        settings = load_settings(given, config=config)
        secrets = settings.secrets()
        uvloop.run(serve(settings, ready=_tell))
    except Fault as fault:
        sys.stderr.write(f"{Redaction(secrets).text(f'{fault} {fault.hint}')}\n")
        return 1
    return 0


def _tell(ready: Ready) -> None:
    told: dict[str, str | int] = {"url": ready.url, "port": ready.port, "metrics_port": ready.metrics_port}
    if ready.setup_code:
        told["setup_code"] = ready.setup_code
    sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
