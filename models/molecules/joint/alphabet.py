"""What a joint model's tokens may be: types of heavy atoms, how many of them, which
properties it is told, and the scale of its places.

A network is made for one alphabet, which its card names. That of QM9 has the types that
QM9 has. That of drug-size molecules has those of ZINC, with all charges that a neutral
molecule can balance: both are (element, formal charge, hydrogens carried), so that
hydrogens need no tokens. A drug-size molecule has 23 heavy atoms on average and 43
atoms in all: with explicit hydrogens each network call would have 3.5 times as many
pairs to work on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.valency import VALENCES
from equidrift.errors import UnknownNameError
from equidrift.models.molecules.data import PROPERTIES, USUAL
from equidrift.records import SYMBOLS

Type = tuple[int, int, int]  # element, formal charge, hydrogens carried
ORDERS = 9  # sums of bond orders that are told apart: 0 to 8, and more
DRUG_PROPERTIES = ("logP", "MW", "QED", "SA", "TPSA")  # by RDKit, of the graph alone


@dataclass(frozen=True)
class Alphabet:
    """Types of tokens and what goes with them.

    Attributes
    ----------
    name : str
        In the card's `config`.
    types : tuple of (element, formal charge, hydrogens)
    most_heavy : int
        Tokens of a molecule at most.
    properties : tuple of str
        What the network can be told.
    usual : tuple of str
        Those of them that are shown most often.
    spread_A, noise_A : float
        Spread of the coordinates, and the highest noise level.
    described : str
        Where the types come from, for messages.
    """

    name: str
    types: tuple[Type, ...]
    most_heavy: int
    properties: tuple[str, ...]
    usual: tuple[str, ...]
    spread_A: float
    noise_A: float
    described: str

    @cached_property
    def type_of(self) -> dict[Type, int]:
        """The index of each type."""
        return {kind: k for k, kind in enumerate(self.types)}

    @cached_property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers of the heavy atoms, in rising order."""
        return tuple(sorted({z for z, _, _ in self.types}))

    @cached_property
    def features(self) -> tuple[tuple[float, ...], ...]:
        """Of each type: its element as a unit vector, its charge, its hydrogens."""
        return tuple(
            (*(float(z == e) for e in self.elements), float(q), float(h)) for z, q, h in self.types
        )

    @cached_property
    def fits(self) -> NDArray[np.bool_]:
        """Whether a type (n_types,) is closed-shell with these sums of bond orders to
        heavy atoms (ORDERS,); (n_types, ORDERS).
        """
        table = np.zeros((len(self.types), ORDERS), bool)
        for k, (z, q, h) in enumerate(self.types):
            table[k, [v - h for v in VALENCES[z, q] if v >= h]] = True
        return table

    @cached_property
    def most(self) -> tuple[int, ...]:
        """The greatest of those sums, by type."""
        return tuple(int(np.flatnonzero(row).max()) for row in self.fits)


def _types(text: str) -> tuple[Type, ...]:
    """Types out of words such as "N1:0-3": ammonium nitrogens with 0 to 3 hydrogens."""
    words = re.findall(r"([A-Z][a-z]?)(-?\d):(\d)-(\d)", text)
    return tuple(
        (SYMBOLS.index(symbol), int(charge), hydrogens)
        for symbol, charge, fewest, most in words
        for hydrogens in range(int(fewest), int(most) + 1)
    )


QM9_TOKENS = Alphabet(
    name="qm9",
    described="QM9",
    types=_types("C-1:0-1 C0:0-4 N-1:0-0 N0:0-3 N1:0-3 O-1:0-0 O0:0-2 F0:0-0"),
    most_heavy=9,
    properties=PROPERTIES,
    usual=USUAL,
    spread_A=1.2,
    noise_A=6.0,
)
# every (element, formal charge, hydrogens) that a ten-thousandth of ZINC's molecules have once they
# are neutral, and P and I, which fewer have
DRUG_TOKENS = Alphabet(
    name="drug",
    described="ZINC's drug-size molecules",
    types=_types(
        "C0:0-3 N-1:0-0 N0:0-2 N1:0-3 O-1:0-0 O0:0-1 F0:0-0 P0:0-0 S-1:0-0 S0:0-1 Cl0:0-0 Br0:0-0 "
        "I0:0-0"
    ),
    most_heavy=40,
    properties=DRUG_PROPERTIES,
    usual=DRUG_PROPERTIES,
    spread_A=2.6,
    noise_A=12.0,
)
ALPHABETS = {alphabet.name: alphabet for alphabet in (QM9_TOKENS, DRUG_TOKENS)}


def alphabet_of(name: str) -> Alphabet:
    """The alphabet of a name.

    Raises `UnknownNameError` for another.
    """
    if name not in ALPHABETS:
        raise UnknownNameError("alphabet of the joint model", name, ALPHABETS)
    return ALPHABETS[name]
