// Made from the service's OpenAPI document by `make api-types`; do not edit.

export interface Acceptance {
  token: string;
  user: string;
  password: string;
}

export interface AccountChange {
  is_admin?: boolean;
  is_disabled?: boolean;
  quota_bytes?: null | number;
  has_second_factor?: boolean;
}

export interface AccountListed {
  account_id: string;
  account: string;
  is_admin: boolean;
  is_disabled: boolean;
  created_ms: number;
  used_bytes: number;
  quota_bytes: null | number;
  has_second_factor: boolean;
}

export interface AccountMade {
  account_id: string;
  account: string;
  is_admin: boolean;
}

export interface AccountPage {
  items: (AccountListed)[];
  after: string;
}

export interface AccountShown {
  account_id: string;
  account: string;
  device_id: string;
  device: string;
  root_ns: string;
  is_admin: boolean;
  used_bytes: number;
  quota_bytes: null | number;
}

export interface Activity {
  rows: (ActivityRow)[];
  before: number;
}

export interface ActivityDay {
  begin_ms: number;
  changes: number;
}

export interface ActivityDays {
  days: (ActivityDay)[];
  oldest_seq: number;
  oldest_ms: number;
  head_seq: number;
  head_ms: number;
}

export interface ActivityRow {
  first_seq: number;
  last_seq: number;
  at_ms: number;
  entries: number;
  does: string;
  account: string;
  device: string;
  rewind: string;
  id: string;
  kind: string;
  path: string;
  path_before: string;
  size: number;
}

export interface AppPasswordAsked {
  name: string;
  may_write?: boolean;
}

export interface AppPasswordMade {
  secret: string;
  app_password: AppPasswordShown;
}

export interface AppPasswordShown {
  id: string;
  name: string;
  may_write: boolean;
  created_ms: number;
  seen_ms: number;
}

export interface AuditPage {
  items: (AuditRow)[];
  before: number;
  after?: string;
}

export interface AuditPlace {
  chain?: string;
  seq?: number;
  hash?: string;
}

export interface AuditProblem {
  chain: string;
  seq: number;
  what: string;
}

export interface AuditRow {
  seq: number;
  at_ms: number;
  action: string;
  actor: string;
  device: string;
  address: string;
  subject: string;
  detail: string;
  hash: string;
  account?: string;
}

export interface AuditVerified {
  rows: number;
  problems: (AuditProblem)[];
  next: AuditPlace | null;
}

export interface BlockNamed {
  hash: string;
  size: number;
}

export interface BlocksKnown {
  offset: number;
  missing: (string)[];
}

export interface BlocksNamed {
  offset: number;
  blocks: (BlockNamed)[];
}

export interface CodeGiven {
  code: string;
}

export interface ConflictPage {
  items: (ConflictedCopy)[];
  count: number;
  after: string;
  is_all: boolean;
  is_complete: boolean;
}

export interface ConflictedCopy {
  path: string;
  device: string;
  day: string;
  copy: Item;
  original: Item | null;
}

export interface Deliveries {
  items: (DeliveryShown)[];
}

export interface DeliveryShown {
  at_ms: number;
  what: string;
  events: number;
}

export interface DeviceCodeAsked {
  device_name: string;
}

export interface DeviceCodeGiven {
  device_code: string;
}

export interface DeviceCodeMade {
  user_code: string;
  device_code: string;
  page: string;
  expires_in_s: number;
  interval_s: number;
}

export interface DeviceName {
  name: string;
}

export interface DevicePolled {
  status: string;
  interval_s: number;
  signed_in?: LoggedIn | null;
}

export interface DeviceShown {
  id: string;
  name: string;
  created_ms: number;
  seen_ms: number;
  is_this: boolean;
  is_online: boolean;
}

export interface DeviceWaiting {
  device_name: string;
  address: string;
  created_ms: number;
}

export interface DocumentPages {
  count: number;
  sizes: (PageSize)[];
}

export interface DocumentText {
  id: string;
  name: string;
  rev: number;
  text: string;
  is_cut: boolean;
}

export interface EnrolmentMade {
  secret: string;
  uri: string;
}

export interface Error {
  error: {
  code: string;
  message: string;
  hint: string;
  fields: Record<string, unknown>;
  id: string;
};
}

