from __future__ import annotations

import logging
import os
from dataclasses import replace

import pytest

from inspector.infer import engines
from inspector.infer.engines import ENGINES_MAX, EngineCache, EngineError, EngineKey, build_apart, explain

KEY = EngineKey("ab" * 32, "tensorrt", "10.3.0", "Orin", "87", "strongly_typed")
PLAN = os.urandom(5000)


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path / "engines")


def test_what_is_stored_comes_back(cache):
    assert cache.load(KEY) is None
    cache.store(KEY, PLAN)
    assert cache.load(KEY) == PLAN
    assert EngineCache(cache.folder).load(KEY) == PLAN
    assert sorted(p.suffix for p in cache.folder.iterdir()) == [".engine", ".json"]  # nothing left over
    cache.forget(KEY)
    cache.forget(KEY)
    assert cache.load(KEY) is None


@pytest.mark.parametrize(
    "other",
    [
        {"onnx_sha256": "cd" * 32},
        {"module": "tensorrt_rtx"},
        {"version": "10.13.3"},
        {"gpu": "Thor"},
        {"sm": "110"},
        {"flags": ""},
    ],
)
def test_an_engine_is_never_taken_for_another(cache, other):
    cache.store(KEY, PLAN)
    assert cache.load(replace(KEY, **other)) is None


def test_only_the_owner_can_reach_the_engines(cache):
    cache.store(KEY, PLAN)
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in cache.folder.iterdir()} == {0o600}


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "sidecar", "no sidecar", "sidecar text", "other key"])
def test_a_damaged_engine_is_not_loaded(cache, damage, caplog):
    cache.store(KEY, PLAN)
    engine, sidecar = cache._paths(KEY)
    if damage == "flip":
        engine.write_bytes(bytes([PLAN[0] ^ 1]) + PLAN[1:])
    elif damage == "cut":
        engine.write_bytes(PLAN[:-1])
    elif damage == "empty":
        engine.write_bytes(b"")
    elif damage == "sidecar":
        sidecar.write_bytes(b"\xff\xfe{")
    elif damage == "no sidecar":
        sidecar.unlink()
    elif damage == "sidecar text":
        sidecar.write_text('"text"')
    else:
        cache.store(replace(KEY, sm="72"), b"other")
        cache._paths(replace(KEY, sm="72"))[1].replace(sidecar)
    with caplog.at_level(logging.WARNING):
        assert cache.load(KEY) is None
    assert damage == "no sidecar" or "built again" in caplog.text
    cache.store(KEY, PLAN)
    assert cache.load(KEY) == PLAN


def test_an_engine_that_others_could_have_written_is_not_loaded(cache, caplog):
    cache.store(KEY, PLAN)
    cache._paths(KEY)[0].chmod(0o620)
    assert cache.load(KEY) is None and "others can write to it (mode 620)" in caplog.text


def test_an_engine_behind_a_link_is_not_loaded(cache, tmp_path):
    cache.store(KEY, PLAN)
    engine = cache._paths(KEY)[0]
    engine.rename(tmp_path / "elsewhere")
    engine.symlink_to(tmp_path / "elsewhere")
    assert cache.load(KEY) is None


def test_a_pipe_or_an_endless_file_is_not_read(cache, monkeypatch, caplog):
    cache.store(KEY, PLAN)
    monkeypatch.setattr(engines, "ENGINE_BYTES_MAX", 100)
    assert cache.load(KEY) is None and "5000 bytes long, at most 100" in caplog.text
    engine = cache._paths(KEY)[0]
    engine.unlink()
    engine.mkdir()
    assert cache.load(KEY) is None


def test_a_folder_that_others_can_write_to_is_refused_with_the_remedy(tmp_path):
    folder = tmp_path / "engines"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(EngineError, match=rf"has mode 777, others can write to it; run: chmod 700 {folder}"):
        EngineCache(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path):
    folder = tmp_path / "engines"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    with pytest.raises(EngineError, match="belongs to user 12345, allowed is 0"):
        EngineCache(folder)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "engines").write_text("")
    with pytest.raises(EngineError, match="can't be used: File exists"):
        EngineCache(tmp_path / "engines")


