"""Runs one script: users, mishaps, faults, then rest; and the claims that must hold.

Invariant: the same script gives the same trace, in any process; a script that fails says which claim.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from satchel.core.messages import PROTOCOL_VERSION
from satchel.device.drive import drive
from satchel.simulation.broken import Broken
from satchel.simulation.browsing import Browsers
from satchel.simulation.claims import (
    Whole,
    by_namespace,
    check_alone,
    check_gentle,
    check_moves,
    check_quiet,
    check_shared,
    last_seq,
    twins,
    whole,
)
from satchel.simulation.core_remote import snapshot_of
from satchel.simulation.script import (
    GENTLE,
    Act,
    Afar,
    Backup,
    Choice,
    Cross,
    Glimpse,
    Hints,
    Late,
    Mark,
    Mishap,
    Over,
    Restore,
    Roll,
    Script,
    Sharing,
    Snare,
    Step,
    Wait,
    script,
)
from satchel.simulation.sharing import Sharings
from satchel.simulation.users import Users, allow_deletions
from satchel.simulation.world import SimDevice, World

REST_S = 4_000.0
JUMPS_S = (-3_600, 3_600, 86_400, -86_400, 10 * 365 * 86_400, -10 * 365 * 86_400)
ALONE = 3
"""How often one user acts alone at the end."""
AT_LAST = b"made at last"
SAVED_AT_LAST = 3_000_000
LOOKING_S = (0.0, 0.0005, 0.001, 0.002, 0.004)
LOOKS = 40
LOOK_EVERY_S = 0.01
LOOK_APART_S = 0.5
BACK_S = (0.0, 0.01, 0.3, 1.0, 1.9, 2.1, 2.5, 5.0)
"""So long after its deletion a folder is brought back: devices let it go after 2 s."""
COMES_S = 60.0
"""Within so long a folder comes from another device."""
LOOKED_S = (0.0, 0.002, 0.004, 0.01, 0.02, 0.03, 0.06)
"""So long a look at two folders has been under way when they change places."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gives: its trace's hash, operations, scheduler steps, and which faults struck how often."""

    trace: str
    operations: int
    steps: int
    fired: Counter[str]


def run_seed(seed: int, *, operations: int = 40, has_mounts: bool = False) -> Outcome:
    """Run one seed. Raises: Broken with the claim that failed."""
    return run(script(seed, operations=operations, has_mounts=has_mounts))


def run(case: Script, lines: list[str] | None = None) -> Outcome:
    """Run a script. lines: gets the trace. Raises: Broken; any other exception is a finding too."""
    world = World(case, lines)
    play(world, case)
    return outcome(world, case)


def outcome(world: World, case: Script) -> Outcome:
    """Return what the run has given so far."""
    return Outcome(world.trace_hash, case.operations, world.scheduler.steps, world.faults.fired)


def play(world: World, case: Script) -> None:
    """Let the script happen in its world, then rest. Raises: Broken; any other exception is a finding too."""
    users = Users(world)
    world.meddle = _meddler(users)
    world.scheduler.run_until(world.is_settled, limit_s=60.0)
    world.faults.rate = case.rate
    browsers = Browsers(world, users)
    sharings = Sharings(world, lambda: len(users.written_by))
    for step in case.steps:
        if isinstance(step, Sharing):
            sharings.do(step)
        elif isinstance(step, Afar):
            browsers.do(step)
        else:
            _do(world, users, step)
    if world.faults.fired["late_write"]:
        world.scheduler.run_for(700.0)
    _rest(world)
    if any(isinstance(step, Choice) for step in case.steps):
        users.take_all_back()
        _settle(world)
        _settle(world)
    check_quiet(world, users)
    if case.is_gentle:
        check_gentle(world)
    if world.has_mounts:
        check_shared(world, users, sharings, is_gentle=case.is_gentle)
        _alone_with_others(world, users, case)
        return
    _saved_here_and_deleted_there(world, users)
    _put_in_place(world, users)
    _swapped_while_looked_at(world, users)
    _moved_in_two_looks(world, users)
    _deleted_and_brought_back(world, users)
    _put_where_another_comes(world, users)
    marks = [step for step in case.steps if isinstance(step, Mark)]
    _alone(world, users, [*[step for step in case.steps if isinstance(step, Act)][-ALONE:], *marks[-1:]])


def _meddler(users: Users) -> Callable[[SimDevice, bytes], None]:
    numbers = iter(range(1_000_000, 2_000_000))
    return lambda device, path: users.meddle(device, path, next(numbers))