export interface Found {
  namespace: string;
  id: string;
  path: string;
  name: string;
  kind: string;
  size: number;
  mtime_ns: number;
  rev: number;
  fits: string;
  matches: ((unknown)[])[];
}

export interface FoundPage {
  items: (Found)[];
  after: string;
  is_all: boolean;
  is_complete: boolean;
}

export interface FoundText {
  namespace: string;
  id: string;
  path: string;
  name: string;
  size: number;
  mtime_ns: number;
  rev: number;
  snippet: string;
  matches: ((unknown)[])[];
}

export interface FoundTextPage {
  items: (FoundText)[];
  after: string;
  is_all: boolean;
  is_complete: boolean;
}

export interface GroupName {
  name: string;
}

export interface GroupPage {
  items: (GroupShown)[];
  after: string;
}

export interface GroupShown {
  id: string;
  name: string;
  created_ms: number;
  members: number;
}

export interface Health {
  status: string;
}

export interface HealthShown {
  version: string;
  schema: number;
  run: number;
  status: string;
  not_ready: (string)[];
  degraded: (string)[];
  streams: number;
  waiting: number;
  requests: number;
  database_waiting: number;
  backup_ms: number;
  tasks: (TaskShown)[];
  routes: (RouteShown)[];
}

export interface InvitationAsked {
  note?: string;
  is_admin?: boolean;
  quota_bytes?: null | number;
  days?: number;
  email?: string;
}

export interface InvitationMade {
  token: string;
  invitation: invitations_InvitationShown;
}

export interface InvitationOpen {
  ends_ms: number;
  quota_bytes: null | number;
}

export interface InvitationPage {
  items: (invitations_InvitationShown)[];
  after: string;
}

export interface InvitationToken {
  token: string;
}

export interface Invitations {
  items: (shares_InvitationShown)[];
  after: string;
}

export interface Invited {
  user: string;
  role?: string;
}

export interface Item {
  id: string;
  parent_id: string;
  name: string;
  kind: string;
  size: number;
  mtime_ns: number;
  is_executable: boolean;
  rev: number;
  seq: number;
  content_hash: string;
  target: string;
  namespace?: string;
  mounts?: string;
}

export interface Items {
  items: (Item)[];
  after: string;
}

export interface KeepCopyAsked {
  copy_id: string;
  copy_rev: number;
  file_id: string;
  file_rev: number;
  namespace?: string;
}

export interface Latest {
  cursor: string;
}

export interface LinkAsked {
  path?: string;
  id?: string;
  ns?: string;
  permission?: Permission;
  password?: string;
  expires_ms?: null | number;
  downloads_max?: null | number;
  is_no_download?: boolean;
}

export interface LinkChange {
  password?: string;
  expires_ms?: null | number;
  downloads_max?: null | number;
  is_no_download?: boolean;
}

export interface LinkDeleteAsked {
  id: string;
}

export interface LinkFolderAsked {
  name: string;
  parent?: string;
}

export interface LinkInfo {
  is_locked: boolean;
  permission?: string;
  name?: string;
  item?: LinkItem | null;
  is_no_download?: boolean;
  downloads_left?: null | number;
  expires_ms?: null | number;
  by?: string;
}

export interface LinkItem {
  id: string;
  name: string;
  kind: string;
  size: number;
  mtime_ns: number;
  rev: number;
  preview: string;
}

export interface LinkItems {
  items: (LinkItem)[];
  after: string;
}

export interface LinkMoveAsked {
  id: string;
  name: string;
  parent?: string;
}

export interface LinkPassword {
  password: string;
}

export interface LinkShown {
  id: string;
  node_id: string;
  path: string;
  name: string;
  kind: string;
  permission: string;
  has_password: boolean;
  is_no_download: boolean;
  expires_ms: null | number;
  downloads_max: null | number;
  downloads: number;
  hits: number;
  created_ms: number;
  seen_ms: number;
  token?: string;
  url?: string;
}

export interface Links {
  links: (LinkShown)[];
  after: string;
}

export interface LoggedIn {
  token: string;
  account_id: string;
  account: string;
  device_id: string;
  root_ns: string;
}

export interface Login {
  user: string;
  password: string;
  device_name: string;
  code?: string;
}

