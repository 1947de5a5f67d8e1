"""Model packages: a folder with ``package.yaml``, the ONNX file and reference data that prove a backend right.

``package.yaml`` names every other file with its sha256, so a digest of its content pins the whole package,
thresholds included; that digest is ``Package.sha``, what ``inspector model list`` shows and what
``name@sha256:...`` in a recipe means.
The files are read once; what was checked is what runs.

```yaml
name: plate-face
version: 1.0.0
licence: Apache-2.0
onnx: {file: model.onnx, sha256: <64 hex digits>}
input: {name: image, shape: [1, 1, 320, 480], dtype: uint8, mm_per_px: 0.125}
outputs:
  - {name: probability, shape: [1, 2, 320, 480], dtype: float32}   # one channel a label, 0..1
labels:                                                            # in the order of the channels
  - {name: scratch, threshold: 0.50}
  - {name: stain, threshold: 0.50}
reference:                                # arrays named as the tensors: image (N, 1, H, W), probability (N, 2, H, W)
  file: reference.npz
  sha256: <64 hex digits>
  tolerance: 0.02                         # largest allowed absolute difference of an output
  agreement: 0.98                         # smallest allowed overlap (IoU) of each label's mask at its threshold
trained: {script: tools/train_defect_model, seed: 1}               # free keys, for people
scores: {held_out: {parts: 600}}                                   # free keys, for people
```
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from inspector.infer.graph import check_graph
from inspector.yamlfile import FileError, YamlFile

PACKAGE_FILE = "package.yaml"
ONNX_BYTES_MAX = 256 * 1024 * 1024
REFERENCE_BYTES_MAX = 64 * 1024 * 1024  # in the file, and again unpacked
REFERENCE_INPUTS_MAX = 64
SIDE_PX_MIN, SIDE_PX_MAX = 8, 8192

Array = NDArray[Any]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# A plain name: no folder, no drive, no leading dot, so a package can't reach outside its own folder.
_FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_SHA256 = r"^[0-9a-f]{64}$"
_NAME = r"^[a-z0-9][a-z0-9-]{0,39}$"


class OnnxFile(_Strict):
    """The network."""

    file: str = Field(pattern=_FILE_NAME, description="Name of the ONNX file in the package's folder.")
    sha256: str = Field(pattern=_SHA256, description="SHA-256 of that file, 64 hex digits.")


class InputSpec(_Strict):
    """The picture the network wants: normalisation is inside the graph."""

    name: str = Field(min_length=1, max_length=64, description="Name of the input tensor.")
    shape: list[int] = Field(min_length=4, max_length=4, description="1, channels (1 grey, 3 RGB), height, width.")
    dtype: Literal["uint8"] = Field(description="uint8: grey values as the camera gave them.")
    mm_per_px: float = Field(gt=0, le=100, description="Scale of the rectified picture, in mm per px.")

    @model_validator(mode="after")
    def _a_picture(self) -> InputSpec:
        batch, channels, *sides = self.shape
        if batch != 1 or channels not in (1, 3) or not all(SIDE_PX_MIN <= s <= SIDE_PX_MAX for s in sides):
            raise ValueError(
                f"shape {self.shape}: allowed is [1, 1 or 3, height, width] with sides of {SIDE_PX_MIN} to"
                f" {SIDE_PX_MAX} px"
            )
        return self


class OutputSpec(_Strict):
    """The answer of the network: one probability map a label."""

    name: str = Field(min_length=1, max_length=64, description="Name of the output tensor.")
    shape: list[int] = Field(min_length=4, max_length=4, description="1, labels, height, width.")
    dtype: Literal["float32"] = Field(description="float32, probabilities 0..1.")


class Label(_Strict):
    """One kind of defect the network was taught."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="Name of the label, as recipes write it.")
    threshold: float = Field(gt=0, lt=1, description="Probability from which a pixel belongs to the defect.")
    min_area_mm2: float = Field(0.0, ge=0, description="Smaller patches are noise, in mm².")
    min_length_mm: float = Field(0.0, ge=0, description="Shorter patches are noise, in mm.")