def _do(world: World, users: Users, step: Step) -> None:
    match step:
        case Act():
            users.act(step)
        case Late():
            users.late(step)
        case Cross():
            users.cross(step)
        case Choice():
            users.choose(step)
        case Mark():
            users.mark(step)
        case Over():
            users.over(step)
        case Mishap():
            _mishap(world, step)
        case Snare(machine=share, call=call):
            world.machine(_number(world, share))[-1].snare(call)
        case Glimpse(machine=share):
            for device in world.machine(_number(world, share)):
                device.glimpse()
        case Backup(what=what, machine=share):
            world.history.take(what, _number(world, share))
        case Restore():
            _restore(world, users, step)
        case Roll(what=what, machine=share, is_old=is_old):
            world.roll(what, _number(world, share), PROTOCOL_VERSION - is_old)
        case Hints(bits):
            for at, device in enumerate(world.devices):
                device.tell(is_heard=bool(bits >> at % 15 & 1), is_full=bool(bits >> (at + 7) % 15 & 1))
        case Wait(seconds):
            world.scheduler.run_for(seconds)


def _mishap(world: World, mishap: Mishap) -> None:
    """Kill and start daemons, cut the power, take the service away, let a clock jump."""
    number = _number(world, mishap.machine)
    machine = world.machine(number)
    match mishap.kind:
        case "server_down" | "server_up":
            world.service.is_down = mishap.kind == "server_down"
            world.faults.fired["server_down"] += world.service.is_down
        case "start":
            _start(machine)
        case "clock_jump":
            world.faults.fired["clock_jump"] += 1
            machine[0].clock.jump_ns += JUMPS_S[int(mishap.value * len(JUMPS_S))] * 10**9
        case "crash" | "power_cut" | "torn_writes" if mishap.value < 0.6:
            machine[-1].arm(mishap.kind, int(mishap.value * 25))
        case kind if machine[0].is_running:
            world.faults.fired[kind] += 1
            world.kill(number, kind, mishap.value)


def _number(world: World, share: float) -> int:
    return int(share * max(device.number for device in world.devices)) + 1


def _restore(world: World, users: Users, step: Restore) -> None:
    """Put back what was taken. What only the machine knew, and did since, is gone with it."""
    number = _number(world, step.machine)
    if not world.history.holds(step.what):
        return
    if step.what == "device":
        users.lose_what_is_only_on(world.machine(number))
    world.faults.fired[f"{step.what}_restored"] += 1
    world.history.put_back(step.what, number, is_told=step.is_told)
    if step.what == "service":
        users.lose_what_the_service_had()


def _start(machine: list[SimDevice]) -> None:
    for device in machine:
        if not device.is_running:
            device.start()


def _rest(world: World) -> None:
    """End all faults and let everything settle."""
    world.faults.rate = 0.0
    world.service.is_down = False
    for device in world.devices:
        device.end_troubles()
    _start(world.devices)
    if world.marking:
        # What an older side does not keep waits until it is replaced.
        world.roll("service", 0, PROTOCOL_VERSION)
        for number in range(1, max(device.number for device in world.devices) + 1):
            world.roll("device", number, PROTOCOL_VERSION)
    # What was slow when the faults ended is over by then, a stream being opened too.
    world.scheduler.run_for(130.0 if world.faults.rate_later else 1.0)
    for _ in range(2):
        _settle(world)


def _settle(world: World) -> None:
    for device in world.devices:
        device.hint_all()
    _come_to_rest(world)


def _come_to_rest(world: World) -> None:
    world.scheduler.run_for(1.0)
    if world.scheduler.run_until(world.is_settled, limit_s=REST_S):
        return
    if not allow_deletions(world) or not world.scheduler.run_until(world.is_settled, limit_s=REST_S):
        raise Broken("all come to rest", [_why(device) for device in world.devices])


def _alone(world: World, users: Users, acts: list[Act | Mark]) -> None:
    """One user at a time, from rest to rest: now with a look at all on each device, now with what the watcher tells of
    it alone, at once, so that files are read just after they were written and at no later time."""
    for number, act in enumerate(acts):
        _do(world, users, act)
        actor = world.devices[int(act.place * len(world.devices))]
        left = _trees(world, actor)
        if twins(left[0]):
            # They get another name, and that is right.
            return
        if number % 2:
            actor.hint_all()
            world.scheduler.run_for(1.0)
            _settle(world)
        else:
            _told(world, actor)
        check_alone(left, _trees(world, actor))
        check_quiet(world, users)


def _told(world: World, actor: SimDevice) -> None:
    """The watcher tells what one user did, and all come to rest by that. Raises: Broken when they do not."""
    actor.tell(is_heard=True, is_full=False)
    _come_to_rest(world)


def _saved_here_and_deleted_there(world: World, users: Users) -> None:
    """One user saves two files, one after the other, and the watcher tells at once, so each is read just after it was
    written and at no later time; then another user deletes their folder. Raises: Broken unless it is gone."""
    device = world.devices[0]
    mate = next((one for one in world.devices[1:] if one.ns == device.ns), None)
    if mate is None or AT_LAST in device.user.tree():
        return
    for number in (1, 2):
        users.save(device, AT_LAST + b"/%d" % number, SAVED_AT_LAST + number)
        _told(world, device)
    users.delete(mate, AT_LAST)
    left = _trees(world, mate)
    _told(world, mate)
    check_alone(left, _trees(world, mate))
    check_quiet(world, users)