export interface MemberPage {
  items: (groups_MemberShown)[];
  after: string;
}

export interface MoveAsked {
  from: string;
  to: string;
}

export interface OidcBegun {
  page: string;
}

export interface OidcLinkAsked {
  password: string;
  next?: string;
}

export interface OidcLinkShown {
  id: string;
  issuer: string;
  email: string;
  created_ms: number;
  seen_ms: number;
}

export interface OidcOffered {
  is_offered: boolean;
  issuer?: string;
  begin?: string;
  end?: string;
}

export interface Page {
  entries: (SeedEntry)[];
  cursor: string;
  has_more: boolean;
  is_reset?: boolean;
  backoff?: number;
}

export interface PageSize {
  width: number;
  height: number;
}

export interface PasswordAsked {
  old: string;
  new: string;
  keep_others?: boolean;
}

export interface PasswordGiven {
  password: string;
}

export interface PathAsked {
  path: string;
}

export type Permission = "view" | "edit" | "upload";

export interface PreviewAsked {
  path?: string;
  id?: string;
  to_ms?: null | number;
  to_seq?: null | number;
  undo?: string;
  at?: number;
  limit?: number;
  namespace?: string;
}

export interface ReadyShown {
  status: string;
  not_ready?: (string)[];
  degraded?: (string)[];
}

export interface RecoveryCodes {
  recovery_codes: (string)[];
}

export interface RestoreAsked {
  rev: number;
  path?: string;
  id?: string;
  namespace?: string;
  as_copy?: boolean;
  to?: string;
}

export interface Rewind {
  id: string;
  path: string;
  to_seq: number;
  to_ms: number;
  before_seq: number;
  account: string;
  device: string;
  created_ms: number;
  finished_ms: null | number;
  undoes: string;
  is_undoable: boolean;
  namespace?: string;
}

export interface RewindAsked {
  path?: string;
  id?: string;
  to_ms?: null | number;
  to_seq?: null | number;
  undo?: string;
  seen_seq?: null | number;
  namespace?: string;
}

export interface RewindDone {
  id: string;
  to_seq: number;
  before_seq: number;
  head_seq: number;
  counts: Record<string, unknown>;
  is_finished: boolean;
  namespace?: string;
}

export interface RewindLine {
  does: string;
  id: string;
  kind: string;
  path_now: string;
  path_then: string;
  size: number;
  instead_of: number;
}

export interface RewindPreview {
  to_seq: number;
  to_ms: number;
  head_seq: number;
  counts: Record<string, unknown>;
  lines: (RewindLine)[];
  next_at: null | number;
}

export interface Rewinds {
  rewinds: (Rewind)[];
  after: string;
}

export interface RoleAsked {
  role: string;
}

export interface RouteShown {
  route: string;
  count: number;
  p50_ms: number;
  p99_ms: number;
}

export interface SecondFactorShown {
  is_enabled: boolean;
  recovery_codes: number;
}

export interface SeedEntry {
  type: string;
  action: string;
  namespace: string;
  id: string;
  parent_id: string;
  name: string;
  path: string;
  size: number;
  content_hash: string;
  mtime_ns: number;
  is_executable: boolean;
  rev: number;
  seq: number;
  is_unit: boolean;
  created_ms: number;
}

export interface SessionAsked {
  user: string;
  password: string;
  name?: string;
  code?: string;
}

export interface SessionMade {
  session_id: string;
  account_id: string;
  account: string;
  root_ns: string;
  ends_ms: number;
}

export interface SessionShown {
  id: string;
  name: string;
  created_ms: number;
  seen_ms: number;
  ends_ms: number;
  is_this: boolean;
}

export interface SettingShown {
  name: string;
  value: string;
  meaning: string;
}

export interface SettingsShown {
  items: (SettingShown)[];
}

export interface SetupAsked {
  code: string;
  user: string;
  password: string;
}

export interface SetupShown {
  is_needed: boolean;
}

export interface ShareAsked {
  path: string;
  with?: (Invited)[];
}

export interface ShareShown {
  id: string;
  path: string;
  role: string;
  owner: string;
  used_bytes: number;
  created_ms: number;
  members?: (shares_MemberShown)[];
}

export interface Shares {
  items: (ShareShown)[];
  after: string;
}

