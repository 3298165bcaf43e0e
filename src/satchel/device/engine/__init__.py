"""The device's only loop of decisions: facts in, tasks out. Hands (scanner, transfer, applier) never decide.

Reading order: `state` (what it remembers), `remote_facts` and `local_facts` (folding),
`planning` (closure, plan, jobs), `guard` (deletions), `sending` and `placing` (tasks), `results` (what came of them),
`loop` (`Engine.step`).
Source: docs/design/040.
"""

from satchel.device.engine.loop import Engine
from satchel.device.engine.state import Now

__all__ = ["Engine", "Now"]
