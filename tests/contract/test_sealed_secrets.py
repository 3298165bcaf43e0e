"""Secrets of second factors are sealed in the database, with a key that is not there."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from satchel.core.errors import SecondFactorRequired, SettingInvalid, Unauthenticated
from satchel.server.accounts.passwords import hash_password
from satchel.server.accounts.principal import Principal
from satchel.server.accounts.second_factor import (
    STEP_S,
    begin_second_factor,
    code_at,
    confirm_second_factor,
    prove_fully,
)
from satchel.server.accounts.service import authenticate, register_account, register_device
from satchel.server.adapters.sealer import FILE, KEY_BYTES, KeySealer, key_in, key_of
from satchel.server.adapters.state_memory import MemoryState
from satchel.server.db.engine import Database
from satchel.server.ports import NoSealer, Sealer
from satchel.server.settings import load_settings
from satchel.server.stores import opened_sealer
from tests.support.clocks import SteppingClock
from tests.support.databases import Run

PASSWORD = "correct horse battery"


class Ada:
    """An account that sets up codes and signs in with them. now: each step of the app's clock is used once."""

    def __init__(self, db: Database, clock: SteppingClock, me: Principal) -> None:
        self.db, self.clock, self.me = db, clock, me
        self.state = MemoryState(clock)
        self.secret = b""

    @classmethod
    async def new(cls, db: Database) -> Ada:
        clock = SteppingClock()
        made = await register_account(db, clock, name="ada", password_hash=await hash_password(PASSWORD))
        token, _ = await register_device(db, clock, account_id=made.account_id, name="laptop")
        return cls(db, clock, await authenticate(db, token))

    async def set_up(self, sealer: Sealer) -> list[str]:
        made = await begin_second_factor(self.db, self.state, self.clock, self.me, PASSWORD, sealer=sealer)
        self.secret = base64.b32decode(made.secret)
        return await confirm_second_factor(self.db, self.state, self.clock, self.me, self.code(), sealer=sealer)

    def code(self) -> str:
        self.clock.now += 2 * STEP_S * 1_000
        return code_at(self.secret, self.clock.now // 1_000 // STEP_S)

    async def signs_in(self, sealer: Sealer, code: str = "") -> bool:
        asked = {"user": "ada", "password": PASSWORD, "code": code or self.code()}
        try:
            await prove_fully(self.db, self.state, self.clock, **asked, sealer=sealer)
        except Unauthenticated:
            return False
        return True

    async def stored(self) -> bytes:
        rows = await self.db.read(lambda conn: conn.fetch("SELECT secret FROM second_factors"))
        secret: bytes = rows[0][0]
        return secret


def key(clock: SteppingClock) -> KeySealer:
    return KeySealer(os.urandom(KEY_BYTES), clock)


def test_a_secret_is_sealed_and_opens_with_its_key_alone(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Ada.new(db)
        mine, other = key(ada.clock), key(ada.clock)
        recovery = await ada.set_up(mine)
        assert ada.secret not in await ada.stored()
        with pytest.raises(SecondFactorRequired):
            await prove_fully(db, ada.state, ada.clock, user="ada", password=PASSWORD, sealer=mine)
        assert await ada.signs_in(mine)
        for without in (other, NoSealer()):
            assert not await ada.signs_in(without)
        # Whoever lost the key has the recovery codes still.
        assert await ada.signs_in(other, recovery[0])
        assert await ada.signs_in(mine)

    run(scenario)


def test_a_secret_of_before_there_was_a_key_is_sealed_by_being_used(run: Run) -> None:
    async def scenario(db: Database) -> None:
        ada = await Ada.new(db)
        await ada.set_up(NoSealer())
        assert await ada.stored() == ada.secret
        mine = key(ada.clock)
        assert not await ada.signs_in(mine, "000000")
        assert await ada.stored() == ada.secret
        assert await ada.signs_in(mine)
        assert ada.secret not in await ada.stored()
        assert await ada.signs_in(mine)

    run(scenario)


def test_what_was_changed_or_put_into_another_row_opens_nothing() -> None:
    clock = SteppingClock()
    mine, plain = key(clock), os.urandom(20)
    sealed = mine.seal(plain, b"ada")
    assert mine.unseal(sealed, b"ada") == plain
    assert mine.seal(plain, b"ada") != sealed
    assert mine.unseal(sealed, b"bob") is None
    assert all(
        mine.unseal(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], b"ada") is None for at in range(53)
    )
    assert mine.unseal(sealed[:40], b"ada") is None
    assert NoSealer().unseal(sealed, b"ada") is None


def test_the_key_of_a_data_folder_is_made_once_and_read_by_its_user_alone(tmp_path: Path) -> None:
    clock = SteppingClock()
    made = key_in(str(tmp_path), clock)
    assert key_in(str(tmp_path), clock) == made
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == [FILE]
    for wrong in ("", "00" * 31, "zz" * 32, "00" * 33):
        (tmp_path / FILE).write_text(wrong)
        with pytest.raises(SettingInvalid):
            key_in(str(tmp_path), clock)
    with pytest.raises(SettingInvalid):
        key_of("x", "secrets_key")


def test_services_over_one_database_need_the_same_key_or_have_none(tmp_path: Path) -> None:
    clock, data = SteppingClock(), str(tmp_path)
    shared = {"data": data, "database_url": "postgresql://db/satchel"}
    assert isinstance(opened_sealer(load_settings(shared), clock), NoSealer)
    assert list(tmp_path.iterdir()) == []
    one, two = (opened_sealer(load_settings({**shared, "secrets_key": "ab" * 32}), clock) for _ in range(2))
    assert two.unseal(one.seal(b"secret", b"row"), b"row") == b"secret"
    assert "ab" * 32 in load_settings({**shared, "secrets_key": "ab" * 32}).secrets()
    alone = opened_sealer(load_settings({"data": data}), clock)
    assert alone.unseal(alone.seal(b"secret", b"row"), b"row") == b"secret"
    assert (tmp_path / FILE).exists()
