"""The one door to harvesters and genicam. Nothing of theirs leaves this folder.

The work-arounds follow from the behaviour of harvesters 1.4.3 and genicam 1.6: only one thread may touch
them (a second one can freeze the interpreter), ``update()`` is called once, a lost device needs a forced
close, frames that came late must never be taken for the next part's.
"""

from inspector.acquire.genicam.camera import GenicamCamera, describe, keep, visited
from inspector.acquire.genicam.library import Library, producers

__all__ = ["GenicamCamera", "Library", "describe", "keep", "producers", "visited"]
