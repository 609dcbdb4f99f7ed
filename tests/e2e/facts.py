"""Checks what a lesson claims of a cell against the cell's outputs: the claims that stand in `metadata.threadbook.shows`.

Written from the meaning of the claims and apart from the Rust code that checks the same, so that a slip in one is seen by the other.
"""

from kernel import TIMELINE, plain


def broken_claims(cell):
    """What is not as the cell's lesson says, one sentence each. `cell` is a code cell of a notebook, with its outputs."""
    lesson = cell.metadata.get("threadbook", {})
    errors = [o for o in cell.outputs if o.output_type == "error"]
    expected = lesson.get("expects")
    tags = cell.metadata.get("tags", [])
    if "skip-execution" in tags:
        # A check cell ships as the learner will run it: not yet.
        return ["it should not have been run, and has outputs"] if cell.outputs else []
    red_on_purpose = "raises-exception" in tags
    broken = []
    if errors and not red_on_purpose:
        broken.append(f"it is red: {errors[0].ename}: {errors[0].evalue}")
    if red_on_purpose and len(errors) != 1:
        broken.append(f"it should be red once and has {len(errors)} errors")
    if expected and [e.ename for e in errors] != [expected]:
        broken.append(f"it should end with {expected} and has {[e.ename for e in errors]}")
    for claim in lesson.get("shows", []):
        try:
            holds = check(claim, cell)
        except Unreadable as why:
            broken.append(f"`{claim}`: {why}")
            continue
        if not holds:
            broken.append(f"`{claim}` does not hold in {summary(cell)}")
    return broken


class Unreadable(Exception):
    """The claim or the picture is not what it should be."""


def pictures(cell):
    return [o.data[TIMELINE] for o in cell.outputs if o.output_type in ("display_data", "execute_result") and TIMELINE in o.data]


def printed(cell):
    return "".join(o.text for o in cell.outputs if o.output_type == "stream")


def check(claim, cell):
    verb, _, rest = claim.strip().partition(" ")
    if verb == "prints":
        return rest.strip().strip('"') in plain(printed(cell))
    found = pictures(cell)
    if len(found) != 1:
        raise Unreadable(f"the cell has {len(found)} pictures")
    picture, words = found[0], rest.split()
    if picture.get("version") != 1:
        raise Unreadable(f"the picture has version {picture.get('version')}")
    lanes = {lane["name"]: lane for lane in picture["lanes"]}
    if verb == "lane" and len(words) == 1:
        return words[0] in lanes
    if verb == "lanes" and len(words) == 1:
        return len(picture["lanes"]) == int(words[0])
    if verb in ("spawn", "message", "lock", "wait", "join", "notify", "barrier", "once") and len(words) == 2:
        return any([e["kind"], e["from"], e["to"]] == [verb, *words] for e in picture["edges"])
    if verb == "waits" and len(words) in (2, 3):
        lane = lanes.get(words[0])
        return lane is not None and any(
            wait["reason"] == words[1] and (len(words) == 2 or wait.get("object") == words[2]) for wait in lane["waits"]
        )
    if verb == "concurrent" and len(words) == 2:
        return any(sorted(pair) == sorted(words) for pair in picture["concurrent"])
    if verb == "panicked" and len(words) == 1:
        return words[0] in lanes and lanes[words[0]]["end"] == "panicked"
    if verb == "deadlocked" and len(words) == 1:
        return words[0] in lanes and any(wait.get("deadlocked") is True for wait in lanes[words[0]]["waits"])
    raise Unreadable("this test does not know that claim")


def summary(cell):
    """A picture in a few words, for a message."""
    parts = [f"printed {plain(printed(cell))!r}"]
    for picture in pictures(cell):
        lanes = [f"{lane['name']}({', '.join(w['reason'] for w in lane['waits'])})" for lane in picture["lanes"]]
        edges = [f"{e['kind']} {e['from']}→{e['to']}" for e in picture["edges"]]
        parts.append(f"lanes {lanes}, edges {edges}, concurrent {picture['concurrent']}")
    return "; ".join(parts)
