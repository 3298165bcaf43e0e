"""What the programs of the tests have imported before they begin: all rooms, save what only some of them ask for, and
what a server's start brings in beside them.

Left out: adapters of servers beside (their libraries have threads of their own, which a fork would lose) and what is
run as a program.
"""

import gc
import importlib
import pkgutil

from litestar import Litestar, get

import satchel
from tests.support import cheap_passwords

__all__ = ["cheap_passwords"]

_LEFT_OUT = ("satchel.server.adapters", "satchel.simulation")
_PROGRAMS = ("__main__", "daemon", "main")
_BESIDE = (
    *("satchel.server.main", "satchel.server.adapters.posts_http", "satchel.server.adapters.sealer"),
    *("uvicorn.lifespan.off", "uvicorn.protocols.websockets.websockets_sansio_impl", "uvloop"),
)

for _found in pkgutil.walk_packages(satchel.__path__, "satchel."):
    if not _found.name.startswith(_LEFT_OUT) and _found.name.rpartition(".")[2] not in _PROGRAMS:
        importlib.import_module(_found.name)
for _name in _BESIDE:
    importlib.import_module(_name)


@get("/", sync_to_thread=False)
def _nothing() -> None:
    """Tell nothing."""


# The first application brings in what all applications need, and the plugins for what the tools of the tests install.
Litestar([_nothing], logging_config=None)
# What is here stays: the collector of a program neither walks nor copies it.
gc.collect()
gc.freeze()
