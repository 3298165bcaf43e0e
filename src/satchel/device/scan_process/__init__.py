"""Scanning a large folder in a process of its own, beside the engine. Invariant: it reads and reports, nothing else,
and it never outlives the daemon; whatever becomes of it, the scan is done.

`scanner` decides where a scan is done, `process` holds the other process, `child` is what runs in it, `second` is what
a fork of the child does from the other end of the tree, `frames` is what passes between them. Source:
docs/adr/2026-11-22-large-scans-in-a-process-of-their-own.md.
"""