def _put_in_place(world: World, users: Users) -> None:
    """One user puts a folder in the place of another while files are written in it; or two, one after the other, the
    old ones aside and away, as installers do. What the watcher tells comes while the look at the last of it is under
    way, or not, and now and then the service is gone. Raises: Broken unless all comes out so everywhere."""
    device = world.devices[0]
    old, made = AT_LAST + b" in place", AT_LAST + b" beside"
    tree = device.user.tree()
    if old in tree or made in tree:
        return
    users.save(device, old + b"/deep/old", SAVED_AT_LAST + 3)
    users.save(device, made + b"/deep/one", SAVED_AT_LAST + 4)
    _told(world, device)
    users.save(device, made + b"/deep/more/two", SAVED_AT_LAST + 5)
    device.tell(is_heard=True, is_full=False)
    world.scheduler.run_for(LOOKING_S[len(tree) % len(LOOKING_S)])
    if len(tree) % 2:
        users.delete(device, old)
        users.rename(device, made, old)
        users.save(device, old + b"/deep/later/three", SAVED_AT_LAST + 6)
    else:
        _put_in_place_twice(world, users, old, made)
    left = _trees(world, device)
    device.tell(is_heard=True, is_full=False)
    world.scheduler.run_for(3.0)
    world.service.is_down = False
    _come_to_rest(world)
    check_alone(left, _trees(world, device))
    check_quiet(world, users)