def test_a_full_disk_costs_the_cache_not_the_engine(cache, monkeypatch, caplog):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(engines.os, "fsync", full)
    cache.store(KEY, PLAN)
    assert "is not cached: [Errno 28] No space left on device" in caplog.text
    assert list(cache.folder.iterdir()) == []


def test_the_cache_does_not_grow_for_ever_and_the_oldest_go_first(cache):
    keys = [replace(KEY, version=str(n)) for n in range(ENGINES_MAX + 2)]
    for n, key in enumerate(keys):
        cache.store(key, PLAN)
        os.utime(cache._paths(key)[0], (n, n))
    assert len(list(cache.folder.glob("*.engine"))) == len(list(cache.folder.glob("*.json"))) == ENGINES_MAX
    assert [cache.load(key) is None for key in keys] == [True, True] + [False] * ENGINES_MAX


def test_loading_counts_as_use(cache):
    keys = [replace(KEY, version=str(n)) for n in range(ENGINES_MAX)]
    for n, key in enumerate(keys):
        cache.store(key, PLAN)
        os.utime(cache._paths(key)[0], (n, n))
    assert cache.load(keys[0]) == PLAN
    cache.store(replace(KEY, version="new"), PLAN)
    assert cache.load(keys[0]) == PLAN and cache.load(keys[1]) is None


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("Cuda Runtime (In ScopedCudaStream (cudaError 35: CUDA driver version is insufficient", "no CUDA driver, or"),
        ("cudaError 34: CUDA driver is a stub library", "the CUDA driver is a stub library"),
        ("cuInit failed: CUDA driver is a stub library", "the CUDA driver is a stub library"),
        ("The engine plan file is generated on an incompatible device, expecting compute 8.7", "another GPU than"),
        ("Serialization assertion failed. Version tag does not match", "another version of TensorRT"),
        ("UNSUPPORTED_CC", "does not support this GPU"),
        ("OutOfMemory: Out of memory", "too little free memory"),
        ("In node 0: INVALID_NODE: Plugin not found", "operator that TensorRT does not know"),
    ],
)
def test_what_a_library_logs_is_told_as_cause_and_remedy(said, meaning):
    text = explain([said, "Error Code 4: a consequence"])
    assert meaning in text and said[:40] in text and "\n" not in text


def test_what_nobody_knows_is_passed_on():
    assert explain(["Strange thing", "more"]) == "Strange thing"
    assert explain([]) == explain(["", "  "]) == "it gave no reason"


# --- the process that builds -----------------------------------------------------------------------------
def test_a_builder_that_can_not_be_imported_is_named():
    with pytest.raises(EngineError, match="no_such_tensorrt built no engine: TensorRT can't be imported"):
        build_apart("no_such_tensorrt", b"", limit_s=60)


def test_a_builder_that_crashes_is_told(monkeypatch, tmp_path):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nkill -SEGV $$\n")
    script.chmod(0o755)
    monkeypatch.setattr(engines.sys, "executable", str(script))
    with pytest.raises(EngineError, match="the builder was killed by signal 11"):
        build_apart("tensorrt", b"", limit_s=60)


def test_a_builder_that_hangs_is_stopped(monkeypatch, tmp_path):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(engines.sys, "executable", str(script))
    with pytest.raises(EngineError, match=r"did not build the engine within 0\.3 s; build it ahead"):
        build_apart("tensorrt", b"", limit_s=0.3)


def test_a_builder_that_writes_nothing_built_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(engines.sys, "executable", "/bin/true")
    with pytest.raises(EngineError, match="built no engine: it gave no reason"):
        build_apart("tensorrt", b"", limit_s=60)
