"""The applier: changes the disk so that nothing is overwritten or removed unseen.

Invariant: order on disk is data fsynced, renamed, folder fsynced, and only then the result. Every file that a user may
have written is, at each moment, under a name in the linked folder, in staging under a name that a restart keeps, or in
the local trash. Source: docs/design/040, rules 2, 3, 9, 10, 12.
"""

from satchel.device.applier.apply import Applier
from satchel.device.applier.recovery import IsKnown

__all__ = ["Applier", "IsKnown"]
