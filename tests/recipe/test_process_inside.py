"""What the judge process does when things break that can't be broken from outside."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inspector import wire
from inspector.child import Channel
from inspector.codes import Code
from inspector.infer import backend
from inspector.parts import FrameRef, InspectionFault, Outcome
from inspector.recipe import process
from inspector.recipe.shelf import Store
from inspector.ring import Ring
from tests.infer.model_packages import write_package
from tests.recipe.pictures import mark, part
from tests.recipe.recipes import good, write


class Talk:
    """The station's end: says everything first, then lets the judge run until it is told to stop."""

    def __init__(self, ours: socket.socket, judge: process.JudgeProcess) -> None:
        self._ours, self._judge = ours, judge
        self.status: int | None = None

    def __call__(self, *messages: Any) -> list[Any]:
        for message in (*messages, wire.Stop()):
            self._ours.sendall(wire.encode_to_child(message))
        self.status = self._judge.run()
        self._ours.settimeout(5)
        data = self._ours.recv(1 << 20)
        answers = [wire.decode_from_child(line) for line in data.splitlines()]
        return [answer for answer in answers if not isinstance(answer, wire.Looked)]


@pytest.fixture
def talk() -> Iterator[Talk]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Talk(ours, process.JudgeProcess(Channel(theirs), "cpu", None, 1))


@pytest.fixture
def order(tmp_path: Path) -> Iterator[Any]:
    image = mark([(205.3, 161.7, 6.2)], noise=2.0)
    ring = Ring.create(tmp_path / "r.ring", 1, image.size)
    ref = FrameRef("top", 1, str(ring.path), 0, ring.write(0, image), 400, 320, "Mono8", 1.0, 0.0, 0, 0, 0)

    def make(sha: str) -> wire.Judge:
        return wire.Judge(part(sha=sha), (ref,))

    yield make
    ring.close()


def loaded_sha(folder: Path) -> tuple[wire.Load, str]:
    from inspector.recipe.load import load_recipe

    path = write(folder, good())
    return wire.Load(str(path)), load_recipe(path).sha


def test_ping_load_judge_stop(talk: Talk, order: Any, tmp_path: Path) -> None:
    load, sha = loaded_sha(tmp_path)
    pong, loaded, judged = talk(wire.Ping(4), load, order(sha))
    assert pong.n == 4 and loaded.sha == sha and judged.verdict.outcome is Outcome.PASS
    assert talk.status == 0


@pytest.mark.parametrize("error", [RuntimeError("boom"), MemoryError(), RecursionError("deep")])
def test_load_that_breaks_is_told(talk: Talk, tmp_path: Path, monkeypatch: Any, caplog: Any, error: Exception) -> None:
    caplog.set_level(logging.CRITICAL)

    def broken(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(process, "load_recipe", broken)
    (failed,) = talk(wire.Load("x.yaml"))
    assert isinstance(failed, wire.LoadFailed) and type(error).__name__ in failed.text


def with_model(folder: Path) -> wire.Load:
    write_package(folder / "models" / "tiny")
    recipe = good()
    recipe["defects"] = {"face": {"tool": "segment", "model": "tiny", "reject": {"x": "ignore"}}}
    return wire.Load(str(write(folder, recipe)))


@pytest.mark.parametrize("poisoned", [False, True])
def test_accelerator_lost_while_loading_is_told_and_ends_the_process(
    talk: Talk, tmp_path: Path, monkeypatch: Any, poisoned: bool
) -> None:
    fault = backend.PoisonedFault("CUDA error 700") if poisoned else InspectionFault(303, "CUDA error 700")

    def broken(*_: Any, **__: Any) -> Any:
        raise fault

    monkeypatch.setattr(backend, "open_session", broken)
    failed = talk(with_model(tmp_path))[0]
    assert isinstance(failed, wire.LoadFailed) and "CUDA error 700" in failed.text
    assert talk.status == (process.EXIT_POISONED if poisoned else 0)


def test_judging_that_breaks_costs_one_part(
    talk: Talk, order: Any, tmp_path: Path, monkeypatch: Any, caplog: Any
) -> None:
    caplog.set_level(logging.CRITICAL)
    load, sha = loaded_sha(tmp_path)
    real, calls = process.judged, []

    def broken_once(recipe: Any, of: Any, frames: Any) -> Any:
        if of.seq == 7 and not calls:  # not the warm-up
            calls.append(1)
            raise MemoryError
        return real(recipe, of, frames)

    monkeypatch.setattr(process, "judged", broken_once)
    _, first, second = talk(load, order(sha), order(sha))
    assert (first.verdict.outcome, first.verdict.code) == (Outcome.NOT_INSPECTED, Code.INTERNAL_ERROR)
    assert second.verdict.outcome is Outcome.PASS


def test_picture_overwritten_while_it_is_judged(talk: Talk, order: Any, tmp_path: Path, monkeypatch: Any) -> None:
    load, sha = loaded_sha(tmp_path)
    real = process.judged

    def overwritten(recipe: Any, of: Any, frames: Any) -> Any:
        verdict = real(recipe, of, frames)
        if of.seq == 7:
            ring = Ring(Path(frames[0].ref.ring), writable=True)
            ring.write(0, frames[0].image)
            ring.close()
        return verdict

    monkeypatch.setattr(process, "judged", overwritten)
    _, judged = talk(load, order(sha))
    assert (judged.verdict.outcome, judged.verdict.code) == (Outcome.NOT_INSPECTED, Code.NO_FRAME)
    assert "while it was judged" in judged.verdict.text


def test_poisoned_accelerator_ends_the_process_after_its_answer(
    talk: Talk, order: Any, tmp_path: Path, monkeypatch: Any, caplog: Any
) -> None:
    caplog.set_level(logging.CRITICAL)
    load, sha = loaded_sha(tmp_path)
    monkeypatch.setattr(Store, "poisoned", property(lambda self: True))
    answers = talk(load, order(sha), order(sha))
    assert talk.status == process.EXIT_POISONED
    assert len(answers) == 2
