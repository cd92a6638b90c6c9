"""Text from outside, checked once at the door: encodable, without control characters,
of a length that makes sense.
"""

from __future__ import annotations

import re
import unicodedata

from equidrift.errors import InputError, InputTypeError

MAX_SMILES = 100_000  # characters; a protein of 1,000 residues has about 30,000
MAX_NAME = 10_000  # characters of a molecule's name or title
MAX_LABEL = 64  # characters of the name of an atom or residue; PDB has 4
MAX_VALUE = 1_000_000  # characters of a property's value
_LINES = "\n\t"  # the control characters that a value of several lines may have
_TITLE = 120  # characters of a title in a summary
_SHOWN = 40  # characters of a text in a message
# SMILES, then ChemAxon's extension |...| (which may hold spaces), then the name
_CONSONANT_Y = re.compile("(?<=[^aeiou])y$")
_LINE = re.compile(r"\s*(\S*)(?:\s+(\|[^|]*\|)(?=\s|$))?\s*(.*)", re.DOTALL)


def check_text(text: object, what: str, most: int, *, lines: bool = False) -> str:
    """Return `text`, or say why it cannot be used.

    Parameters
    ----------
    text : object
        What came.
    what : str
        Its name in the message.
    most : int
        Characters that it may have.
    lines : bool
        Whether it may have line breaks and tabs.

    Raises
    ------
    InputTypeError
        If it is no string.
    InputError
        If it is too long, cannot be encoded as UTF-8 (lone surrogates), or holds
        control characters.
    """
    if not isinstance(text, str):
        raise InputTypeError(f"{what} must be text, not {type(text).__name__}")
    if len(text) > most:
        raise InputError(
            f"{what} has {len(text)} characters, and may have {most}: {text[:_SHOWN]!r}..."
        )
    if text.isprintable():
        return text
    allowed = _LINES if lines else ""
    for place, character in enumerate(text):
        if character not in allowed and unicodedata.category(character) in ("Cc", "Cs"):
            kind = (
                "a control character"
                if unicodedata.category(character) == "Cc"
                else "half of a surrogate pair, which no file can hold"
            )
            near = text[max(0, place - _SHOWN // 2) : place + _SHOWN // 2]
            raise InputError(
                f"{what} holds {kind}, {character!r}, at place {place} ({near!r}); remove it"
            )
    return text


def tidy(text: str, *, lines: bool = False) -> str:
    """A text of a file as `check_text` wants it: control characters become spaces, what
    is not encodable the replacement character.
    """
    if text.isprintable():
        return text.strip()
    allowed = _LINES if lines else ""
    return "".join(_tidy(c, allowed) for c in text.replace("\r\n", "\n")).strip()


def _tidy(character: str, allowed: str) -> str:
    category = unicodedata.category(character)
    if category == "Cs":
        return "\N{REPLACEMENT CHARACTER}"
    return " " if category == "Cc" and character not in allowed else character


def split_smiles(line: str) -> tuple[str, str]:
    """(SMILES with its CXSMILES extension, if any; name) of a line of a SMILES file."""
    match = _LINE.fullmatch(line)
    if match is None:  # cannot be: every part may be empty
        return line, ""
    smiles, extension, name = match.groups()
    return (f"{smiles} {extension}" if extension else smiles), name.strip()


def counted(number: int, noun: str, one: str = "", more: str = "") -> str:
    """A number with its noun, in the plural unless it is 1, and the verb of either:
    "1 entry is", "2 entries are".
    """
    if number == 1:
        return f"{number} {noun} {one}".rstrip()
    return f"{number} {_CONSONANT_Y.sub('ie', noun)}s {more}".rstrip()


def brief(text: str) -> str:
    """A title as a summary shows it: its beginning if it is long."""
    return text if len(text) <= _TITLE else f"{text[: _TITLE - 3]}..."


def one_line(text: str) -> str:
    """A text on one line, for formats whose titles are; spaces within it stay."""
    return " ".join(text.splitlines()).replace("\t", " ").strip()


def decoded(raw: bytes) -> str:
    """The text of a file's bytes: UTF-8, with or without its mark, else Windows' Latin,
    in which old files are.
    """
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")
