"""What a test's passwords cost to hash: the least that Argon2id takes. Nothing else differs from what is shipped.

Imported by pytest, which makes accounts itself, and by what its programs are forked from. A program that is started
anew, and a benchmark, has the cost of the service (tests/unit/server holds that one to the RFC).
"""

from __future__ import annotations

import argon2

from satchel.server.accounts import passwords

passwords._hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
