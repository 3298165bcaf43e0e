"""The service as it is, with one cap lifted: one account may hold any number of streams.

Shared folders bring thousands of followers of one namespace; a load on one account's namespace stands for them.
"""

from __future__ import annotations

import sys

from satchel.server.__main__ import run
from satchel.server.notify import waiters

STREAMS_MAX = 20_000

if __name__ == "__main__":
    vars(waiters)["STREAMS_PER_ACCOUNT_MAX"] = STREAMS_MAX
    sys.exit(run(sys.argv[1:]))
