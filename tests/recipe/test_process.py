from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector import wire
from inspector.codes import Code
from inspector.parts import FrameRef, Outcome
from inspector.ring import Ring
from tests.recipe.pictures import mark, part
from tests.recipe.recipes import good, views, write

LIMIT_S = 20.0


class Judge:
    """A real judge process and this side of its socket."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "inspector.recipe.process", "--fd", str(theirs.fileno()), "--threads", "1"]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE)
        theirs.close()
        self.socket = ours
        self._buffer = b""
        self.looked: wire.Looked | None = None  # what followed the last verdict

    def ask(self, message: Any) -> Any:
        self.socket.sendall(wire.encode_to_child(message))
        answer = self._next()
        if isinstance(answer, wire.Judged):
            self.looked = self._next()
            assert isinstance(self.looked, wire.Looked) and self.looked.seq == answer.verdict.part.seq
        return answer

    def _next(self) -> Any:
        until = time.monotonic() + LIMIT_S
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self.socket], [], [], max(0.0, until - time.monotonic()))
            data = self.socket.recv(1 << 16) if ready else b""
            assert data, "no answer"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return wire.decode_from_child(line)

    def close(self) -> None:
        self.socket.close()
        self.process.kill()
        self.process.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    started = Judge()
    yield started
    started.close()


@pytest.fixture(scope="module")
def picture() -> Any:
    return mark([(205.3, 161.7, 6.2)], noise=2.0)


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    made = Ring.create(tmp_path / "top.ring", 2, 400 * 320)
    yield made
    made.close()


def put(ring: Ring, image: Any, slot: int = 0) -> FrameRef:
    generation = ring.write(slot, image)
    return FrameRef(
        "top", 5, str(ring.path), slot, generation, image.shape[1], image.shape[0], "Mono8", 900.0, 0.0, 0, 0, 0
    )


def load(judge: Judge, folder: Path, **change: Any) -> Any:
    return judge.ask(wire.Load(str(write(folder, {**good(), **change}))))


def test_it_answers_pings(judge: Judge) -> None:
    pong = judge.ask(wire.Ping(3))
    assert pong.n == 3 and pong.rss_bytes > 0


def test_load_and_judge(judge: Judge, ring: Ring, picture: Any, tmp_path: Path) -> None:
    loaded = load(judge, tmp_path)
    assert isinstance(loaded, wire.Loaded)
    assert (loaded.number, loaded.rev, loaded.deadline_ms, loaded.cameras) == (7, 1, 200, ())
    answer = judge.ask(wire.Judge(part(sha=loaded.sha), (put(ring, picture),)))
    assert answer.verdict.outcome is Outcome.PASS, answer.verdict.text
    assert answer.verdict.part.seq == 7
    assert answer.verdict.frames[0].frame_id == 5
    assert answer.verdict.health == (), "nobody waits for it"
    assert judge.looked is not None and [h.patch for h in judge.looked.health] == ["picture"]


def test_views_are_asked_for_and_judged(judge: Judge, ring: Ring, tmp_path: Path) -> None:
    loaded = judge.ask(wire.Load(str(write(tmp_path, views()))))
    assert loaded.cameras == ("top",)
    assert [(s.view, s.count, s.exposure_us) for s in loaded.shots["top"]] == [("bright", 1, 800.0), ("dim", 2, 400.0)]
    bright = replace(put(ring, mark([(204.0, 164.0, 0.0)], noise=2.0), 0), view="bright")
    dim = put(ring, mark([(204.0, 164.0, 0.0)], grey=(90.0, 40.0), noise=1.0), 1)
    shots = tuple(replace(dim, view="dim", shot=n) for n in range(2))
    verdict = judge.ask(wire.Judge(part(sha=loaded.sha), (bright, *shots))).verdict
    assert verdict.outcome is Outcome.PASS, verdict.text
    missing = judge.ask(wire.Judge(part(sha=loaded.sha), (bright, shots[1]))).verdict
    assert missing.text == "Not inspected: no picture 1 of 2 of view dim (camera top)"


def test_raw_colour_mosaic_is_decoded_before_tools_see_it(
    judge: Judge, ring: Ring, picture: Any, tmp_path: Path
) -> None:
    loaded = load(judge, tmp_path)
    tinted = picture.astype(np.float32)
    tinted[0::2, 1::2] *= 0.7  # green
    tinted[1::2, 0::2] *= 0.7
    tinted[1::2, 1::2] *= 0.4  # blue; left as it is: red
    ref = replace(put(ring, tinted.astype(np.uint8)), pixel_format="BayerRG8")
    verdict = judge.ask(wire.Judge(part(sha=loaded.sha), (ref,))).verdict
    assert verdict.outcome is Outcome.PASS, verdict.text


def test_picture_that_was_overwritten_is_not_judged(judge: Judge, ring: Ring, picture: Any, tmp_path: Path) -> None:
    loaded = load(judge, tmp_path)
    old = put(ring, picture)
    put(ring, picture)
    verdict = judge.ask(wire.Judge(part(sha=loaded.sha), (old,))).verdict
    assert (verdict.outcome, verdict.code) == (Outcome.NOT_INSPECTED, Code.NO_FRAME)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ring": "/nowhere/x.ring"}, Code.NO_FRAME),
        ({"slot": 77}, Code.NO_FRAME),
        ({"pixel_format": "YUV422"}, Code.NO_FRAME),
        ({"width": 4000, "height": 3000}, Code.NO_FRAME),
        ({"width": 200}, Code.NO_FRAME),
    ],
)
def test_passport_that_is_wrong(
    judge: Judge, ring: Ring, picture: Any, tmp_path: Path, change: dict[str, Any], code: Code
) -> None:
    loaded = load(judge, tmp_path)
    verdict = judge.ask(wire.Judge(part(sha=loaded.sha), (replace(put(ring, picture), **change),))).verdict
    assert (verdict.outcome, verdict.code) == (Outcome.NOT_INSPECTED, code)


def test_part_of_another_recipe_is_not_judged(judge: Judge, ring: Ring, picture: Any, tmp_path: Path) -> None:
    load(judge, tmp_path)
    for sha in ("", "0" * 64):
        verdict = judge.ask(wire.Judge(part(sha=sha), (put(ring, picture),))).verdict
        assert (verdict.outcome, verdict.code) == (Outcome.NOT_INSPECTED, Code.RECIPE_INVALID)


def test_failed_load_leaves_no_old_recipe_behind(judge: Judge, ring: Ring, picture: Any, tmp_path: Path) -> None:
    loaded = load(judge, tmp_path)
    failed = load(judge, tmp_path, recipe=0)
    assert isinstance(failed, wire.LoadFailed)
    assert "r.yaml:1: recipe: found 0" in failed.text
    verdict = judge.ask(wire.Judge(part(sha=loaded.sha), (put(ring, picture),))).verdict
    assert (verdict.outcome, verdict.code) == (Outcome.NOT_INSPECTED, Code.RECIPE_INVALID)
    assert "no recipe is loaded" in verdict.text


@pytest.mark.parametrize("path", ["/nowhere/r.yaml", "", "/proc/self/mem", "/dev/null"])
def test_file_that_is_no_recipe(judge: Judge, path: str) -> None:
    failed = judge.ask(wire.Load(path))
    assert isinstance(failed, wire.LoadFailed) and failed.text
    assert judge.ask(wire.Ping(1)).n == 1


def test_message_for_somebody_else_is_passed_over(judge: Judge) -> None:
    judge.socket.sendall(wire.encode_to_child(wire.Grant((0, 1))))
    assert judge.ask(wire.Ping(9)).n == 9


@pytest.fixture
def fresh() -> Iterator[Judge]:
    started = Judge()
    yield started
    started.close()


def test_stop_ends_it(fresh: Judge) -> None:
    fresh.socket.sendall(wire.encode_to_child(wire.Stop()))
    assert fresh.process.wait(LIMIT_S) == 0


def test_station_that_is_gone_ends_it(fresh: Judge) -> None:
    assert fresh.ask(wire.Ping(1)).n == 1
    fresh.socket.close()
    assert fresh.process.wait(LIMIT_S) == 0


def test_nonsense_ends_it_loudly(fresh: Judge) -> None:
    fresh.socket.sendall(b'{"kind": "what"}\n')
    fresh.process.wait(LIMIT_S)
    assert fresh.process.stderr is not None
    assert b"not a message" in fresh.process.stderr.read()


def test_it_can_be_asked_for_help_by_hand() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inspector.recipe.process", "--help"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=os.environ,
    )
    assert done.returncode == 0 and "--fd" in done.stdout


def test_a_prepared_recipe_is_there_at_once_and_an_edited_one_is_loaded_anew(judge: Judge, tmp_path: Path) -> None:
    path = write(tmp_path, good())
    other = write(tmp_path, {**good(), "recipe": 8}, "other.yaml")
    assert judge.ask(wire.Prepare(str(path))) == wire.Prepared(str(path))
    first = judge.ask(wire.Load(str(path)))
    assert judge.ask(wire.Load(str(other))).number == 8
    again = judge.ask(wire.Load(str(path)))
    assert again == first and judge.ask(wire.Prove(3)) == wire.Proved(3)
    before = path.stat()
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("rev: 1", "rev: 2") if "rev: 1" in text else f"rev: 2\n{text}", encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a copy that keeps the date does
    edited = judge.ask(wire.Load(str(path)))
    assert edited.rev == 2 and edited.sha != first.sha
    path.write_text("recipe: [", encoding="utf-8")
    assert isinstance(judge.ask(wire.Load(str(path))), wire.LoadFailed), "nor is it served when it is broken"
    assert judge.ask(wire.Prove(4)).text == "no recipe is loaded"
    assert "recipe" in judge.ask(wire.Prepare(str(path))).text