class Reference(_Strict):
    """Inputs and the outputs they must give, proven on every backend before use."""

    file: str = Field(pattern=_FILE_NAME, description="Name of the .npz file in the package's folder.")
    sha256: str = Field(pattern=_SHA256, description="SHA-256 of that file, 64 hex digits.")
    tolerance: float = Field(gt=0, le=0.1, description="Largest allowed absolute difference of a probability.")
    agreement: float = Field(
        0.98, ge=0.9, le=1, description="Smallest allowed overlap (IoU) of each label's mask at its threshold."
    )


class PackageSpec(_Strict):
    """``package.yaml``."""

    name: str = Field(pattern=_NAME, description="Name, as recipes write it; the folder has the same.")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$", description="Version, three numbers.")
    licence: str = Field(min_length=1, max_length=80, description="SPDX licence of the weights.")
    onnx: OnnxFile
    input: InputSpec
    outputs: list[OutputSpec] = Field(min_length=1, max_length=1, description="The output tensor.")
    labels: list[Label] = Field(min_length=1, max_length=64, description="In the order of the output's channels.")
    reference: Reference
    trained: dict[str, Any] = Field(description="How it was trained: script, seed, parts, date.")
    scores: dict[str, Any] = Field(description="What it reached on held-out parts.")

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> PackageSpec:
        names = [label.name for label in self.labels]
        if len(set(names)) != len(names):
            raise ValueError(f"labels {', '.join(names)}: each name may stand once")
        wanted = [1, len(self.labels), *self.input.shape[2:]]
        if self.outputs[0].shape != wanted:
            raise ValueError(
                f"outputs[0].shape is {self.outputs[0].shape}, allowed is {wanted}: one channel a label,"
                " as large as the input"
            )
        return self


