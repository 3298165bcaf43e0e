"""An account as the administration acts for it. Invariant: only who owns the data folder gets one, and no token is
made: what is done so is told as the account's, by no device."""

from __future__ import annotations

from satchel.core.errors import NotFound
from satchel.core.ids import ID_BYTES, DeviceId
from satchel.core.paths import name_key
from satchel.server.accounts.principal import Principal
from satchel.server.db.engine import Database

NO_DEVICE = DeviceId(bytes(ID_BYTES))


async def acting_for(db: Database, name: str) -> Principal:
    """Return the principal of an account, shut out or not. Raises: NotFound."""
    text = "SELECT account_id, name, root_ns FROM accounts WHERE name_key = $1"
    rows = await db.read(lambda conn: conn.fetch(text, name_key(name).replace("\0", "")))
    if not rows:
        raise NotFound("There is no such account.", name=name)
    account_id, shown, root_ns = rows[0]
    return Principal(account_id, shown, NO_DEVICE, "", root_ns)
