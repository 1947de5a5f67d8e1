"""What else a PLC sends while parts pass, right and wrong, and that each has its one answer.

Commands that must be done, that must be refused, triggers that come twice, with other content, or garbled. An answer
that does not come is the station's fault unless the link or the station was away since the command was sent.
"""

from __future__ import annotations

import json
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tools.plc_simulator.rule import Slot, Watch
from tools.plc_simulator.wire import Wire
from tools.plc_simulator.witness import Witness

LIMIT_NS = 10_000_000_000
SLOW_LIMIT_NS = 30_000_000_000  # a recipe, a self-test
SILENT_NS = 1_600_000_000  # between two heartbeats: something was away
AGAIN_NS = 2_000_000_000  # until a start, a golden part or an empty retained message is due
UNKNOWN_RECIPE = 9998
OTHERS_KEPT = 10_000


@dataclass
class Asked:
    """A command of ours and what it waits for. ``phases``: how it may end; ``codes``: of a refusal."""

    name: str
    sent_ns: int
    limit_ns: int
    phases: tuple[str, ...]
    codes: tuple[int, ...] = ()
    check: Callable[[dict[str, Any]], str] | None = None  # what is wrong with its final answer
    accepted: bool = False
    final: bool = False


@dataclass(frozen=True)
class Rates:
    """``any_hz``: commands a second of all kinds; the other two: seconds between, 0 for never."""

    any_hz: float = 0.0
    change_every_s: float = 0.0
    golden_every_s: float = 0.0
    recipes: tuple[int, ...] = (1, 2)