@dataclass(frozen=True)
class Package:
    """A checked model package; nothing of it is read from disk again."""

    folder: Path
    spec: PackageSpec
    sha: str  # 64 hex digits over the content of package.yaml, which names the digests of all other files
    onnx: bytes = field(repr=False)
    reference_inputs: NDArray[np.uint8] = field(repr=False)  # (N, C, H, W)
    reference_outputs: NDArray[np.float32] = field(repr=False)  # (N, labels, H, W)

    @property
    def name(self) -> str:
        """Name, as recipes write it."""
        return self.spec.name

    @property
    def version(self) -> str:
        """Version, three numbers."""
        return self.spec.version

    @property
    def input(self) -> InputSpec:
        """The input tensor."""
        return self.spec.input

    @property
    def output(self) -> OutputSpec:
        """The output tensor."""
        return self.spec.outputs[0]

    @property
    def labels(self) -> list[Label]:
        """Labels in the order of the output's channels."""
        return self.spec.labels

    @property
    def mm_per_px(self) -> float:
        """Scale of the rectified picture."""
        return self.spec.input.mm_per_px

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the rectified picture."""
        return self.spec.input.shape[3], self.spec.input.shape[2]

    @property
    def field_mm(self) -> tuple[float, float]:
        """Width and height of the rectified picture, in mm."""
        width, height = self.size_px
        return width * self.mm_per_px, height * self.mm_per_px


def load_package(folder: Path) -> Package:
    """Read and check everything in ``folder``. Raises :class:`FileError` with one line a problem."""
    path = folder / PACKAGE_FILE
    file = YamlFile.read(path)
    spec = file.parse(PackageSpec)
    onnx = _read(folder, file, ("onnx", "file"), spec.onnx.file, spec.onnx.sha256, ONNX_BYTES_MAX)
    npz = _read(folder, file, ("reference", "file"), spec.reference.file, spec.reference.sha256, REFERENCE_BYTES_MAX)
    try:
        check_graph(
            onnx,
            {spec.input.name: (spec.input.dtype, spec.input.shape)},
            {o.name: (o.dtype, o.shape) for o in spec.outputs},
        )
    except ValueError as error:
        raise FileError([file.problem(("onnx", "file"), f"{spec.onnx.file}: {error}")]) from None
    try:
        inputs, outputs = _reference(npz, spec)
    except ValueError as error:
        raise FileError([file.problem(("reference", "file"), f"{spec.reference.file}: {error}")]) from None
    # Over what was parsed, so that comments and line endings don't make another package.
    canonical = json.dumps(file.data, sort_keys=True, ensure_ascii=False, default=str, separators=(",", ":"))
    sha = hashlib.sha256(canonical.encode("utf-8")).hexdigest()
    return Package(folder, spec, sha, onnx, inputs, outputs)


def find_packages(folder: Path) -> list[Path]:
    """The package folders in ``folder``, by name; empty when there are none."""
    return sorted(p.parent for p in folder.glob(f"*/{PACKAGE_FILE}"))


def _read(folder: Path, file: YamlFile, where: tuple[str, str], name: str, sha256: str, limit: int) -> bytes:
    path = folder / name
    try:
        if path.is_symlink() or not path.is_file():
            what = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "no such file"
            raise FileError([file.problem(where, f"found {what} at {name}, wanted a plain file in {folder}")])
        size = path.stat().st_size
        if size > limit:
            raise FileError([file.problem(where, f"{name} is {size} bytes long, at most {limit} are allowed")])
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise FileError([file.problem(where, f"{name} can't be read: {error.strerror}")]) from None
    if len(data) > limit:
        raise FileError([file.problem(where, f"{name} grew over {limit} bytes while it was read")])
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        text = f"{name} has sha256 {found[:12]}..., package.yaml wants {sha256[:12]}...: not the file that was released"
        raise FileError([file.problem((where[0], "sha256"), text)])
    return data


def _reference(npz: bytes, spec: PackageSpec) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Inputs and outputs out of the npz bytes. Raises ValueError."""
    wanted = (spec.input.name, spec.outputs[0].name)
    arrays = _arrays(npz)
    if sorted(arrays) != sorted(wanted):
        raise ValueError(f"found arrays {', '.join(map(repr, sorted(arrays)))}, wanted {' and '.join(wanted)}")
    inputs, outputs = arrays[wanted[0]], arrays[wanted[1]]
    n = len(inputs) if inputs.ndim else 0
    if not 1 <= n <= REFERENCE_INPUTS_MAX:
        raise ValueError(f"found {n} reference inputs, allowed are 1 to {REFERENCE_INPUTS_MAX}")
    for name, array, dtypes, shape in (
        (wanted[0], inputs, ("uint8",), (n, *spec.input.shape[1:])),
        (wanted[1], outputs, ("float16", "float32"), (n, *spec.outputs[0].shape[1:])),
    ):
        if array.dtype.name not in dtypes or array.shape != shape:
            raise ValueError(
                f"{name} is {array.dtype} {list(array.shape)}, allowed is {' or '.join(dtypes)} {list(shape)}"
            )
    if not (np.isfinite(outputs).all() and outputs.min() >= 0 and outputs.max() <= 1):
        raise ValueError(f"{wanted[1]} has values outside 0..1")
    for channel, label in enumerate(spec.labels):
        # A reference in which nothing is found would prove nothing about finding.
        if not (outputs[:, channel] >= label.threshold).any():
            raise ValueError(f"no reference output reaches the threshold {label.threshold} of label {label.name}")
    inputs, outputs = np.ascontiguousarray(inputs), np.ascontiguousarray(outputs, np.float32)
    inputs.flags.writeable = outputs.flags.writeable = False
    return inputs, outputs


def _arrays(npz: bytes) -> dict[str, Array]:
    """The arrays in the bytes of an npz file. Raises ValueError."""
    try:
        with zipfile.ZipFile(io.BytesIO(npz)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked <= REFERENCE_BYTES_MAX:
            with np.load(io.BytesIO(npz), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # zipfile, zlib and numpy's reader of headers raise nearly anything
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"not a readable .npz file: {said}") from None
    raise ValueError(f"{unpacked} bytes when unpacked, at most {REFERENCE_BYTES_MAX} are allowed")
