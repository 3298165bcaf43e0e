"""Names of accounts, devices and what else people name. Invariant: what is stored can be shown."""

from __future__ import annotations

from satchel.core.errors import NameInvalid
from satchel.core.paths import name_key, validate_name

LOOKED_UP_CHARS_MAX = 128


def check_name(name: str) -> None:
    """Accept a name that may be given. Raises: NameInvalid."""
    validate_name(name)
    if not name.isprintable() or name != name.strip():
        raise NameInvalid("A name holds unprintable characters or outer spaces.", name=name, reason="unprintable")


def looked_up(name: str) -> str:
    """Return the key to look a typed name up by: of any text, and one that nobody has stays one that nobody has."""
    return plain(name_key(name)) if len(name) <= LOOKED_UP_CHARS_MAX else ""


def plain(text: str) -> str:
    """Return a text that every database takes; one that no account can have stays one that no account can have."""
    return text.encode(errors="replace").decode().replace("\0", "?/")
