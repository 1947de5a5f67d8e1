"""Block letters made of half blocks, in three shapes: bold for PASS and REJECT, thinner ones for longer words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bitmap = NDArray[np.bool_]

# letters of the two words seen all day, with strokes two dots wide; and how the columns widen for a big window
_BOLD: dict[str, tuple[str, tuple[int, ...]]] = {
    "A": (".####. ##..## ###### ##..## ##..##", (1, 2, 1, 1, 2, 1)),
    "C": (".#### ##... ##... ##... .####", (1, 2, 1, 1, 1)),
    "E": ("##### ##... ####. ##... #####", (1, 2, 1, 1, 1)),
    "J": ("...## ...## ...## ##.## .###.", (1, 2, 1, 2, 1)),
    "P": ("#####. ##..## #####. ##.... ##....", (1, 2, 1, 1, 2, 1)),
    "R": ("#####. ##..## #####. ##.##. ##..##", (1, 2, 1, 1, 2, 1)),
    "S": (".##### ##.... .####. ....## #####.", (1, 2, 1, 1, 2, 1)),
    "T": ("###### ..##.. ..##.. ..##.. ..##..", (1, 1, 1, 2, 1, 1)),
}
_BROAD = {
    "A": ".###. #...# ##### #...# #...#",
    "C": ".#### #.... #.... #.... .####",
    "D": "####. #...# #...# #...# ####.",
    "E": "##### #.... ####. #.... #####",
    "I": "### .#. .#. .#. ###",
    "N": "#...# ##..# #.#.# #..## #...#",
    "O": ".###. #...# #...# #...# .###.",
    "P": "####. #...# ####. #.... #....",
    "R": "####. #...# ####. #..#. #...#",
    "S": ".#### #.... .###. ....# ####.",
    "T": "##### ..#.. ..#.. ..#.. ..#..",
    "Y": "#...# .#.#. ..#.. ..#.. ..#..",
}
_SLIM = {
    "A": "### #.# ### #.# #.#",
    "C": "### #.. #.. #.. ###",
    "D": "##. #.# #.# #.# ##.",
    "E": "### #.. ##. #.. ###",
    "I": "# # # # #",
    "N": "#..# ##.# #.## #..# #..#",
    "O": "### #.# #.# #.# ###",
    "P": "### #.# ### #.. #..",
    "R": "##. #.# ##. #.# #.#",
    "S": "### #.. ### ..# ###",
    "T": "### .#. .#. .#. .#.",
    "Y": "#.# #.# .#. .#. .#.",
}


def _letter(pattern: str) -> Bitmap:
    return np.array([[dot == "#" for dot in row] for row in pattern.split()])


def _word(letters: list[Bitmap]) -> Bitmap:
    """Letters side by side, one dot between them."""
    gap = np.zeros((letters[0].shape[0], 1), np.bool_)
    return np.hstack([part for letter in letters for part in (letter, gap)][:-1])


def _bold(word: str, big: bool) -> Bitmap:
    letters = []
    for char in word:
        pattern, wide = _BOLD[char]
        letter = _letter(pattern)
        letters.append(letter.repeat(wide, axis=1).repeat(3, axis=0) if big else letter.repeat(2, axis=0))
    return _word(letters)


def _stack(words: list[Bitmap]) -> Bitmap:
    width = max(word.shape[1] for word in words)
    rows: list[Bitmap] = []
    for word in words:
        rows += [np.pad(word, ((0, 0), (0, width - word.shape[1]))), np.zeros((1, width), np.bool_)]
    return np.vstack(rows[:-1])


def block(text: str, width: int, height: int) -> Bitmap | None:
    """The largest shape of ``text`` that fits into (height, width) dots, None when none does.

    Several words stand under each other.
    """
    words = text.split()
    for big in (True, False):
        if all(char in _BOLD for word in words for char in word):
            bitmap = _stack([_bold(word, big) for word in words])
            if bitmap.shape[0] <= height and bitmap.shape[1] <= width:
                return bitmap
    for font in (_BROAD, _SLIM):
        if all(char in font for word in words for char in word):
            bitmap = _stack([_word([_letter(font[char]) for char in word]) for word in words])
            if bitmap.shape[0] <= height and bitmap.shape[1] <= width:
                return bitmap
    return None


_HALVES = np.array([" ", "▄", "▀", "█"])


def halves(bitmap: Bitmap) -> list[str]:
    """A (2 * rows, columns) bitmap as ``rows`` lines of half blocks."""
    index = bitmap[0::2].astype(np.intp) * 2 + bitmap[1::2]
    return ["".join(row) for row in _HALVES[index]]
