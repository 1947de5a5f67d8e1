"""The bare loop: one process, harvesters and the same vision work, no framework around it.

``python -m tools.benchmarks.bare CONTROL_FILE``: for every line ``COUNT PERIOD_MS`` on stdin it does so many parts
(period 0: as fast as it can) and answers with one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from harvesters.core import Harvester, ParameterKey, ParameterSet

from inspector.parts import Frame, FrameRef, Part, Trigger
from inspector.recipe.judge import judge
from inspector.recipe.load import load_recipe
from tools.benchmarks.pictures import load_pictures
from tools.virtual_camera.control import CTI, CameraControl

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Measure as asked on stdin."""
    cv2.setNumThreads(1)
    lens = CameraControl.open(Path(sys.argv[1]))
    recipe = load_recipe(ROOT / "recipes" / "plate.yaml", backend="cpu", threads=1)
    pictures = load_pictures()
    harvester = Harvester()
    harvester.add_file(str(CTI))
    harvester.update()
    wait = ParameterSet({ParameterKey.TIMEOUT_PERIOD_ON_UPDATE_EVENT_DATA_CALL: 1})
    camera = harvester.create({"serial_number": "VC0002"}, config=wait)
    nodes = camera.remote_device.node_map
    nodes.TriggerMode.value = "On"
    nodes.TriggerSource.value = "Software"
    nodes.ExposureTime.value = 1000.0
    camera.start()

    def one(number: int) -> tuple[str, float, float]:
        picture = pictures[number % len(pictures)]
        lens.show(1, picture.image, number)
        began = time.perf_counter()
        trigger = Trigger(str(number), "", time.monotonic_ns(), "")
        nodes.TriggerSoftware.execute()
        with camera.fetch(timeout=2.0) as buffer:
            component = buffer.payload.components[0]
            image = component.data.reshape(component.height, component.width).copy()
        image.flags.writeable = False
        captured = time.perf_counter()
        ref = FrameRef("top", number, "", 0, 1, image.shape[1], image.shape[0], "Mono8", 1000.0, 0.0, 0, 0, 0)
        part = Part(number, "", "top", trigger, 1, 1, recipe.name, recipe.sha, trigger.received_ns + 10**9)
        verdict = judge(recipe, part, [Frame(ref, image)])
        return verdict.outcome.value, captured - began, time.perf_counter() - began

    for number in range(10):
        one(number)
    print("ready", flush=True)
    for line in sys.stdin:
        count, period_s = int(line.split()[0]), float(line.split()[1]) / 1000
        outcomes: dict[str, int] = {}
        took, capture = [], []
        began = time.perf_counter()
        for number in range(count):
            if period_s:
                time.sleep(max(0.0, began + number * period_s - time.perf_counter()))
            outcome, captured_s, total_s = one(number)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            capture.append(captured_s * 1000)
            took.append(total_s * 1000)
        wall = time.perf_counter() - began
        quantiles = {f"p{q}": round(float(np.percentile(took, q)), 2) for q in (50, 99)}
        capture_ms = round(float(np.percentile(capture, 50)), 2)
        print(
            json.dumps({"rate": count / wall, **quantiles, "capture_p50": capture_ms, "outcomes": outcomes}), flush=True
        )


if __name__ == "__main__":
    main()
