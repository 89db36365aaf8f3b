r"""Tables as LaTeX, for papers in the styles of ACM (acmart) and Springer (llncs).

A table goes into one column of ACM's two where it fits there, or else over the width of the text, of which Springer's
is the narrower. Names wrap where that makes it fit, and what is wider all the same is cut into parts. Widths are
those of Computer Modern in bold at 8 points, the widest letters that a paper in these styles has: with ACM's own
Libertine, or where a figure is not bold, more room is left.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

# In points. A column of acmart's sigconf has 241.1 and of sigplan 241.1, the text of llncs 347.1 and of acmart 395.8
# (acmsmall) to 506.3 (sigconf).
_ROOM = {"table": 240.0, "table*": 346.0}
_BETWEEN_COLUMNS = 6.0
# No figure is wider, but for ones of more than 6 digits before the point, so that only names wrap.
_NARROWEST_WRAPPED = 78.0
# Of a part, and of one with notes: so many stay on one page, with the caption and the headings.
_MOST_LINES, _MOST_LINES_WITH_NOTES = 40, 46

_SPECIAL = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"},
        **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"},
        **{"±": r"$\pm$", "–": "--"},
    }
)
# Beside the letters of Western and Central Europe.
_ALSO_IN_LATEX = "–—‘’‚“”„†‡•…‰‹›€™"
# Widths in points of the characters of cmbx8 (and cmsy for ± and the marks), rounded up.
_WIDTHS = {
    character: width
    for width, characters in {
        3.0: "!',.:;[]`fijl|",
        3.5: " -",
        4.0: "()Ist†‡",
        4.5: "cerz",
        5.0: '"$*/0123456789?\\ago{}',
        5.5: "JSbdhknpquvxy–",
        6.0: "LZ^~",
        6.5: "EF",
        7.0: "BPT±",
        7.5: "ACDOQRVXYw",
        8.0: "&+<=>@GHKNU_",
        8.5: "#%m",
        9.5: "M",
        10.5: "W",
    }.items()
    for character in characters
}
_WIDEST = 12.0
_NEXT_LINE = r"\\"


def in_latex(text: str) -> str:
    """Text on one line, with LaTeX's special characters escaped, and those named that pdfLaTeX lacks."""
    escaped = "".join(map(_character_in_latex, _one_line(text)))
    # At the beginning of a row they would be taken for an option of the row before.
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped


def _one_line(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _is_in_latex(character: str) -> bool:
    return "\x20" <= character <= "\x7e" or "\xa1" <= character <= "\u017e" or character in _ALSO_IN_LATEX


def _character_in_latex(character: str) -> str:
    return character.translate(_SPECIAL) if _is_in_latex(character) else f"(U+{ord(character):04X})"


def width_of(text: str) -> float:
    """Points that a text takes at most, at the size of tables."""
    return sum(map(_width_of_character, _one_line(text)))


def _width_of_character(character: str) -> float:
    if not _is_in_latex(character):
        return width_of(f"(U+{ord(character):04X})")
    return _WIDTHS.get(character) or _WIDTHS.get(unicodedata.normalize("NFD", character)[0], _WIDEST)


def breakable(text: str, width: float) -> str:
    """Text in LaTeX, with places to break words that are wider than some points."""
    return " ".join(r"\allowbreak{}".join(map(in_latex, _pieces(word, width))) for word in _one_line(text).split(" "))


def _pieces(word: str, width: float) -> Iterator[str]:
    piece = ""
    for character in word:
        if piece and width_of(piece + character) > width:
            yield piece
            piece = ""
        piece += character
    yield piece


@dataclass(frozen=True)
class Cell:
    """A cell: its text, and how LaTeX writes it where the text alone does not say it."""

    text: str
    latex: str = ""


@dataclass(frozen=True)
class _Part:
    """Some columns of a table, as narrow as they have to be."""

    environment: str
    columns: list[int]
    widest: float

    def lines_of(self, row: Sequence[Cell]) -> int:
        """How many lines a row takes at most."""
        return max(_lines_of_cell(row[column], self.widest) for column in self.columns)


def latex_table(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[Cell]], notes: Sequence[str], keys: int = 1
) -> str:
    r"""A table as one floating environment or, where it has too many columns or rows for one, as several.

    It needs LaTeX's package booktabs.

    Parameters
    ----------
    title : str
        The caption.
    headings : list of str
        One for each column. Those that are wider than their column are broken at spaces and before "@".
    rows : list of list of Cell
        One for each column. A column without anything but "–" is left out; one that says the same in every row (but
        the first one) becomes a note.
    notes : list of str
        Sentences that stand under the last part.
    keys : int
        How many columns, from the first, say what a row is about; every part has them.
    """
    notes = list(notes)
    shown, same = [0], []
    for column in range(1, len(headings)):
        cells = {row[column] for row in rows}
        if cells == {Cell("–")}:
            continue
        if len(rows) > 1 and len(cells) == 1 and not any(cell.latex for cell in cells):
            same.append(f"{headings[column]} {rows[0][column].text}")
        else:
            shown.append(column)
    if same:
        notes.append(f"In every row: {'; '.join(same)}.")
    keys = sum(column < keys for column in shown)
    widths = {column: _width_of_column(headings[column], [row[column] for row in rows]) for column in shown}
    parts = [
        (part, lines)
        for part in _parts(shown[:keys], shown[keys:], widths)
        for lines in _pages(rows, part)
    ]
    parts[-1:] = _with_room_for_notes(*parts[-1], notes)
    written = []
    for number, (part, lines) in enumerate(parts, start=1):
        caption = title + (f", part {number} of {len(parts)}" if len(parts) > 1 else "")
        written.append(_environment(caption, headings, lines, part, notes if number == len(parts) else []))
    return "\n".join(written)


