"""Shortest scripts of seeds that once failed, written out, so that no change of what is drawn loses them."""

from __future__ import annotations

from satchel.simulation.run import run
from satchel.simulation.script import Act, Choice, Cross, Hints, Over, Script, Sharing, Wait


def test_a_file_in_a_folder_that_comes_out_of_what_leaves_arrives() -> None:
    """Two users move two folders into one another, and one of them leaves his own out meanwhile (seed 696).

    The file was not planned while its folder stood in what leaves, and never again.
    """
    steps = (
        Act(0, place=0.76, kind="folder", pick=0.34, into=0.29, name=b"d", size=12),
        Wait(0.005),
        Hints(0x7FF7),
        Wait(3.0),
        Act(28, place=0.37, kind="folder", pick=0.35, into=0.04, name=b"b", size=12),
        Hints(0x7DCB),
        Act(40, place=0.41, kind="folder", pick=0.38, into=0.86, name=b"c.txt", size=12),
        Wait(0.0003),
        Act(44, place=0.03, kind="create", pick=0.28, into=0.35, name=b"d", size=12),
        Act(47, place=0.35, kind="delete", pick=0.93, into=0.09, name=b"b", size=12),
        Cross(place=0.13, pick=0.64, into=0.25, name=b"\xc3\xa9"),
        Choice(place=0.47, pick=0.49, is_out=True),
        Hints(0x66CF),
    )
    run(Script(696, machines=3, namespaces=1, rate=0.0, kinds=frozenset(), steps=steps))


def test_what_leaves_is_not_taken_for_its_users_own_when_its_part_began_and_ended_once_more() -> None:
    """A part ends, begins and ends at once: the link around begins anew, and tells of nothing meanwhile (seed 586).

    The shared folder's own link was taken for one that is gone, and its index was forgotten: all that had been in sync
    was brought to the person's own files.
    """
    steps = (
        Over(-1, place=0.0, kind="make", pick=0.0, into=0.0, name=b"team"),
        Hints(0x7FFF),
        Wait(3.0),
        Sharing("share", pick=0.0, into=0.0),
        Sharing("accept", pick=0.0, into=0.0),
        Wait(40.0),
        Sharing("again", pick=0.13, into=0.68),
        Sharing("remove", pick=0.89, into=0.8),
    )
    run(Script(586, machines=3, namespaces=1, rate=0.0, kinds=frozenset(), steps=steps, has_mounts=True))
