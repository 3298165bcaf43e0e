"""Satchel: self-hosted file storage and sync. The rooms: core, device, server, cli."""

__version__ = "0.1.0"