class Mischief:
    """One of the line's extras: see :class:`tools.plc_simulator.line.Extra`."""

    def __init__(self, rates: Rates, wire: Wire, watch: Watch, witness: Witness, run_id: str, seed: int) -> None:
        self.sums: Counter[str] = Counter()
        self.other_triggers: deque[str] = deque(maxlen=OTHERS_KEPT)
        self._rates, self._wire, self._watch, self._witness = rates, wire, watch, witness
        self._run_id, self._random = run_id, random.Random(seed)
        self._count = 0
        self._asked: dict[str, Asked] = {}
        self._past: dict[str, str] = {}  # cmd_ids that are done with, and the name
        self._triggers: deque[tuple[str, str, bytes]] = deque(maxlen=200)  # cmd_id, part_id, payload
        self._again: dict[str, int] = {}  # triggers sent again, until their copy has come
        self._refusals: dict[tuple[str, int], int] = {}  # (part_id, code) of triggers that must be refused
        self._golden: tuple[str, str] = ("", "")  # command and the trigger behind it
        self._golden_open = False  # accepted, nothing found yet: the next part is no product
        self._disturbed_ns = 0
        self._now_ns = 0
        self._state: dict[str, Any] = {}
        self._due = {"any": 0, "change": 0, "golden": 0, "start": 0, "clear": 0, "repair": 0}
        self._repair = ""  # what the golden part that failed must be
        self._kinds: list[Callable[[], None]] = [
            self._send_again, self._send_again, self._other_content, self._garbled, self._not_json, self._get,
            self._get_unknown, self._no_recipe, self._stop, self._selftest, self._retained,
        ]  # fmt: skip

    # --- called by the line
    def tend(self, now_ns: int) -> None:
        """What is due is sent, what waits too long is found."""
        if not self._due["any"]:
            self._due = {name: now_ns + self._gap_ns(name) for name in ("any", "change", "golden")}
            self._due |= {"start": 0, "clear": 0, "repair": 0}
        self._now_ns = now_ns
        heard = self._watch.heartbeat_ns
        if not self._watch.link or heard is None or now_ns - heard > SILENT_NS:
            self._disturbed_ns = now_ns
        self._expire()
        if not self._watch.link or heard is None:
            return
        if self._due["clear"] and now_ns >= self._due["clear"]:
            self._due["clear"] = 0
            self._wire.publish("cmd/get", b"", retain=True)
        if self._state.get("state") == "STOPPED" and now_ns >= self._due["start"]:
            self._due["start"] = now_ns + AGAIN_NS
            self._ask("start", {}, ("done", "refused"))
        if self._rates.any_hz and now_ns >= self._due["any"]:
            self._due["any"] = now_ns + self._gap_ns("any")
            self._random.choice(self._kinds)()
        if self._rates.change_every_s and now_ns >= self._due["change"]:
            self._due["change"] = now_ns + self._gap_ns("change")
            self._change()

    def before(self, good: bool, now_ns: int) -> None:
        """A part comes before the camera: it may become the golden part."""
        expect = "PASS" if good else "FAIL"
        # the station is not ready until the golden part that failed has been shown again and passed
        failed = self._state.get("code") == 501 and self._repair in ("", expect)
        due = now_ns >= self._due["repair" if failed else "golden"]
        if not self._watch.link or self._golden_open or not due or not self._rates.golden_every_s:
            return
        self._due["golden"], self._due["repair"] = now_ns + self._gap_ns("golden"), now_ns + AGAIN_NS
        cmd_id = self._ask("golden", {"expect": expect}, ("done", "refused"), check=self._golden_found)
        self._golden = (cmd_id, "")

    def sent(self, slot: Slot, payload: bytes) -> None:
        """A trigger went out."""
        self._triggers.append((slot.cmd_id, slot.part_id, payload))
        if self._golden[0] and not self._golden[1]:
            self._golden = (self._golden[0], slot.cmd_id)

    def heard(self, topic: str, members: dict[str, Any]) -> None:
        """A message whose form is right."""
        if topic == "ack":
            self._answered(members)
        elif topic == "result":
            self._told(members)
        elif topic == "state":
            self._state = members
        elif topic == "info":
            self._disturbed_ns = self._now_ns  # the station was away
            self._golden_open = False

    def summary(self) -> dict[str, int]:
        """Sums by what was sent and what came of it."""
        return dict(sorted(self.sums.items()))

    # --- what is sent
    def _ask(
        self, name: str, fields: dict[str, Any], phases: tuple[str, ...], *, codes: tuple[int, ...] = (),
        check: Callable[[dict[str, Any]], str] | None = None, slow: bool = False, retain: bool = False,
    ) -> str:  # fmt: skip
        self._count += 1
        cmd_id = f"{self._run_id}-c{self._count:06d}"
        payload = json.dumps({"schema": "1.0", "cmd_id": cmd_id, **fields}).encode()
        if self._wire.publish(f"cmd/{name}", payload, retain=retain):
            self.sums[f"{name} sent"] += 1
            limit_ns = SLOW_LIMIT_NS if slow else LIMIT_NS
            self._asked[cmd_id] = Asked(name, self._now_ns, limit_ns, phases, codes, check)
        return cmd_id

    def _answered_trigger(self) -> tuple[str, str, bytes] | None:
        known = [one for one in self._triggers if self._witness.answered(one[0])]
        return self._random.choice(known) if known else None

    def _send_again(self) -> None:
        found = self._answered_trigger()
        if found is not None and self._wire.publish("cmd/trigger", found[2]):
            self._witness.sent(found[0], found[1], self._now_ns, 0)
            self._again[found[0]] = self._now_ns
            self.sums["trigger sent again"] += 1

    def _other_content(self) -> None:
        found = self._answered_trigger()
        if found is None or found[0] in self._asked:
            return
        self._count += 1
        part_id = f"X{self._count:06d}"
        fields = {"schema": "1.0", "cmd_id": found[0], "part_id": part_id}
        if self._wire.publish("cmd/trigger", json.dumps(fields).encode()):
            self.sums["trigger with other content"] += 1
            self._past.pop(found[0], None)  # its cmd_id may be used so more than once
            self._asked[found[0]] = Asked("trigger", self._now_ns, LIMIT_NS, ("refused",), (404,))
            self._refusals[part_id, 404] = self._now_ns

    def _garbled(self) -> None:
        self._count += 1
        part_id = f"X{self._count:06d}"
        wrong = self._random.choice([{"deadline_ms": 5}, {"deadline_ms": "soon"}, {"deadline_ms": None}])
        self._ask("trigger", {"part_id": part_id, **wrong}, ("refused",), codes=(400,))
        self._refusals[part_id, 400] = self._now_ns

    def _not_json(self) -> None:
        junk = self._random.choice([b"", b"trigger", b"[1,2]", b'{"schema":"1.0"', b"\xff\xfe", b"{}" * 100])
        self.sums["junk sent"] += self._wire.publish("cmd/trigger", junk)

    def _get(self) -> None:
        if not self._witness.by_seq:
            return
        seq = self._random.choice(list(self._witness.by_seq)[-300:])
        part_id, _, verdict, code = self._witness.by_seq[seq][:4]

        def check(answer: dict[str, Any]) -> str:
            got = tuple(answer.get(key) for key in ("seq", "part_id", "verdict", "verdict_code"))
            return "" if got == (seq, part_id, verdict, code) else f"told {(seq, part_id, verdict, code)}, got {got}"

        self._ask("get", {"seq": seq}, ("done",), check=check)

    def _get_unknown(self) -> None:
        self._ask("get", {"seq": 2_000_000_000}, ("refused",))

    def _no_recipe(self) -> None:
        self._ask("recipe", {"recipe": UNKNOWN_RECIPE}, ("refused",), codes=(403,), slow=True)

    def _change(self) -> None:
        now = self._state.get("recipe")
        number = next((n for n in self._rates.recipes if n != now), self._rates.recipes[0])

        def check(answer: dict[str, Any]) -> str:
            wrong = answer["phase"] == "done" and answer["recipe"] != number
            return f"asked for recipe {number}, done with {answer['recipe']}" if wrong else ""

        self._ask("recipe", {"recipe": number}, ("done", "refused"), check=check, slow=True)

    def _stop(self) -> None:
        self._ask("stop", {}, ("done", "refused"))

    def _selftest(self) -> None:
        self._ask("selftest", {}, ("done", "refused"), slow=True)

    def _retained(self) -> None:
        """The broker keeps it, and hands it to the station whenever that connects: refused then, without a mark now."""
        if not self._due["clear"] and self._witness.by_seq:
            self._ask("get", {"seq": next(reversed(self._witness.by_seq))}, ("done", "refused"), retain=True)
            self._due["clear"] = self._now_ns + AGAIN_NS

    # --- what comes
    def _answered(self, ack: dict[str, Any]) -> None:
        cmd_id = ack["cmd_id"]
        if not cmd_id or ack["code"] == 401:
            return  # what could not be read has no cmd_id; what the broker kept is refused at each connect
        asked = self._asked.get(cmd_id)
        if asked is None:
            if cmd_id in self._past:
                self._witness.fault("ack_twice", f"{self._past[cmd_id]} {cmd_id}: {ack['phase']} {ack['code']}")
            elif cmd_id.startswith(self._run_id + "-c"):
                self._witness.fault("ack_unasked", f"{cmd_id}: {ack['cmd']} {ack['phase']} {ack['code']}")
            return
        if ack["phase"] == "accepted":
            if asked.accepted:
                self._witness.fault("ack_twice", f"{asked.name} {cmd_id}: accepted twice")
            asked.accepted = True
            self._golden_open |= asked.name == "golden"
            return
        wrong_code = ack["phase"] == "refused" and asked.codes and ack["code"] not in asked.codes
        if ack["phase"] not in asked.phases or wrong_code:
            self._witness.fault("ack_wrong", f"{asked.name} {cmd_id}: {ack['phase']} {ack['code']} {ack['text']}")
        if asked.check is not None and (wrong := asked.check(ack)):
            self._witness.fault("ack_wrong", f"{asked.name} {cmd_id}: {wrong}")
        self.sums[f"{asked.name} {ack['phase']}"] += 1
        del self._asked[cmd_id]
        self._past[cmd_id] = asked.name
        if len(self._past) > OTHERS_KEPT:
            del self._past[next(iter(self._past))]

    def _golden_found(self, ack: dict[str, Any]) -> str:
        accepted, self._golden_open = self._golden_open, False
        found = ack.get("found")
        if ack["phase"] == "done":
            self._repair = ""
        elif ack["code"] == 501 and ack["text"].startswith("expected "):
            self._repair = ack["text"].split()[1].rstrip(",")
        if ack["phase"] == "done" and (not accepted or found not in ("PASS", "FAIL")):
            return f"done, found {found!r}"
        return ""

    def _told(self, result: dict[str, Any]) -> None:
        cmd_id, code = result["cmd_id"], result["code"]
        if result["dup"]:
            self._again.pop(cmd_id, None)
            self.sums["trigger answered again"] += 1
            return
        if not cmd_id and code in (300, 400, 404):
            self.sums[f"trigger refused {code}"] += 1
            # at its deadline, when the station's disk takes longer than that: one answer all the same
            for due in (400, 404) if code == 300 else (code,):
                self._refusals.pop((result["part_id"], due), None)
        if code == 502:
            self.sums["golden parts"] += 1
            if not self._golden[0]:
                self._witness.fault("golden", f"{cmd_id} is told as a golden part, none was announced")
        elif cmd_id and cmd_id == self._golden[1] and self._golden_open and result["verdict"] != "NOT_INSPECTED":
            self._witness.fault("golden", f"{cmd_id} is the golden part, its result said {result['verdict']}")

    def _expire(self) -> None:
        for cmd_id, asked in list(self._asked.items()):
            if self._now_ns - asked.sent_ns > asked.limit_ns:
                del self._asked[cmd_id]
                self._past[cmd_id] = asked.name
                self._golden_open &= asked.name != "golden"
                self._unanswered(asked.name, asked.sent_ns, f"{asked.name} {cmd_id}")
        for waiting, what in ((self._again, "the same trigger"), (self._refusals, "the refused trigger")):
            for key, sent_ns in list(waiting.items()):  # type: ignore[attr-defined]
                if self._now_ns - sent_ns > LIMIT_NS:
                    del waiting[key]  # type: ignore[attr-defined]
                    self._unanswered(what, sent_ns, f"{what} {key}")

    def _unanswered(self, name: str, sent_ns: int, text: str) -> None:
        if self._disturbed_ns >= sent_ns:
            self.sums["unanswered, something was away"] += 1
        else:
            self._witness.fault("no_answer", text)

    def _gap_ns(self, name: str) -> int:
        rates = self._rates
        mean = {"any": 1 / rates.any_hz if rates.any_hz else 0, "change": rates.change_every_s}
        mean["golden"] = rates.golden_every_s
        return int(self._random.uniform(0.5, 1.5) * mean[name] * 1e9)
