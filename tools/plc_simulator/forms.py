"""What each message of a station must look like, by docs/plc.md: the PLC's own reading of the page.

Fields that are not known are allowed (1.x may add some) as long as the object stays flat; what the page names must be
there with its type. No code of the station is used.
"""

from __future__ import annotations

import json
import re
from typing import Any

LIMITS_BYTES = {"result": 512, "state": 512, "ack": 512, "event": 512}
RETAINED = {"state", "counters", "info"}  # everything else is never stored by the broker
SEQ_MAX = 2_147_483_647
UNDER_WAY_MAX = 64  # parts that are counted and have no verdict yet
VERDICTS = ("PASS", "FAIL", "NOT_INSPECTED")
CODES = {
    *(0, 100, 101, 102, 103, 104, 200, 201, 202, 203, 204, 300, 301, 302, 303, 304, 305),
    *(400, 401, 402, 403, 404, 500, 501, 502, 900),
}
STATES = {
    **{"CLEARING": 1, "STOPPED": 2, "STARTING": 3, "IDLE": 4, "SUSPENDED": 5, "EXECUTE": 6, "STOPPING": 7},
    **{"ABORTING": 8, "ABORTED": 9, "HOLDING": 10, "HELD": 11, "UNHOLDING": 12, "SUSPENDING": 13},
    **{"UNSUSPENDING": 14, "RESETTING": 15, "COMPLETING": 16, "COMPLETE": 17},
}
_PATTERNS = {
    "schema": re.compile(r"1\.[0-9]+\Z"),
    "boot": re.compile(r"[0-9a-f]{4}\Z"),
    "config": re.compile(r"([0-9a-f]{8})?\Z"),
    "utc": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z\Z"),
    "id": re.compile(r"[ !#-\[\]-~]{0,32}\Z"),
    "record": re.compile(r"[a-z0-9_-]+-[0-9]+(-late)?\Z"),
}


def _fields(text: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in text.split())  # type: ignore[misc]


RESULT = _fields(
    "schema:schema seq:seq boot:boot part_id:id cmd_id:id attempt:count verdict:verdict code:code reason:text cls:text "
    "score:float thr:float recipe:count rev:count ts:utc t_ms:count deadline_ms:count sim:bool dup:bool"
)
FIELDS = {
    "result": RESULT,
    "state": _fields(
        "schema:schema ts:utc state:state state_nr:count ready:bool busy:bool recipe:count rev:count code:code "
        "text:text fault:bool warn:bool sim:bool queue:count boot:boot seq:count uptime_s:count"
    ),
    "hb": _fields("n:count ready:bool state:state seq:count"),
    "ack": _fields(
        "schema:schema cmd_id:id cmd:text phase:phase ok:bool code:code text:text seq:count recipe:count rev:count"
    ),
    "event": _fields("schema:schema ts:utc level:level code:code text:text"),
    "counters": _fields(
        "schema:schema ts:utc boot:boot total:count pass:count fail:count not_inspected:count late:count"
    ),
    "info": _fields(
        "schema:schema ts:utc contract:schema product:text version:text serial:text station:text boot:boot "
        "recipes:text commands:text id_max:count command_max_bytes:count result_max_bytes:count deadline_min_ms:count "
        "deadline_max_ms:count"
    ),
    "record": {
        **RESULT,
        **_fields(
            "id:record late:bool image:text text:text station:text source:text trigger_ts:utc recipe_name:text "
            "recipe_sha:text models:object stages_us:object checks_total:count checks:list defects_total:count "
            "defects:list frames:list"
        ),
    },
}
OPTIONAL = {"cfg": "config", "golden_ok": "bool", "golden_age_s": "age"}
WILL = {"schema": "1.0", "state": "OFFLINE", "ready": False, "code": 900}


