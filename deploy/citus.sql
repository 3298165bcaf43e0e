-- Spreads Satchel's tables over a PostgreSQL with Citus. Run once, after the first start has made the tables, while no
-- gateway runs: psql "$SATCHEL_DATABASE_URL" --set ON_ERROR_STOP=1 --file deploy/citus.sql
--
-- A namespace's rows stand on one shard, a block's on another; docs/design/080-shards.md says what is fine with that
-- and what is not yet. It was never run on a real Citus by us: a test checks it against the migrations alone.

BEGIN;

-- By namespace: everything that a commit writes in its one transaction.
SELECT create_distributed_table('namespaces', 'ns');
SELECT create_distributed_table('files', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('file_versions', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('manifests', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('file_changes', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('op_results', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('outbox', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('namespace_blocks', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('link_scopes', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('rewinds', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('shares', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('dav_locks', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('dav_properties', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('members', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('search_places', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('search_docs', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('search_grams', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('text_nodes', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('texts', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('text_words', 'ns', colocate_with => 'namespaces');
SELECT create_distributed_table('thumbnails', 'ns', colocate_with => 'namespaces');

-- By the block's hash: where its bytes are, and who holds it.
SELECT create_distributed_table('blocks', 'block_hash', colocate_with => 'none');
SELECT create_distributed_table('block_refs', 'block_hash', colocate_with => 'blocks');
SELECT create_distributed_table('block_damage', 'block_hash', colocate_with => 'blocks');

-- By their own id.
SELECT create_distributed_table('packs', 'pack_id', colocate_with => 'none');
SELECT create_distributed_table('link_runs', 'device_id', colocate_with => 'none');
SELECT create_distributed_table('share_tokens', 'token_hash', colocate_with => 'none');
SELECT create_distributed_table('memberships', 'account_id', colocate_with => 'none');

-- By account: what people sign in with beside their devices, and what they did.
SELECT create_distributed_table('sessions', 'account_id', colocate_with => 'memberships');
SELECT create_distributed_table('app_passwords', 'account_id', colocate_with => 'memberships');
SELECT create_distributed_table('second_factors', 'account_id', colocate_with => 'memberships');
SELECT create_distributed_table('recovery_codes', 'account_id', colocate_with => 'memberships');
SELECT create_distributed_table('upload_sessions', 'account_id', colocate_with => 'memberships');
SELECT create_distributed_table('upload_parts', 'account_id', colocate_with => 'memberships');
SELECT create_distributed_table('idempotent_requests', 'account_id', colocate_with => 'memberships');
SELECT create_distributed_table('webhooks', 'account_id', colocate_with => 'memberships');
SELECT create_distributed_table('audit', 'chain', colocate_with => 'none');
SELECT create_distributed_table('audit_heads', 'chain', colocate_with => 'audit');
SELECT create_distributed_table('device_codes', 'user_key', colocate_with => 'none');
SELECT create_distributed_table('oidc_links', 'link_key', colocate_with => 'none');
SELECT create_distributed_table('oidc_expected', 'email_key', colocate_with => 'none');
SELECT create_distributed_table('oidc_used', 'attempt_key', colocate_with => 'none');

-- On every node: small, seldom written, joined by anyone. Past some ten million accounts the first two are too large
-- for that; see the design.
SELECT create_reference_table('accounts');
SELECT create_reference_table('devices');
SELECT create_reference_table('invitations');
SELECT create_reference_table('groups_of_accounts');
SELECT create_reference_table('group_members');
SELECT create_reference_table('setup_codes');
SELECT create_reference_table('store_meta');
SELECT create_reference_table('schema_migrations');
SELECT create_reference_table('upkeep_tasks');
SELECT create_reference_table('block_upkeep');
SELECT create_reference_table('pins');

COMMIT;
