"""Tell a list of addresses, one a line, from a table. An address may hold commas."""

import re
from collections.abc import Sequence

from worker.core.link import cleaned
from worker.formats.lines import ADDRESS, BLANK, Line, is_blank

DELIMITERS = ",;\t|"
_MEDIA = "(?i:mp4|m4v|mov|webm|mkv|avi|mpe?g|wmv|flv|og[gv]|mxf|3gp|ts|m3u8|mp3|wav)"
_MORE_CELLS = re.compile(
    rf'[\s"|]|[,;]{ADDRESS.pattern}|^[^?#]*\.{_MEDIA}[,;](?!.*/.*\.{_MEDIA}(?:[?#]|$))'
)
"""Found in a line that is more than one address: a second one begins, or the first one ends."""

_SURE = re.compile(rf"^[^,;]*$|\.{_MEDIA}(?:[?#][^,;]*)?$")
"""Found in an address whose commas, if it has any, are its own."""


_PATH = re.compile(rf"\.{{0,2}}/.*\.{_MEDIA}$")
"""A path is told by its beginning and its end; it may hold anything between."""


def is_address(text: str) -> bool:
    """Return True if this is one address, perhaps with commas, or the path of a video."""
    return bool(ADDRESS.match(text) and not _MORE_CELLS.search(text)) or bool(_PATH.match(text))


def are_addresses(sample: Sequence[Line]) -> bool:
    """Return True for lines that need no header."""
    texts = (line.text.strip(f'"{BLANK}{DELIMITERS}') for line in sample if not is_comment(line))
    lines = [cleaned(text)[0] for text in texts]
    cells = (not re.search(f"[{DELIMITERS}]", line) or is_address(line) for line in lines)
    return any(map(is_address, lines[:1])) and all(cells) and any(map(_SURE.search, lines))


def is_comment(line: Line) -> bool:
    """Return True if the line is blank or begins with ``#``."""
    return is_blank(line) or line.text.lstrip(BLANK).startswith("#")