export interface StorageShown {
  files: number;
  file_bytes: number;
  versions: number;
  logical_bytes: number;
  blocks: number;
  block_bytes: number;
  stored_bytes: number;
  dedup_ratio: number;
  trash_items: number;
  garbage_blocks: number;
  garbage_bytes: number;
  condemned_blocks: number;
  condemned_bytes: number;
  packs: number;
  packs_waiting: number;
  packs_waiting_bytes: number;
  damaged_blocks: number;
  alarm: string;
  scrub_alarm: string;
}

export interface Taken {
  name: string;
  size: number;
  id?: string;
}

export interface TaskShown {
  name: string;
  last_ms: number;
  took_ms: number;
  next_ms: number;
  failures: number;
  fault: string;
}

export interface TextDiff {
  older: number;
  newer: number;
  lines: (string)[];
  is_binary: boolean;
  is_equal: boolean;
  is_whole: boolean;
}

export type Told = "file.changed" | "file.deleted" | "share.invited" | "link.used";

export interface TransferAsked {
  account_id: string;
}

export interface TrashEmptied {
  removed: number;
  has_more: boolean;
}

export interface TrashEmptyAsked {
  ids?: (string)[];
  all?: boolean;
  namespace?: string;
  before_ms?: number;
}

export interface TrashPage {
  items: (Trashed)[];
  after: string;
}

export interface TrashRestoreAsked {
  id: string;
  namespace?: string;
  to?: string;
}

export interface Trashed {
  id: string;
  path: string;
  name: string;
  kind: string;
  size: number;
  deleted_ms: number;
  deleted_by: string;
  device: string;
  purge_ms: number;
  has_home: boolean;
  namespace?: string;
}

export interface Unlocked {
  key: string;
  expires_ms: number;
}

export interface UploadAsked {
  size: number;
  path?: string;
  parent?: string;
  name?: string;
  namespace?: string;
  base_rev?: null | number;
  sha256?: string;
  mtime_ns?: number;
}

export interface UploadShown {
  id: string;
  name: string;
  size: number;
  offset: number;
  created_ms: number;
  expires_ms: number;
  is_finished: boolean;
}

export interface Uploads {
  items: (UploadShown)[];
  after: string;
}

export interface UserCode {
  user_code: string;
}

export interface UserCodeAnswer {
  user_code: string;
  approve?: boolean;
}

export interface Version {
  rev: number;
  number: number;
  size: number;
  mtime_ns: number;
  content_hash: string;
  author: string;
  device: string;
  created_ms: number;
}

export interface Versions {
  id: string;
  versions: (Version)[];
}

export interface WebhookAsked {
  url: string;
  events?: (Told)[];
}

export interface WebhookSecret {
  secret: string;
}

export interface WebhookShown {
  id: string;
  url: string;
  events: (Told)[];
  created_ms: number;
  failures: number;
  failing_since_ms: null | number;
  ended_ms: null | number;
  secret?: string;
}

export interface Webhooks {
  items: (WebhookShown)[];
}

export interface groups_MemberShown {
  account_id: string;
  account: string;
  added_ms: number;
}

export interface invitations_InvitationShown {
  id: string;
  note: string;
  is_admin: boolean;
  quota_bytes: null | number;
  created_ms: number;
  ends_ms: number;
  state: string;
  email?: string;
}

export interface shares_InvitationShown {
  id: string;
  name: string;
  role: string;
  invited_by: string;
  created_ms: number;
}

export interface shares_MemberShown {
  account_id: string;
  user: string;
  role: string;
  state: string;
  changed_ms: number;
}

