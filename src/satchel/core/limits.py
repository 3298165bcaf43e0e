"""Every limit of the product, with its unit. At the limit it works; past it a fault names the limit.

Source: docs/protocol/limits.md, which a test compares with this file.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

NAME_BYTES_MAX = 255
DEPTH_MAX = 128
PATH_BYTES_MAX = 4096

BLOCK_BYTES_MAX = 4 * MIB
SINGLE_BLOCK_BYTES_MAX = 512 * KIB
"""Files up to this size are one block."""
BLOCKS_PER_COMMIT_MAX = 50_000
BLOCKS_PER_FILE_MAX = 1_000_000

COMMIT_OPS_MAX = 1_000
COMMIT_BODY_BYTES_MAX = 8 * MIB
INLINE_UP_BYTES_MAX = 256 * KIB
"""A file up to this size travels inside the commit."""
INLINE_DOWN_BYTES_MAX = 32 * KIB
"""A file up to this size travels inside the feed and the stream."""
COMMITS_IN_FLIGHT_MAX = 4

BLOCKS_PUT_BODY_BYTES_MAX = 16 * MIB
BLOCKS_GET_COUNT_MAX = 1_000

FEED_PAGE_ENTRIES_MAX = 2_000
FEED_PAGE_BYTES_MAX = 8 * MIB
STREAM_FRAME_BYTES_MAX = 256 * KIB
"""With more than this waiting, the stream sends only positions."""
MANIFEST_INLINE_BLOCKS_MAX = 128
"""A blocklist up to this long travels inside its entry; a longer one is fetched by id."""
MANIFESTS_GET_COUNT_MAX = 200
CURSOR_NAMESPACES_MAX = 1_000
LIST_PAGE_MAX = 2_000
SCOPE_NODES_MAX = 1_000
"""So many files and folders a link may leave out."""

SHARED_NODES_MAX = 100_000
"""A folder of so many files and folders can be made a shared one, those in its trash among them."""
MOVED_NODES_MAX = 10_000
"""So many files and folders go from one namespace to another in one move."""
MEMBERS_MAX = 1_000
MOUNTS_MAX = 999
"""Shared folders and invitations of an account: with its own root as many as a cursor covers."""

JSON_BODY_BYTES_MAX = 16 * MIB
JSON_DEPTH_MAX = 32
HEADER_DEADLINE_S = 10
BODY_GRACE_S = 20
BODY_BYTES_PER_S_MIN = KIB
LONGPOLL_S_MAX = 480
SYMLINK_BYTES_MAX = 4095
XATTR_VALUE_BYTES_MAX = KIB
XATTRS_BYTES_MAX = 4 * KIB
"""Names and values of one file or folder together."""

OP_RESULT_AGE_DAYS_MAX = 30
LEASE_HOURS_MIN = 24
JOURNAL_AGE_DAYS_MIN = 180
JOURNAL_ENTRIES_MIN = 1_000_000
DIFF_BYTES_MAX = MIB
"""Of each of two versions that are compared line by line."""
REWIND_CHANGES_MAX = 500_000
"""Entries of the journal that one rewind looks back over."""

PASSWORD_CHARS_MIN = 8
PASSWORD_BYTES_MAX = 1_024
DEVICES_PER_ACCOUNT_MAX = 500
DEVICE_CODE_MINUTES = 10
DEVICE_CODES_OPEN_MAX = 10_000
APP_PASSWORDS_PER_ACCOUNT_MAX = 100
GROUPS_MAX = 10_000
GROUP_MEMBERS_MAX = 10_000
INVITATIONS_OPEN_MAX = 1_000
INVITATION_DAYS_MAX = 30
SESSIONS_PER_ACCOUNT_MAX = 100
"""Browsers that are signed in at once; the one unused for longest makes room."""
SESSION_IDLE_DAYS_MAX = 7
SESSION_AGE_DAYS_MAX = 30
OIDC_LINKS_PER_ACCOUNT_MAX = 20
STREAMS_PER_ACCOUNT_MAX = 200
REQUESTS_PER_ACCOUNT_MAX = 64

UPLOADS_PER_ACCOUNT_MAX = 100
"""Uploads in parts that were begun and are not finished."""
UPLOAD_IDLE_HOURS_MAX = 24
UPLOAD_AGE_DAYS_MAX = 7
IDEMPOTENCY_KEY_CHARS_MAX = 255
IDEMPOTENCY_KEYS_MAX = 10_000
"""Of an account, kept at once."""
IDEMPOTENCY_KEY_HOURS = 24

WEBHOOKS_PER_ACCOUNT_MAX = 20
WEBHOOK_FAILING_DAYS_MAX = 5
"""An address that takes nothing for so long is told nothing more."""

SHARES_PER_ACCOUNT_MAX = 1_000
"""Links and file requests that an account made in one namespace and did not revoke."""
ZIP_ENTRIES_MAX = 1_000_000
DAV_XML_BYTES_MAX = MIB
DAV_XML_DEPTH_MAX = 32
DAV_XML_ELEMENTS_MAX = 10_000
DAV_COPY_NODES_MAX = 10_000
"""So many files and folders one WebDAV COPY takes along."""
DAV_LOCKS_MAX = 1_000
"""Of one namespace."""
DAV_LOCK_S_MAX = 3_600
DAV_LOCK_OWNER_BYTES_MAX = 4 * KIB
DAV_PROPERTIES_MAX = 256
"""That a WebDAV client made, of one file or folder."""
DAV_PROPERTIES_BYTES_MAX = 64 * KIB

SEARCH_HITS_MAX = 200
"""What a search ranks and pages through, at most."""
DOCUMENT_BYTES_MAX = 16 * MIB
"""A longer document is not read for its text."""
PICTURE_BYTES_MAX = 32 * MIB
"""Of a longer file no picture is made, small or of a page."""
THUMBNAILS_PER_NAMESPACE_MAX = 20_000
"""So many small pictures are kept, the newest; upkeep drops the others."""
PAGE_PICTURES_PER_NAMESPACE_MAX = 2_000
"""The same of the pictures of pages, which are larger."""
