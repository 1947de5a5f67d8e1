"""Where a recipe's tools get their artefacts: files beside the recipe, pinned by digest."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from inspector.calibrate.scale import Scale
from inspector.parts import InspectionFault
from inspector.picture import decode_picture
from inspector.tool import Array, Session
from inspector.yamlfile import FileError

Wish = Literal["auto", "cpu", "tensorrt"]
_REFERENCE = re.compile(r"([^@\s]+?)(?:@sha256:([0-9a-f]+))?")
_DIGITS = 12  # of a digest, at least


FileState = tuple[int, int, int, int]


def state_of(path: Path) -> FileState | None:
    """What is other once a file was changed or replaced, a copy that keeps its date included; None: it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class ArtefactError(ValueError):
    """An artefact can't be had; ``reference`` is what the recipe wrote."""

    def __init__(self, reference: str, text: str) -> None:
        super().__init__(text)
        self.reference = reference


class AcceleratorLost(InspectionFault):
    """The accelerator failed for good under this process: another process may load the recipe, this one can't."""


class Store:
    """All artefacts of one recipe: opened once, their digests noted for the recipe's sha."""

    def __init__(self, folder: Path, backend: Wish = "auto", cache_dir: Path | None = None, threads: int = 1) -> None:
        self.folder = folder
        self.artefacts: dict[str, str] = {}  # name -> sha256 of what was taken
        self.model_shas: dict[str, str] = {}
        self.backend = ""
        self.files: dict[Path, FileState | None] = {}  # every file that was taken, as it was before it was read
        self._wish: Wish = backend
        self._cache_dir = cache_dir
        self._threads = threads
        self._models: dict[str, tuple[Any, Session]] = {}

    def file(self, reference: str) -> tuple[Path, bytes]:
        """The file a reference names, inside the recipe's folder, and its content, its digest proven."""
        name, digest = _split(reference)
        path = self._inside(reference, name)
        self.files.setdefault(path, state_of(path))
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ArtefactError(reference, f"found {reference!r}: {path} can't be read: {error.strerror}") from None
        sha = hashlib.sha256(data).hexdigest()
        self._prove(reference, digest, sha)
        self.artefacts[name] = sha
        return path, data

    def image(self, reference: str) -> Array:
        """Grey picture (H, W) uint8."""
        image = self.pixels(reference)
        if image.dtype != np.uint8:
            path = self._inside(reference, _split(reference)[0])
            raise ArtefactError(reference, f"found {reference!r}: {path} has 16 bit, allowed: 8 bit")
        return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)

    def pixels(self, reference: str) -> Array:
        """The picture as it was stored: (H, W) or (H, W, 3) RGB, uint8 or uint16."""
        path, data = self.file(reference)
        try:
            return decode_picture(data, str(path))
        except FileError as error:
            raise ArtefactError(reference, f"found {reference!r}: {error}") from None

    def model(self, reference: str) -> tuple[Any, Session]:
        """Model package and its warmed-up session. Raises AcceleratorLost as well."""
        from inspector.infer.backend import PoisonedFault, open_session  # models are rare, and their imports are heavy
        from inspector.infer.package import load_package

        name, digest = _split(reference)
        if name not in self._models:
            folder = self._inside(reference, f"models/{name}")
            for path in (folder, *folder.glob("*")):
                self.files.setdefault(path, state_of(path))
            try:
                package = load_package(folder)
            except FileError as error:
                raise ArtefactError(reference, f"found {reference!r}: {error}") from None
            self._prove(reference, digest, package.sha)
            try:
                session = open_session(package, self._wish, self._cache_dir, threads=self._threads)
            except PoisonedFault as fault:
                raise AcceleratorLost(fault.code, fault.text) from fault
            except InspectionFault as fault:
                raise ArtefactError(reference, f"found {reference!r}: {fault.text}") from None
            self._models[name] = (package, session)
            self.artefacts[f"models/{name}"] = package.sha
            self.model_shas[name] = package.sha
            self.backend = session.backend
        self._prove(reference, digest, self.model_shas[name])
        return self._models[name]

    @property
    def poisoned(self) -> bool:
        """True when an accelerator failed for good under this process, which then has to be replaced."""
        return any(getattr(session, "poisoned", False) for _, session in self._models.values())

    def prove(self) -> None:
        """Run every model on its package's reference inputs again. Raises InspectionFault."""
        from inspector.infer.proof import prove  # as above

        for package, session in self._models.values():
            prove(package, session.run)

    def close(self) -> None:
        """Free the models; calling it twice is harmless."""
        for _, session in self._models.values():
            session.close()
        self._models.clear()

    def _inside(self, reference: str, name: str) -> Path:
        path = Path(name)
        if path.is_absolute() or ".." in path.parts:
            raise ArtefactError(reference, f"found {reference!r}, allowed: a file below {self.folder}")
        return self.folder / path

    @staticmethod
    def _prove(reference: str, digest: str | None, sha: str) -> None:
        if digest is not None and not sha.startswith(digest):
            raise ArtefactError(reference, f"found {reference!r}, but the file's digest is sha256:{sha[:_DIGITS]}")


class ToolShelf:
    """The store as one tool sees it: with what is known of its pictures. See :class:`inspector.tool.Shelf`."""

    def __init__(self, store: Store, scale: Scale | None, shots: int) -> None:
        self._store = store
        self._scale = scale
        self._shots = shots

    def image(self, reference: str) -> Array:
        """See :meth:`Store.image`."""
        return self._store.image(reference)

    def pixels(self, reference: str) -> Array:
        """See :meth:`Store.pixels`."""
        return self._store.pixels(reference)

    def model(self, reference: str) -> tuple[Any, Session]:
        """See :meth:`Store.model`."""
        return self._store.model(reference)

    @property
    def mm_per_px(self) -> float | None:
        """Scale of the tool's pictures, None without calibration."""
        return self._scale.mm_per_px if self._scale else None

    @property
    def size_px(self) -> tuple[int, int] | None:
        """Width and height of the tool's pictures as their calibration has them, None without one."""
        return self._scale.size_px if self._scale else None

    @property
    def shots(self) -> int:
        """How many pictures of each part the tool's view takes."""
        return self._shots


def _split(reference: str) -> tuple[str, str | None]:
    match = _REFERENCE.fullmatch(reference)
    if match is None or (match[2] is not None and not _DIGITS <= len(match[2]) <= 64):
        raise ArtefactError(
            reference, f"found {reference!r}, allowed: a name, or name@sha256: and {_DIGITS} to 64 digits 0-9 a-f"
        )
    return match[1], match[2]
