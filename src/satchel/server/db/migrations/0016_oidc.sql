-- Sign-in by a provider of OpenID Connect. link_key: hash of issuer and subject, which name somebody for good; an e-mail
-- address only helps to find the account at the first sign-in, where an administrator said so.
CREATE TABLE oidc_links (
    link_key BYTEA NOT NULL PRIMARY KEY,
    account_id BYTEA NOT NULL,
    issuer TEXT NOT NULL,
    email TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
) {clustered};
CREATE INDEX oidc_links_of_account ON oidc_links (account_id);

-- Whose account the first one to come with this verified address gets. email_key: hash of the address.
CREATE TABLE oidc_expected (
    email_key BYTEA NOT NULL PRIMARY KEY,
    account_id BYTEA NOT NULL,
    email TEXT NOT NULL,
    created_at BIGINT NOT NULL
) {clustered};

-- Sign-ins that came back from the provider: each does so once.
CREATE TABLE oidc_used (
    attempt_key BYTEA NOT NULL PRIMARY KEY,
    ends_at BIGINT NOT NULL
) {clustered};
CREATE INDEX oidc_used_by_end ON oidc_used (ends_at);

-- Whom an invitation is for, in small letters; empty for whoever has its token.
ALTER TABLE invitations ADD COLUMN email TEXT NOT NULL DEFAULT '';