def read(topic: str, payload: bytes) -> tuple[dict[str, Any], list[str]]:
    """The members of a message ({} when it can't be read) and everything that is wrong with it."""
    limit = LIMITS_BYTES.get(topic)
    if limit is not None and len(payload) > limit:
        return {}, [f"{len(payload)} bytes, allowed {limit}"]
    odd: list[str] = []
    try:
        text = payload.decode("ascii")
        tree = json.loads(
            text,
            object_pairs_hook=lambda pairs: _members(pairs, odd),
            parse_float=lambda number: _real(number, odd),
            parse_constant=lambda word: odd.append(f"the number {word}"),
        )
    except (ValueError, RecursionError) as error:
        return {}, [f"no ASCII JSON: {error}"[:100]]
    if not isinstance(tree, dict):
        return {}, ["no JSON object"]
    if "\n" in text or "\r" in text:
        odd.append("more than one line")
    if topic == "state" and tree.get("state") == "OFFLINE":
        return tree, odd + ([] if tree == WILL else ["the will is not as on the page"])
    for name, kind in FIELDS[topic].items():
        if name not in tree:
            odd.append(f"{name} is missing")
        elif complaint := _complaint(kind, tree[name]):
            odd.append(f"{name}: {complaint}")
    for name, value in tree.items():
        if name in OPTIONAL and (complaint := _complaint(OPTIONAL[name], value)):
            odd.append(f"{name}: {complaint}")
        elif topic != "record" and (value is None or isinstance(value, (dict, list))):
            odd.append(f"{name}: not flat")
    return tree, odd or _together(topic, tree)


def _together(topic: str, tree: dict[str, Any]) -> list[str]:
    """What two fields must say alike."""
    odd = []
    if topic in ("result", "record"):
        if (tree["verdict"] == "PASS") != (tree["code"] == 0):
            odd.append(f"{tree['verdict']} with code {tree['code']}")
        if tree["verdict"] != "NOT_INSPECTED" and not tree.get("cfg", tree.get("config", "-")):
            odd.append(f"{tree['verdict']} without a configuration")
        if tree["seq"] < 1 or tree["attempt"] < 1:
            odd.append("seq and attempt begin at 1")
    elif topic == "state":
        if STATES[tree["state"]] != tree["state_nr"]:
            odd.append(f"{tree['state']} has number {tree['state_nr']}")
        if tree["ready"] and tree["state"] != "EXECUTE":
            odd.append(f"ready in {tree['state']}")
    elif topic == "hb" and tree["ready"] and tree["state"] != "EXECUTE":
        odd.append(f"ready in {tree['state']}")
    elif topic == "ack" and tree["ok"] != (tree["phase"] != "refused"):
        odd.append(f"ok {tree['ok']} with {tree['phase']}")
    elif topic == "counters":
        open_parts = tree["total"] - tree["pass"] - tree["fail"] - tree["not_inspected"]
        if not 0 <= open_parts <= UNDER_WAY_MAX:
            odd.append(f"total {tree['total']} is not the sum")
    return odd


def _complaint(kind: str, value: object) -> str:
    if not _right(kind, value):
        return f"found {value!r}"[:60]
    return ""


def _right(kind: str, value: object) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    pattern = _PATTERNS.get(kind)
    if pattern is not None:
        return isinstance(value, str) and pattern.match(value) is not None
    if kind in ("count", "seq"):
        return whole and int(kind == "seq") <= value <= SEQ_MAX  # type: ignore[operator]
    if kind == "age":
        return whole and -1 <= value <= SEQ_MAX  # type: ignore[operator]
    if kind == "code":
        return whole and (value in CODES or 1000 <= value <= 9999)  # type: ignore[operator]
    words = {"verdict": VERDICTS, "state": STATES, "phase": ("accepted", "done", "refused")}
    words["level"] = ("info", "warn", "alarm")
    if kind in words:
        return isinstance(value, str) and value in words[kind]
    return isinstance(value, {"text": str, "float": float, "bool": bool, "object": dict, "list": list}[kind])


def _members(pairs: list[tuple[str, Any]], odd: list[str]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        odd.append("a name comes twice")
    return members


def _real(number: str, odd: list[str]) -> float:
    if "e" in number.lower():
        odd.append(f"the number {number}")
    return float(number)