def _width_of_column(heading: str, cells: Sequence[Cell]) -> float:
    return max(chain(map(width_of, _lines_of_heading(heading)), (width_of(cell.text) for cell in cells)))


def _lines_of_heading(heading: str) -> list[str]:
    return re.sub(r"(?<=[^\s])@", " @", heading).split()


def _heading(heading: str, width: float) -> str:
    if width_of(heading) <= width:
        return in_latex(heading)
    lines = [""]
    for word in chain.from_iterable(_pieces(word, width) for word in _lines_of_heading(heading)):
        # What was one word stays one, but for its line.
        joined = lines[-1] + ("" if word.startswith("@") else " ") + word if lines[-1] else word
        if width_of(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return rf"\shortstack[r]{{{_NEXT_LINE.join(map(in_latex, filter(None, lines)))}}}"


def _parts(keys: list[int], others: list[int], widths: dict[int, float]) -> list[_Part]:
    """The columns, in one part where one width of the page has room for it, or else in as few as have room."""
    for environment, room in _ROOM.items():
        widest = _widest_that_fits([*keys, *others], widths, room)
        if widest:
            return [_Part(environment, [*keys, *others], widest)]
    parts: list[list[int]] = [[]]
    for column in others:
        if parts[-1] and not _widest_that_fits([*keys, *parts[-1], column], widths, _ROOM["table*"]):
            parts.append([])
        parts[-1].append(column)
    return [
        part for columns in parts for part in _parts_or_narrowest([*keys, *columns], widths)
    ]


def _parts_or_narrowest(columns: list[int], widths: dict[int, float]) -> list[_Part]:
    for environment, room in _ROOM.items():
        widest = _widest_that_fits(columns, widths, room)
        if widest:
            return [_Part(environment, columns, widest)]
    room = _ROOM["table*"] - _BETWEEN_COLUMNS * (len(columns) - 1)
    return [_Part("table*", columns, room / len(columns))]


def _widest_that_fits(columns: Sequence[int], widths: dict[int, float], room: float) -> float:
    """How wide columns may be at most so that there is room for all; 0 where they would be too narrow."""
    room -= _BETWEEN_COLUMNS * (len(columns) - 1)
    widest = max(widths[column] for column in columns)
    while sum(min(widths[column], widest) for column in columns) > room:
        widest -= 1
        if widest < _NARROWEST_WRAPPED:
            return 0.0
    return widest


def _pages(rows: Sequence[Sequence[Cell]], part: _Part) -> Iterator[list[Sequence[Cell]]]:
    page: list[Sequence[Cell]] = []
    lines = 0
    for row in rows:
        of_row = part.lines_of(row)
        if page and lines + of_row > _MOST_LINES:
            yield page
            page, lines = [], 0
        page.append(row)
        lines += of_row
    yield page


def _with_room_for_notes(
    part: _Part, rows: list[Sequence[Cell]], notes: Sequence[str]
) -> list[tuple[_Part, list[Sequence[Cell]]]]:
    """A part of a table, or two of which the second has few enough rows for the notes to stay on its page."""
    # Words do not fill their lines.
    room = 0.9 * _ROOM[part.environment]
    lines = sum(1 + int(width_of(note) / room) for note in notes)
    kept = len(rows)
    while kept > 1 and lines + sum(map(part.lines_of, rows[-kept:])) > _MOST_LINES_WITH_NOTES:
        kept -= 1
    return [(part, rows)] if kept == len(rows) else [(part, rows[:-kept]), (part, rows[-kept:])]


def _lines_of_cell(cell: Cell, width: float) -> int:
    # A line that wraps is filled by half at least, since words that are wider are broken.
    return 1 if width_of(cell.text) <= width else 1 + int(2 * width_of(cell.text) / width)


def _environment(
    caption: str, headings: Sequence[str], rows: Sequence[Sequence[Cell]], part: _Part, notes: Sequence[str]
) -> str:
    widths = {
        column: min(part.widest, _width_of_column(headings[column], [row[column] for row in rows]))
        for column in part.columns
    }
    lines = [
        " & ".join(_heading(headings[column], widths[column]) for column in part.columns),
        *(" & ".join(_cell(row[column], part.widest) for column in part.columns) for row in rows),
    ]
    lines = [rf"{line} \\" for line in lines]
    room = _ROOM[part.environment]
    return "\n".join(
        [
            rf"\begin{{{part.environment}}}[tbp]",
            r"\centering",
            rf"\caption{{{breakable(caption, room / 2)}}}",
            r"\fontsize{8}{9.5}\selectfont\setlength{\tabcolsep}{3pt}",
            rf"\begin{{tabular}}{{@{{}}l{'r' * (len(part.columns) - 1)}@{{}}}}",
            *(r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"),
            r"\end{tabular}",
            *([r"\par\smallskip\raggedright"] if notes else []),
            *(rf"{breakable(note, room / 2)}\par" for note in notes),
            rf"\end{{{part.environment}}}",
            "",
        ]
    )


def _cell(cell: Cell, width: float) -> str:
    if width_of(cell.text) <= width:
        return cell.latex or in_latex(cell.text)
    # A first word would not be broken without something before it.
    return rf"\parbox[t]{{{width:.0f}pt}}{{\raggedright\hspace{{0pt}}{breakable(cell.text, width - 1)}\strut}}"
