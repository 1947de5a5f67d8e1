"""Vendor code in a process of its own, with a time limit: it may crash or hang, and then that is the answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inspector.acquire.camera import DeviceError


class Died(DeviceError):
    """The process ended without an answer; the text is only how: "crashed (SIGSEGV)", "hangs ..."."""


def ask(
    module: str, arguments: Sequence[str], *, limit_s: float, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run ``python -m module`` and return the object it told. Never takes much longer than ``limit_s``.

    Raises Died, or DeviceError with what the module said.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    with child:
        try:
            output, _ = child.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise Died(f"hangs: no answer within {limit_s:.0f} s") from None
        finally:
            if child.poll() is None:  # also when the person who waits presses Ctrl-C
                os.killpg(child.pid, signal.SIGKILL)
    if child.returncode < 0:
        raise Died(how(child.returncode))
    try:
        told = json.loads(output)
        error = told["error"]
    except (ValueError, KeyError, TypeError):
        raise Died(how(child.returncode)) from None
    if error:
        raise DeviceError(str(error))
    return dict(told)


def how(status: int) -> str:
    """How a process ended, by its return code: "crashed (SIGSEGV)", "ended the process (exit status 3)"."""
    if status >= 0:
        return f"ended the process (exit status {status})"
    try:
        return f"crashed ({signal.Signals(-status).name})"
    except ValueError:
        return f"crashed (signal {-status})"


def tell(work: Callable[[], Mapping[str, Any]]) -> None:
    """The child's side: do the work and print its answer, or the sentence of its DeviceError, as one JSON object."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a vendor prints must not get into the answer
    told: dict[str, Any] = {"error": None}
    try:
        told.update(work())
    except DeviceError as error:
        told["error"] = str(error)
    except ImportError as error:
        told["error"] = f"harvesters or genicam can't be imported ({error})"
    json.dump(told, answer)
    answer.close()