def _put_in_place_twice(world: World, users: Users, old: bytes, made: bytes) -> None:
    device, aside = world.devices[0], old + b" out"
    names = len(device.user.tree())
    users.rename(device, old, aside)
    users.rename(device, made, old)
    users.save(device, old + b"/deep/later/three", SAVED_AT_LAST + 6)
    device.tell(is_heard=True, is_full=False)
    world.scheduler.run_for(LOOKING_S[names // 5 % len(LOOKING_S)])
    world.service.is_down = bool(names // 25 % 2)
    world.scheduler.run_for(LOOKING_S[names // 7 % len(LOOKING_S)])
    users.delete(device, aside)
    users.save(device, made + b"/deep/four", SAVED_AT_LAST + 7)
    users.rename(device, old, aside)
    users.rename(device, made, old)
    device.tell(is_heard=True, is_full=False)
    world.scheduler.run_for(LOOKING_S[names // 3 % len(LOOKING_S)])
    users.delete(device, aside)


def _swapped_while_looked_at(world: World, users: Users) -> None:
    """One user lets two folders change places while his own device looks into them, and then all others do over and
    over. Raises: Broken unless it comes out so everywhere, and is all that anybody has sent."""
    device = world.devices[0]
    mates = [one for one in world.devices[1:] if one.ns == device.ns]
    one, other, between = (AT_LAST + b" " + name for name in (b"one", b"other", b"between"))
    tree = device.user.tree()
    if any(name in tree for name in (one, other, between)):
        return
    for number, folder in enumerate((one, one + b"/deep", other, other + b"/deep")):
        users.save(device, folder + b"/same", SAVED_AT_LAST + 10 + number)
        users.save(device, folder + b"/%d" % number, SAVED_AT_LAST + 20 + number)
    _told(world, device)
    seq = last_seq(device)
    device.look_into(one, other)
    world.scheduler.run_for(LOOKED_S[len(tree) % len(LOOKED_S)])
    for source, target in ((one, between), (other, one), (between, other)):
        users.rename(device, source, target)
    left = _trees(world, device)
    device.tell(is_heard=True, is_full=False)
    for _ in range(LOOKS):
        world.scheduler.run_for(LOOK_EVERY_S)
        for mate in mates:
            mate.look_into(one, other)
    _come_to_rest(world)
    check_alone(left, _trees(world, device))
    check_quiet(world, users)
    check_moves(device, seq, {name.decode() for name in (one, other, between)})


def _moved_in_two_looks(world: World, users: Users) -> None:
    """One user moves a folder; the watcher tells of its old name, and a moment later of the new one. Raises: Broken
    unless that it moved is all that is sent: told as gone and as new, it would lose what the service knows of it."""
    device = world.devices[0]
    old, new = AT_LAST + b" from", AT_LAST + b" to"
    tree = device.user.tree()
    if old in tree or new in tree:
        return
    users.save(device, old + b"/deep/one", SAVED_AT_LAST + 30)
    users.save(device, old + b"/two", SAVED_AT_LAST + 31)
    _told(world, device)
    seq = last_seq(device)
    users.rename(device, old, new)
    left = _trees(world, device)
    for name in (old, new):
        device.look_at(name)
        world.scheduler.run_for(LOOK_APART_S)
    _come_to_rest(world)
    check_alone(left, _trees(world, device))
    check_moves(device, seq, {new.decode()})


def _deleted_and_brought_back(world: World, users: Users) -> None:
    """On the service, as in a browser, a folder is deleted and brought back with all in it, before or after the devices
    have let it go. Raises: Broken unless it stands everywhere as it was."""
    device = world.devices[0]
    folder = AT_LAST + b" back"
    tree = device.user.tree()
    if folder in tree:
        return
    for number, name in enumerate((b"/one", b"/deep/two", b"/deep/er/three")):
        users.save(device, folder + name, SAVED_AT_LAST + 40 + number)
    _told(world, device)
    left = _trees(world, device)
    entry = next(entry for entry in snapshot_of(device.core, device.ns) if entry.name == folder.decode())
    drive(device.core.delete(device.ns, entry.node_id, last_seq(device)))
    world.tell_streams(device.ns)
    world.scheduler.run_for(BACK_S[len(tree) % len(BACK_S)])
    drive(device.core.bring_back(device.ns, entry.node_id))
    world.tell_streams(device.ns)
    _come_to_rest(world)
    check_alone(left, _trees(world, device))
    check_quiet(world, users)


def _put_where_another_comes(world: World, users: Users) -> None:
    """A folder comes to a device, and its user puts one of the same name there: before the device has made it, or over
    the empty one that it made, or, as installers do, with that one aside. Raises: Broken unless all end equal."""
    device = world.devices[0]
    mate = next((one for one in world.devices[1:] if one.ns == device.ns), None)
    folder, made, aside = AT_LAST + b" comes", AT_LAST + b" coming", AT_LAST + b" aside"
    tree = device.user.tree()
    if mate is None or any(name in tree for name in (folder, made, aside)):
        return
    for number, name in enumerate((b"/own", b"/same", b"/deep/own", b"/deep/same")):
        users.save(mate, made + name, SAVED_AT_LAST + 60 + number)
    _told(world, mate)
    for number, name in enumerate((b"/one", b"/same", b"/deep/two", b"/deep/same", b"/deep/er/three")):
        users.save(device, folder + name, SAVED_AT_LAST + 70 + number)
    device.tell(is_heard=True, is_full=False)
    world.scheduler.run_until(lambda: mate.is_placing(folder) or mate.user.has(folder), limit_s=COMES_S)
    world.scheduler.run_for(LOOKING_S[len(tree) % len(LOOKING_S)])
    there = mate.user.tree()
    if any(path.startswith(folder + b"/") for path in there):
        users.rename(mate, folder, aside)
    users.rename(mate, made, folder)
    mate.tell(is_heard=True, is_full=False)
    world.scheduler.run_for(LOOKED_S[len(tree) % len(LOOKED_S)])
    if aside in mate.user.tree():
        users.delete(mate, aside)
    _told(world, mate)
    check_quiet(world, users)


def _alone_with_others(world: World, users: Users, case: Script) -> None:
    """One user at a time moves things over the edge, or makes some, where he may: his own tree is as he left it."""
    acts = [step for step in case.steps if isinstance(step, Act) and step.kind in GENTLE][-ALONE:]
    moves = [step for step in case.steps if isinstance(step, Over) and step.kind not in ("make", "delete")][-ALONE:]
    steps: list[Act | Over] = [*acts, *moves]
    for step in steps:
        actor = world.devices[int(step.place * len(world.devices))]
        if not all(drive(actor.core.rights()).values()):
            continue
        _do(world, users, step)
        actor = users.actor
        left = whole(actor.user)
        if twins(left) or not all(drive(actor.core.rights()).values()):
            return
        actor.hint_all()
        world.scheduler.run_for(1.0)
        _settle(world)
        check_alone([left], [whole(actor.user)])
        check_quiet(world, users)


def _trees(world: World, actor: SimDevice) -> list[Whole]:
    """Return the actor's tree, and those of the other namespaces."""
    return [whole(actor.user)] + [whole(mates[0].user) for mates in by_namespace(world) if mates[0].ns != actor.ns]


def _why(device: SimDevice) -> str:
    if device.run is None:
        return f"D{device.number} does not run"
    state = device.engine.state
    names = (
        "busy",
        "fresh",
        "waiting",
        "stalled",
        "deleting",
        "after_scan",
        "retry_at",
        "held_back",
        "hints",
        "later_hints",
    )
    told = {name: getattr(state, name) for name in names if getattr(state, name)}
    inner = [] if device.daemon is None else [str(one) for one in device.daemon.why()]
    return f"{state.identity.device_name} {state.phase} {state.halted} {told} held={state.index.held(5)} {inner}"