export interface Routes {
  'GET /api/v1/account': {
    query: Record<never, never>;
    body: undefined;
    answer: AccountShown;
  };
  'GET /api/v1/account/oidc': {
    query: Record<never, never>;
    body: undefined;
    answer: (OidcLinkShown)[];
  };
  'POST /api/v1/account/oidc': {
    query: Record<never, never>;
    body: OidcLinkAsked;
    answer: OidcBegun;
  };
  'DELETE /api/v1/account/oidc/{link_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'POST /api/v1/account/password': {
    query: Record<never, never>;
    body: PasswordAsked;
    answer: undefined;
  };
  'POST /api/v1/account/recovery-codes': {
    query: Record<never, never>;
    body: PasswordGiven;
    answer: RecoveryCodes;
  };
  'GET /api/v1/account/second-factor': {
    query: Record<never, never>;
    body: undefined;
    answer: SecondFactorShown;
  };
  'POST /api/v1/account/second-factor': {
    query: Record<never, never>;
    body: PasswordGiven;
    answer: EnrolmentMade;
  };
  'POST /api/v1/account/second-factor/confirm': {
    query: Record<never, never>;
    body: CodeGiven;
    answer: RecoveryCodes;
  };
  'POST /api/v1/account/second-factor/disable': {
    query: Record<never, never>;
    body: PasswordGiven;
    answer: undefined;
  };
  'GET /api/v1/activity': {
    query: { path?: string; id?: string; before?: number; first_seq?: number; last_seq?: number; person?: string; does?: string; grouped?: boolean; limit?: number; namespace?: string };
    body: undefined;
    answer: Activity;
  };
  'GET /api/v1/activity/days': {
    query: { days?: number; until_ms?: number; offset_min?: number; path?: string; namespace?: string };
    body: undefined;
    answer: ActivityDays;
  };
  'GET /api/v1/admin/accounts': {
    query: { after?: string; limit?: number };
    body: undefined;
    answer: AccountPage;
  };
  'PATCH /api/v1/admin/accounts/{account_id}': {
    query: Record<never, never>;
    body: AccountChange;
    answer: undefined;
  };
  'GET /api/v1/admin/audit': {
    query: { account_id?: string; action?: string; before?: number; limit?: number };
    body: undefined;
    answer: AuditPage;
  };
  'GET /api/v1/admin/audit/newest': {
    query: { action?: string; after?: string; limit?: number };
    body: undefined;
    answer: AuditPage;
  };
  'POST /api/v1/admin/audit/verify': {
    query: Record<never, never>;
    body: AuditPlace;
    answer: AuditVerified;
  };
  'GET /api/v1/admin/counters': {
    query: Record<never, never>;
    body: undefined;
    answer: Record<string, unknown>;
  };
  'GET /api/v1/admin/health': {
    query: Record<never, never>;
    body: undefined;
    answer: HealthShown;
  };
  'GET /api/v1/admin/settings': {
    query: Record<never, never>;
    body: undefined;
    answer: SettingsShown;
  };
  'GET /api/v1/admin/storage': {
    query: Record<never, never>;
    body: undefined;
    answer: StorageShown;
  };
  'GET /api/v1/app-passwords': {
    query: Record<never, never>;
    body: undefined;
    answer: (AppPasswordShown)[];
  };
  'POST /api/v1/app-passwords': {
    query: Record<never, never>;
    body: AppPasswordAsked;
    answer: AppPasswordMade;
  };
  'DELETE /api/v1/app-passwords/{password_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'GET /api/v1/audit': {
    query: { before?: number; limit?: number };
    body: undefined;
    answer: AuditPage;
  };
  'GET /api/v1/conflicts': {
    query: { path?: string; after?: string; limit?: number };
    body: undefined;
    answer: ConflictPage;
  };
  'POST /api/v1/conflicts/keep-copy': {
    query: Record<never, never>;
    body: KeepCopyAsked;
    answer: Item;
  };
  'GET /api/v1/content': {
    query: { path?: string; id?: string; rev?: number; namespace?: string };
    body: undefined;
    answer: undefined;
  };
  'PUT /api/v1/content': {
    query: { path: string; mtime_ns?: number };
    body: undefined;
    answer: Item;
  };
  'GET /api/v1/content/page': {
    query: { path?: string; id?: string; rev?: number; namespace?: string; page?: number; width?: string };
    body: undefined;
    answer: undefined;
  };
  'GET /api/v1/content/pages': {
    query: { path?: string; id?: string; rev?: number; namespace?: string };
    body: undefined;
    answer: DocumentPages;
  };
  'POST /api/v1/delete': {
    query: Record<never, never>;
    body: PathAsked;
    answer: undefined;
  };
  'POST /api/v1/device-codes': {
    query: Record<never, never>;
    body: DeviceCodeAsked;
    answer: DeviceCodeMade;
  };
  'POST /api/v1/device-codes/approve': {
    query: Record<never, never>;
    body: UserCodeAnswer;
    answer: undefined;
  };
  'POST /api/v1/device-codes/look': {
    query: Record<never, never>;
    body: UserCode;
    answer: DeviceWaiting;
  };
  'POST /api/v1/device-codes/poll': {
    query: Record<never, never>;
    body: DeviceCodeGiven;
    answer: DevicePolled;
  };
  'GET /api/v1/devices': {
    query: Record<never, never>;
    body: undefined;
    answer: (DeviceShown)[];
  };
  'DELETE /api/v1/devices/{device_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'PATCH /api/v1/devices/{device_id}': {
    query: Record<never, never>;
    body: DeviceName;
    answer: undefined;
  };
  'GET /api/v1/diff': {
    query: { path?: string; id?: string; from?: number; to?: number; namespace?: string; against?: string };
    body: undefined;
    answer: TextDiff;
  };
  'GET /api/v1/entry': {
    query: { path: string };
    body: undefined;
    answer: Item;
  };
  'GET /api/v1/files': {
    query: { path?: string; after?: string; limit?: number };
    body: undefined;
    answer: Items;
  };
  'POST /api/v1/folders': {
    query: Record<never, never>;
    body: PathAsked;
    answer: Item;
  };
  'GET /api/v1/groups': {
    query: { after?: string; limit?: number };
    body: undefined;
    answer: GroupPage;
  };
  'POST /api/v1/groups': {
    query: Record<never, never>;
    body: GroupName;
    answer: GroupShown;
  };
  'DELETE /api/v1/groups/{group_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'PATCH /api/v1/groups/{group_id}': {
    query: Record<never, never>;
    body: GroupName;
    answer: undefined;
  };
  'GET /api/v1/groups/{group_id}/members': {
    query: { after?: string; limit?: number };
    body: undefined;
    answer: MemberPage;
  };
  'DELETE /api/v1/groups/{group_id}/members/{account_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'PUT /api/v1/groups/{group_id}/members/{account_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'GET /api/v1/invitations': {
    query: { after?: string; limit?: number };
    body: undefined;
    answer: InvitationPage;
  };
  'POST /api/v1/invitations': {
    query: Record<never, never>;
    body: InvitationAsked;
    answer: InvitationMade;
  };
  'POST /api/v1/invitations/accept': {
    query: Record<never, never>;
    body: Acceptance;
    answer: AccountMade;
  };
  'POST /api/v1/invitations/look': {
    query: Record<never, never>;
    body: InvitationToken;
    answer: InvitationOpen;
  };
  'DELETE /api/v1/invitations/{invitation_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'GET /api/v1/links': {
    query: { ns?: string; after?: string; limit?: number };
    body: undefined;
    answer: Links;
  };
  'POST /api/v1/links': {
    query: Record<never, never>;
    body: LinkAsked;
    answer: LinkShown;
  };
  'DELETE /api/v1/links/{link_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'GET /api/v1/links/{link_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: LinkShown;
  };
  'PATCH /api/v1/links/{link_id}': {
    query: Record<never, never>;
    body: LinkChange;
    answer: LinkShown;
  };
  'POST /api/v1/login': {
    query: Record<never, never>;
    body: Login;
    answer: LoggedIn;
  };
  'POST /api/v1/logout': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'POST /api/v1/logout-others': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'POST /api/v1/move': {
    query: Record<never, never>;
    body: MoveAsked;
    answer: Item;
  };
  'GET /api/v1/oidc': {
    query: Record<never, never>;
    body: undefined;
    answer: OidcOffered;
  };
  'GET /api/v1/oidc/begin': {
    query: { next?: string };
    body: undefined;
    answer: undefined;
  };
  'GET /api/v1/oidc/callback': {
    query: { code?: string; state?: string; error?: string; iss?: string };
    body: undefined;
    answer: undefined;
  };
  'GET /api/v1/oidc/end': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'GET /api/v1/public/{token}': {
    query: Record<never, never>;
    body: undefined;
    answer: LinkInfo;
  };
  'GET /api/v1/public/{token}/content': {
    query: { id?: string; preview?: boolean };
    body: undefined;
    answer: undefined;
  };
  'PUT /api/v1/public/{token}/content': {
    query: { id?: string; mtime_ns?: number };
    body: undefined;
    answer: LinkItem;
  };
  'GET /api/v1/public/{token}/content/page': {
    query: { id?: string; page?: number; width?: string };
    body: undefined;
    answer: undefined;
  };
  'GET /api/v1/public/{token}/content/pages': {
    query: { id?: string };
    body: undefined;
    answer: DocumentPages;
  };
  'POST /api/v1/public/{token}/delete': {
    query: Record<never, never>;
    body: LinkDeleteAsked;
    answer: undefined;
  };
  'POST /api/v1/public/{token}/folders': {
    query: Record<never, never>;
    body: LinkFolderAsked;
    answer: LinkItem;
  };
  'GET /api/v1/public/{token}/list': {
    query: { id?: string; after?: string; limit?: number };
    body: undefined;
    answer: LinkItems;
  };
  'POST /api/v1/public/{token}/move': {
    query: Record<never, never>;
    body: LinkMoveAsked;
    answer: LinkItem;
  };
  'POST /api/v1/public/{token}/unlock': {
    query: Record<never, never>;
    body: LinkPassword;
    answer: Unlocked;
  };
  'PUT /api/v1/public/{token}/upload': {
    query: { name: string; parent?: string; mtime_ns?: number };
    body: undefined;
    answer: Taken;
  };
  'GET /api/v1/public/{token}/zip': {
    query: { id?: string };
    body: undefined;
    answer: undefined;
  };
  'POST /api/v1/restore': {
    query: Record<never, never>;
    body: RestoreAsked;
    answer: Item;
  };
  'POST /api/v1/rewind': {
    query: Record<never, never>;
    body: RewindAsked;
    answer: RewindDone;
  };
  'POST /api/v1/rewind/preview': {
    query: Record<never, never>;
    body: PreviewAsked;
    answer: RewindPreview;
  };
  'GET /api/v1/rewinds': {
    query: { after?: string; limit?: number; path?: string; namespace?: string };
    body: undefined;
    answer: Rewinds;
  };
  'GET /api/v1/search': {
    query: { q: string; path?: string; kind?: "file" | "folder" | "symlink" | ""; extension?: string; modified_from_ms?: null | number; modified_until_ms?: null | number; whose?: "me" | "others" | ""; after?: string; limit?: number };
    body: undefined;
    answer: FoundPage;
  };
  'GET /api/v1/search/text': {
    query: { q: string; path?: string; extension?: string; modified_from_ms?: null | number; modified_until_ms?: null | number; whose?: "me" | "others" | ""; after?: string; limit?: number };
    body: undefined;
    answer: FoundTextPage;
  };
  'GET /api/v1/sessions': {
    query: Record<never, never>;
    body: undefined;
    answer: (SessionShown)[];
  };
  'POST /api/v1/sessions': {
    query: Record<never, never>;
    body: SessionAsked;
    answer: SessionMade;
  };
  'DELETE /api/v1/sessions/{session_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'GET /api/v1/setup': {
    query: Record<never, never>;
    body: undefined;
    answer: SetupShown;
  };
  'POST /api/v1/setup': {
    query: Record<never, never>;
    body: SetupAsked;
    answer: AccountMade;
  };
  'GET /api/v1/share-invitations': {
    query: { after?: string; limit?: number };
    body: undefined;
    answer: Invitations;
  };
  'POST /api/v1/share-invitations/{share_id}/accept': {
    query: Record<never, never>;
    body: undefined;
    answer: ShareShown;
  };
  'POST /api/v1/share-invitations/{share_id}/decline': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'GET /api/v1/shares': {
    query: { by?: string; after?: string; limit?: number };
    body: undefined;
    answer: Shares;
  };
  'POST /api/v1/shares': {
    query: Record<never, never>;
    body: ShareAsked;
    answer: ShareShown;
  };
  'DELETE /api/v1/shares/{share_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'GET /api/v1/shares/{share_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: ShareShown;
  };
  'POST /api/v1/shares/{share_id}/leave': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'POST /api/v1/shares/{share_id}/members': {
    query: Record<never, never>;
    body: Invited;
    answer: ShareShown;
  };
  'DELETE /api/v1/shares/{share_id}/members/{account_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'PATCH /api/v1/shares/{share_id}/members/{account_id}': {
    query: Record<never, never>;
    body: RoleAsked;
    answer: undefined;
  };
  'POST /api/v1/shares/{share_id}/transfer': {
    query: Record<never, never>;
    body: TransferAsked;
    answer: undefined;
  };
  'GET /api/v1/sync': {
    query: { cursor?: string; limit?: number };
    body: undefined;
    answer: Page;
  };
  'GET /api/v1/sync/latest': {
    query: Record<never, never>;
    body: undefined;
    answer: Latest;
  };
  'GET /api/v1/sync/longpoll': {
    query: { cursor: string; timeout?: number; limit?: number };
    body: undefined;
    answer: Page;
  };
  'GET /api/v1/text': {
    query: { path?: string; id?: string; chars?: number; namespace?: string };
    body: undefined;
    answer: DocumentText;
  };
  'GET /api/v1/thumbnail/{ns}/{node}': {
    query: { rev?: number; size?: string };
    body: undefined;
    answer: undefined;
  };
  'GET /api/v1/trash': {
    query: { after?: string; limit?: number; path?: string; namespace?: string };
    body: undefined;
    answer: TrashPage;
  };
  'POST /api/v1/trash/empty': {
    query: Record<never, never>;
    body: TrashEmptyAsked;
    answer: TrashEmptied;
  };
  'POST /api/v1/trash/restore': {
    query: Record<never, never>;
    body: TrashRestoreAsked;
    answer: Item;
  };
  'GET /api/v1/uploads': {
    query: { after?: string; limit?: number };
    body: undefined;
    answer: Uploads;
  };
  'POST /api/v1/uploads': {
    query: Record<never, never>;
    body: UploadAsked;
    answer: UploadShown;
  };
  'DELETE /api/v1/uploads/{upload_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'GET /api/v1/uploads/{upload_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: UploadShown;
  };
  'HEAD /api/v1/uploads/{upload_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'PATCH /api/v1/uploads/{upload_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'POST /api/v1/uploads/{upload_id}/finish': {
    query: { content_hash?: string };
    body: undefined;
    answer: Item;
  };
  'POST /api/v1/uploads/{upload_id}/known': {
    query: Record<never, never>;
    body: BlocksNamed;
    answer: BlocksKnown;
  };
  'GET /api/v1/versions': {
    query: { path?: string; id?: string; namespace?: string };
    body: undefined;
    answer: Versions;
  };
  'GET /api/v1/webhooks': {
    query: Record<never, never>;
    body: undefined;
    answer: Webhooks;
  };
  'POST /api/v1/webhooks': {
    query: Record<never, never>;
    body: WebhookAsked;
    answer: WebhookShown;
  };
  'DELETE /api/v1/webhooks/{webhook_id}': {
    query: Record<never, never>;
    body: undefined;
    answer: undefined;
  };
  'GET /api/v1/webhooks/{webhook_id}/deliveries': {
    query: Record<never, never>;
    body: undefined;
    answer: Deliveries;
  };
  'POST /api/v1/webhooks/{webhook_id}/rotate': {
    query: Record<never, never>;
    body: undefined;
    answer: WebhookSecret;
  };
  'GET /api/v1/zip': {
    query: { path?: string; only?: (string)[] | null };
    body: undefined;
    answer: undefined;
  };
  'GET /health': {
    query: Record<never, never>;
    body: undefined;
    answer: Health;
  };
  'GET /ready': {
    query: Record<never, never>;
    body: undefined;
    answer: ReadyShown;
  };
  'GET /s/{token}': {
    query: Record<never, never>;
    body: undefined;
    answer: LinkInfo;
  };
  'GET /s/{token}/list': {
    query: { id?: string; after?: string; limit?: number };
    body: undefined;
    answer: LinkItems;
  };
  'POST /s/{token}/unlock': {
    query: Record<never, never>;
    body: LinkPassword;
    answer: Unlocked;
  };
  'GET /sync': {
    query: { cursor?: string; limit?: number };
    body: undefined;
    answer: Page;
  };
  'GET /sync/longpoll': {
    query: { cursor: string; timeout?: number; limit?: number };
    body: undefined;
    answer: Page;
  };
}
