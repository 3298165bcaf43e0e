"""The device's memory of one link: the three trees in SQLite. Only the engine writes it.

Invariants: a folder absent in a tree has nothing present below it in that tree; a row is clean exactly when its three
sides are equal; a row absent in all three does not exist. Source: docs/design/040 (Shape).
"""
