"""The planted bugs: each a small change of one function of the product, and the rule that it breaks.

Invariant: a bug is text to be replaced in a function's source; where the product changed so that the text is not found
any more, planting fails loudly. Nothing here is reachable from the product. Source: docs/design/040, 030.
"""

from __future__ import annotations

from typing import NamedTuple


class Patch(NamedTuple):
    """Replace `old` by `new` in the source of `module:name`."""

    where: str
    old: str
    new: str


class Bug(NamedTuple):
    """A planted bug. rule: what it breaks."""

    name: str
    rule: str
    patches: tuple[Patch, ...]


def _bug(name: str, rule: str, *patches: tuple[str, str, str]) -> Bug:
    return Bug(name, rule, tuple(Patch(f"satchel.{where}", old, new) for where, old, new in patches))


_DECIDE = "server.metadata.decide:Batch."
_COMMIT = "server.metadata.commit:"
_MERGE = "core.merge:Merge."
_LOCAL = "device.engine.local_facts:"
_UNIT = "device.applier.unit:"
_PLACE = "device.applier.replacing:"

BUGS = (
    # -- the service
    _bug("edit ignores the rev", "an edit expects content_rev",
         (_DECIDE + "_edit", "op.base_rev != old.content_rev", "op.base_rev < 0")),
    _bug("create in a dead folder", "a child never outlives its parent",
         (_DECIDE + "_place_problem", "if facts is None:", "if False:"),
         (_DECIDE + "_place_problem", "_past_limits(facts, name)", "False")),
    _bug("delete sees no others", "a change by another device refuses a delete",
         (_DECIDE + "_delete", "self.view.foreign_seq(op.node_id) > op.seen_seq", "False")),
    _bug("names are not folded", "case twins cannot both be live",
         ("core.paths:name_key", "return name.lower()", "return name")),
    _bug("a name may be taken twice", "unique (ns, parent, name_key)",
         (_DECIDE + "_place_problem", "holder is not None and holder.node_id != node_id", "False")),
    _bug("op ids are forgotten", "the same op id gets its first answer",
         (_COMMIT + "_replayed", "for row in answer}", "for row in answer[:0]}")),
    _bug("cursor off by one", "a reader sees each change once",
         ("server.metadata.journal:rows_question", "seq > $2", "seq > $2 + 1")),
    _bug("the journal forgets the head", "head_seq is written last, with the entries",
         (_COMMIT + "write_batch_txn", "(ns, batch.head_seq, batch.rows[-1].tag)",
          "(ns, batch.head_seq - 1, batch.rows[-1].tag)")),
    _bug("a unit comes back too full", "what lay beneath a revived skeleton stays dead",
         ("server.metadata.decide:_cleared_after_undelete", "return seq", "return old.cleared_before")),
    _bug("metadata before blocks", "a commit names only blocks that are there",
         ("server.metadata.contents:Contents.refusal", "if sizes != one.sizes:", "if False:")),
    _bug("blocks are not verified", "the service hashes what it stores",
         ("server.blocks.service:BlockService._verify",
          "if sum(wire.size for wire, _ in incoming) <= INLINE_HASHING_BYTES_MAX:",
          "if incoming:\n        return\n    if True:")),
    _bug("names are not lifted", "all that leave a name do so before any takes one",
         (_COMMIT + "write_batch_txn", "if left and any(", "if False and any(")),
    _bug("moves may make a circle", "no folder is in itself",
         (_DECIDE + "_moves_problem", 'return Refused("cycle")', "continue")),
    # -- the planner
    _bug("what is new is deleted", "a deletion needs a recorded ancestor",
         (_MERGE + "_decide", "if synced is None or self", "if synced is not None and self")),
    _bug("a deletion beats an edit", "a change beats a deletion",
         (_MERGE + "_survives", " or present.content != synced.content", "")),
    _bug("a conflict is not kept", "both contents of an edit/edit survive",
         (_MERGE + "_merge_content", "self._both_edited.append(nid)", "pass")),
    _bug("survivors get no folder", "folders that survivors need come back",
         (_MERGE + "_revive_folders", "while parent not in alive:", "while False:")),
    _bug("circles are not broken", "of moves in a circle one is taken back",
         (_MERGE + "_break_cycles", "self._revert_one(path[path.index(nid) :])", "safe.update(path)")),
    _bug("clashes are not resolved", "two nodes never share a name",
         (_MERGE + "run", "if names.clashes:", "if False:")),
    _bug("the bit is forgotten", "the executable bit is synced",
         (_MERGE + "_merge_content", "remote.is_executable == synced.is_executable", "False")),
    _bug("nobody waits for a name", "whoever takes a name waits for all that leave it",
         ("core.planner:_Drafts._need_name", "if each is not draft:", "if False:")),
    # -- the engine
    _bug("every entry is one's own", "only own commits set the synced side",
         ("device.engine.pages:is_stated", "is_ours and state.sent.is_own(entry.op_id)",
          "is_flagged(entry.op_id, FROM_DISK)")),
    _bug("recovery deletes", "a device that was restored merges by union",
         ("device.engine.remote_facts:begin_recovery", "state.index.forget_agreements()", "pass")),
    _bug("everybody speaks our version", "a device speaks what the service told",
         ("device.engine.remote_facts:_open_stream", "state.version,", "3,")),
    _bug("unknown is absent", "what cannot be read is not deleted",
         (_LOCAL + "_fold_unknown", "state.index.set_local_unknown(fact.nid)",
          "state.index.clear_local_unit(fact.nid)")),
    _bug("nobody looks again", "swapped-out files are looked at again",
         ("device.engine.late:next_looks", "if state.is_looking_late or", "if True or")),
    # -- the hands
    _bug("the swap is not looked at", "nothing is overwritten unseen",
         (_PLACE + "_swap", "seen is None or not seen.is_as_planned(expected)", "seen is None"),
         (_PLACE + "_swap", "exchange_staged(own, path, expected)", "exchange_staged(own, path)"),
         (_PLACE + "_swap", "if not old.same_file(expected):", "if False:")),
    _bug("a unit goes unseen", "what a folder holds unexpectedly is put back",
         (_UNIT + "_is_expected", "one.name in JUNK_NAMES and one.stat.kind == Kind.FILE", "True")),
    _bug("folders are not fsynced", "rename, fsync the folder, then the synced row",
         ("device.applier.hands:Touched.sync", "await fs.sync_folder(folder)", "pass"),
         # Else what a power cut takes comes back, and nobody sees what it took.
         ("device.engine.power_cuts:note_start", "known != boot or not boot", "False")),
    _bug("staging is thrown away", "a restart returns what was set aside",
         ("device.applier.recovery:empty_staging", "for one in await hands.fs.list_staged():", "for one in ():")),
    # What nobody is sure of is put back, and comes back everywhere.
    _bug("a folder goes at once", "a file that was just written is looked at before its folder goes",
         ("device.engine.placing:_trash", "if young:", "if False:")),
    _bug("hints stay behind", "a hint of a place is one for the folder that is found to have moved there",
         ("device.scanner.hints:Hints.follow", "self._order.extend(self._below(new))", "pass")),
    _bug("a look goes through what moves", "a look tells nothing of what this device moves meanwhile",
         ("device.engine.seen:is_shaken", "if at in state.shaken:", "if False:")),
    _bug("what was missed is new", "what one look misses and the next finds elsewhere has moved",
         ("device.engine.missing:found_again", "if state.gone else None", "if False else None")),
    _bug("what came back stays dead", "what lives again with its folder has a seq from before its death",
         ("device.engine.pages:fold_rows", "(own.is_live or own.seq > seq)", "True")),
    _bug("a name is its folder", "what goes into a new folder goes into none that a user has put at its name",
         ("device.applier.hands:Hands.home", "if folder not in self.homes:", "if True:"),
         ("device.engine.placing:_home", "if row is None else row.stat", "if row is None else None")),
    _bug("the ctime does not matter", "an edit that keeps the mtime is seen",
         ("device.scanner.walk:is_unchanged", "one.ctime_ns == other.ctime_ns", "other.ctime_ns")),
)  # fmt: skip


