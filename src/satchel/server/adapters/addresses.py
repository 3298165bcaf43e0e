"""Which addresses other machines' words may lead this server to. Invariant: none of this machine or of a network beside
it, in whatever form it is written. Source: docs/design/060 (6).
"""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_TRANSLATED = (
    ipaddress.ip_network("64:ff9b::/96"),
    ipaddress.ip_network("2002::/16"),
    ipaddress.ip_network("2001::/32"),
)
"""IPv6 addresses that stand for one of IPv4."""


def address_of(host: str) -> Address:
    """Return an address as it is meant: one of IPv4 in the form of IPv6 is that of IPv4. Raises: ValueError."""
    found = ipaddress.ip_address(host.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def is_public(address: Address) -> bool:
    """Tell whether an address is one machine's, of the whole internet."""
    return address.is_global and not address.is_multicast and not any(address in network for network in _TRANSLATED)
