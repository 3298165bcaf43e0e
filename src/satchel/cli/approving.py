"""`satchel login` by a code, and `satchel devices approve`. Invariant: the device's secret is never shown, and the code
that is shown opens nothing by itself.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from satchel.cli import output, session, signing_in
from satchel.core.errors import AlreadyExists, Fault, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from satchel.device.api import Api, DeviceCode, DeviceWaiting, SignedIn


async def sign_in_by_code(url: str, device: str) -> str:
    """Show a code, wait until somebody approves it, and keep the token; return the account's name.

    Raises: AlreadyExists while signed in elsewhere, Unauthenticated (denied, or nobody answered in time).
    """
    from satchel.device.api import Api

    signing_in.refuse_another(url, "")
    async with Api(url, "") as api:
        made = await api.begin_device_code(device)
        # Whoever scripts this needs the code too, so neither --quiet nor --json keeps it back.
        print(
            output.printable(
                f"Code: {made.user_code}\nApprove it at {url}{made.page}, or on a device that is signed in:"
                f" satchel devices approve {made.user_code}"
            ),
            file=sys.stderr,
            flush=True,
        )
        signed_in = await _approved(api, made)
    try:
        signing_in.refuse_another(url, signed_in.account)
    except AlreadyExists:
        # Somebody else approved it: the folders here are not theirs, and the new device is not kept.
        async with Api(url, signed_in.token) as api:
            await api.logout()
        raise
    return signing_in.keep(url, device, signed_in)


async def _approved(api: Api, made: DeviceCode) -> SignedIn:
    import asyncio

    wait_s, left_s = made.interval_s, made.expires_in_s
    with output.live_bar() as show:
        while left_s > 0:
            show("Waiting", None, f"for somebody to approve {made.user_code}")
            await asyncio.sleep(wait_s)
            left_s -= wait_s
            try:
                told = await api.poll_device_code(made.device_code)
            except Unavailable:
                continue
            wait_s = max(1, told.interval_s)
            if told.signed_in is not None:
                return told.signed_in
            if told.status == "denied":
                raise Unauthenticated("This device was turned away.")
            if told.status == "expired":
                break
    raise Unauthenticated("Nobody approved this device in time; ask for another code.")


def answer(code: str, *, deny: bool, yes: bool) -> None:
    """Approve or deny the device that shows `code`, asking before on a terminal. Raises: NotFound, Fault."""
    waiting = session.run(_look(code))
    what = f"{waiting.device_name} (asked from {waiting.address or 'an unknown address'})"
    if not (deny or yes) and not output.ask_yes(f"Sign in {what} to your account?"):
        raise Fault(f"{what} was not signed in; say --yes to do so, or --deny to turn it away.")
    session.run(_answer(code, approve=not deny))
    text = f"{waiting.device_name} is {'turned away' if deny else 'signed in'}."
    output.give({"device": waiting.device_name, "approved": not deny}, text="" if output.mode.quiet else text)


async def _look(code: str) -> DeviceWaiting:
    async with session.api() as api:
        return await api.look_at_device_code(code)


async def _answer(code: str, *, approve: bool) -> None:
    async with session.api() as api:
        await api.approve_device_code(code, approve=approve)