_MOUNTS = "device.engine.mounts:"
_YIELD = "device.engine.yielding:"
_TURN = "device.index.turning:"
_BOARD = "device.mounted:Board."

MOUNT_BUGS = (
    _bug("one edge, two links", "another folder in its place is another link",
         ("device.mounted:inner_link", "identity_of(inode, birth_ns)", 'b""')),
    _bug("the edge is locked", "of two deletions that wait for each other both may go",
         (_BOARD + "may_delete", " and not (is_wanted and neighbour.waits_at_edge())", "")),
    _bug("an end is a deletion", "what ends is not touched before its own link is done",
         (_MOUNTS + "_bar", "state.snapshot_busy.add(nid)", "return"),
         # Else what it holds unexpectedly keeps it where it is.
         (_UNIT + "_is_expected", "one.name in JUNK_NAMES and one.stat.kind == Kind.FILE", "True")),
    _bug("a mount may be deleted", "deleting a shared folder ends no part in it",
         (_MOUNTS + "_refuse", "state.index.clear_synced([nid])", "pass"),
         (_MOUNTS + "put_back", "state.index.clear_synced(job.nids)", "pass")),
    _bug("an edit may go", "what the service may not have is brought to the own files",
         (_YIELD + "_is_own", "row.synced.content != local.content", "False")),
    _bug("it goes without a note", "what is brought over was noted first",
         (_YIELD + "name_carried", "if name:", "if False:"),
         (_YIELD + "name_carried", "return name", 'return ""')),
    _bug("what moved stays moved", "where one may only look, the service decides where things are",
         (_YIELD + "yield_own", "row.local.place, row.local.attributes)", "row.synced.place, row.local.attributes)")),
    _bug("a deletion stays", "where one may only look, what was deleted comes back",
         (_YIELD + "yield_own", "state.index.set_synced(nid, None)", "pass")),
    _bug("staging is nobody's", "a link is forgotten after what it left is brought over",
         ("device.unsynced:carry_rest", "await staged.list_staged() if staged is not None else ()", "()")),
    _bug("notes are nobody's", "a link is forgotten after what it noted is brought over",
         ("device.unsynced:carry_rest", "load_carried(index) if index is not None else []", "[]"),
         ("device.unsynced:_unnoted", "is_meant(ns)", "False")),
    _bug("what came over is agreed on", "a node that stands on both sides of the edge becomes two",
         (_TURN + "_fill", "made.connection.execute(_NEW_HERE, (json_of(split.came),))", "pass")),
    _bug("what went out is still here", "what stands outside on this disk is gone from the shared folder",
         (_TURN + "_fill", "made.connection.execute(_ABSENT_HERE, (json_of(split.out),))", "pass")),
    _bug("it was agreed on inside", "what was agreed on in the shared folder is so no more",
         (_TURN + "_let_go", "json_of({*split.moved, *split.out, mount})", "json_of(())")),
    _bug("they begin too early", "a link of a shared folder begins after the rows have changed hands",
         ("device.shared_steps:SharedSteps.news", "if self._engine.state.is_turning:", "if False:")),
    _bug("an end is not waited for", "a link whose part ends ends after all was brought away",
         ("device.shared_steps:SharedSteps._has_ended", "self._engine.is_settled and self._engine.is_empty and ", "")),
)  # fmt: skip
"""What holds where shared folders stand on a disk: docs/design/085."""
