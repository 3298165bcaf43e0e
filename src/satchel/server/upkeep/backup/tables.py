"""Which tables a copy of a store holds, column by column, and which it leaves out and why.

Invariant: every table of the schema stands here exactly once, with all of its columns; a test compares both databases
with this file, so a migration that adds something is decided upon before it can be forgotten in a backup.
Source: docs/design/030 (tables), 060 (13).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is copied. key: its primary key; order: unique columns that it is read along, the key by default.

    page: rows read at once; few where one row may be long.
    """

    name: str
    key: tuple[str, ...]
    rest: tuple[str, ...]
    order: tuple[str, ...] = ()
    page: int = 500

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, the key first: the order of values in a row."""
        return (*self.key, *self.rest)

    @property
    def along(self) -> tuple[str, ...]:
        """The columns that it is read along."""
        return self.order or self.key


def _table(name: str, key: str, rest: str, *, order: str = "", page: int = 500) -> Table:
    return Table(name, tuple(key.split()), tuple(rest.split()), tuple(order.split()), page)


COPIED: tuple[Table, ...] = (
    _table("store_meta", "name", "value"),
    _table(
        "accounts", "account_id", "name name_key password_hash root_ns is_admin is_disabled created_at signed_in_at"
    ),
    _table("devices", "device_id", "account_id name token_hash created_at seen_at revoked_at"),
    _table("audit", "chain seq", "at action actor device address subject detail hash"),
    _table("audit_heads", "chain", "seq hash"),
    _table(
        "invitations",
        "invitation_id",
        "secret_hash invited_by note is_admin quota created_at ends_at used_at revoked_at account_id email",
    ),
    _table("oidc_links", "link_key", "account_id issuer email created_at seen_at"),
    _table("oidc_expected", "email_key", "account_id email created_at"),
    _table("second_factors", "account_id", "secret is_enabled last_step created_at"),
    _table("recovery_codes", "account_id code_hash", "used_at"),
    _table("app_passwords", "account_id password_id", "secret_hash name may_write created_at seen_at revoked_at"),
    _table("groups_of_accounts", "group_id", "name name_key created_at"),
    _table("group_members", "group_id account_id", "added_at"),
    _table("link_runs", "device_id link_id", "run"),
    _table("link_scopes", "ns device_id link_id node_id", ""),
    _table(
        "shares",
        "ns share_id",
        "node_id maker device permission password_hash token_hash is_no_download expires_at downloads_max downloads"
        " hits created_at seen_at revoked_at",
    ),
    _table("share_tokens", "token_hash", "ns share_id"),
    _table(
        "webhooks",
        "account_id webhook_id",
        "url secret events place told_until created_at next_at failures failing_since ended_at last",
    ),
    _table("dav_locks", "ns token", "node_id account_id is_exclusive is_deep owner expires_at"),
    _table("dav_properties", "ns node_id namespace name", "value lang"),
    _table("namespaces", "ns", "kind owner head_seq head_tag head_at min_seq bytes_used quota created_at"),
    _table("members", "ns account_id", "role state name invited_by mount_node created_at changed_at"),
    _table("memberships", "account_id ns", "role state mount_node"),
    _table(
        "files",
        "ns node_id",
        "parent_id name name_key kind content size mtime_ns is_executable content_rev place_rev version_count state"
        " deleted_at cleared_seq cleared_before seq created_at xattrs",
    ),
    _table(
        "file_versions",
        "ns node_id rev",
        "version_number content size mtime_ns author device op_id created_at",
    ),
    _table("manifests", "ns manifest_id", "blocks size cutter refs", page=8),
    _table(
        "file_changes",
        "ns seq",
        "tag action node_id pre post is_subtree actor device link op_id created_at",
    ),
    _table(
        "rewinds",
        "ns rewind_id",
        "unit to_seq before_seq after_seq actor device undoes claimed_until created_at finished_at",
    ),
    # A device that repeats an operation after the restore must get the answer that it missed before.
    _table("op_results", "ns actor op_id", "body_hash seq created_at"),
    _table("namespace_blocks", "ns block_hash", "refs lease_until"),
    _table("block_refs", "block_hash ns", "lease_until"),
    # Along the packs, so that whoever copies the bytes reads each pack once and forwards.
    _table(
        "blocks",
        "block_hash",
        "size stored_size codec pack_id pack_offset state touched_at created_at gone_at condemned_at",
        order="pack_id pack_offset block_hash",
    ),
)
"""What is copied, in the order of the stream: rows of blocks last, since those are followed by their bytes."""

LEFT_OUT: dict[str, str] = {
    "sessions": "browsers sign in again: one that was signed out since must not come back",
    "device_codes": "devices that wait for minutes, and ask again",
    "oidc_used": "sign-ins that came back within the last minutes; those that are under way begin again",
    "setup_codes": "made anew at each start, while there is no account",
    "upload_sessions": "uploads that were not finished: what came of them is no file yet",
    "upload_parts": "as upload_sessions",
    "idempotent_requests": "answers to requests of the last day, with nothing in them that cannot be asked for again",
    "schema_migrations": "made when a store is opened; a copy names the schema that it was taken from",
    "outbox": "positions that were not yet told to devices: they look for themselves when they come back",
    "packs": "places in one block store; a copy puts the blocks into packs of its own",
    "block_damage": "damage at places in one block store; what cannot be read there is found anew while copying",
    "block_upkeep": "alarms and permissions of upkeep over one block store, and where its rounds are",
    "upkeep_tasks": "claims and due times of the processes of one service",
    "search_places": "the index of names: made anew from the tree",
    "search_docs": "as search_places",
    "search_grams": "as search_places",
    "text_nodes": "the index of texts: made anew from the tree and the contents",
    "texts": "as text_nodes",
    "text_words": "as text_nodes",
    "thumbnails": "small pictures: made again from the contents when somebody asks",
    "pins": "holds of backups that run",
}
"""What a copy does not hold, with the reason."""

BY_NAME = {table.name: table for table in COPIED}
