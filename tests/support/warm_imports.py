"""What the programs of the tests have imported before they begin: all rooms, save what only some of them ask for.

Left out: adapters of servers beside (their libraries have threads of their own, which a fork would lose) and what is
run as a program.
"""

import importlib
import pkgutil

import satchel

_LEFT_OUT = ("satchel.server.adapters", "satchel.simulation")
_PROGRAMS = ("__main__", "daemon", "main")

for _found in pkgutil.walk_packages(satchel.__path__, "satchel."):
    if not _found.name.startswith(_LEFT_OUT) and _found.name.rpartition(".")[2] not in _PROGRAMS:
        importlib.import_module(_found.name)
