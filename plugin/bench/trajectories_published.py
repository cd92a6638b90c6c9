"""Figures of arXiv:2410.13027, for the rows `...-published` of `equidrift bench
trajectories`.
"""

from __future__ import annotations

from equidrift.bench.rows import Row, published

# ADE and FDE, tables 1, 2 and 3. MD17's own rows carry its name, ours never do.
PUBLISHED = {
    "charged": {"geotdm": (0.110, 0.258), "egnn": (0.186, 0.426)},
    "spring": {"geotdm": (0.0030, 0.0079), "egnn": (0.0101, 0.0231)},
    "gravity": {"geotdm": (0.256, 0.613), "egnn": (0.310, 0.709)},
    "eth-ucy": {"geotdm": (0.23, 0.40), "linear": (0.53, 1.14)},
    "eth-ucy-eth": {"geotdm": (0.46, 0.64)},
    "eth-ucy-hotel": {"geotdm": (0.13, 0.21)},
    "eth-ucy-univ": {"geotdm": (0.24, 0.45)},
    "eth-ucy-zara1": {"geotdm": (0.21, 0.39)},
    "eth-ucy-zara2": {"geotdm": (0.16, 0.30)},
    "md17-aspirin": {"geotdm": (0.107, 0.193), "egnn": (0.267, 0.564)},
    "md17-benzene": {"geotdm": (0.023, 0.039), "egnn": (0.024, 0.042)},
    "md17-ethanol": {"geotdm": (0.115, 0.209), "egnn": (0.268, 0.401)},
    "md17-malonaldehyde": {"geotdm": (0.107, 0.176), "egnn": (0.393, 0.958)},
    "md17-naphthalene": {"geotdm": (0.064, 0.087), "egnn": (0.095, 0.133)},
    "md17-salicylic": {"geotdm": (0.083, 0.120), "egnn": (0.159, 0.348)},
    "md17-toluene": {"geotdm": (0.083, 0.121), "egnn": (0.207, 0.294)},
    "md17-uracil": {"geotdm": (0.074, 0.099), "egnn": (0.154, 0.282)},
}

# marginal, classification and prediction, tables 4 and 5
PUBLISHED_UNCONDITIONAL = {
    "charged": (0.0055, 0.556, 0.00978),
    "md17-ethanol": (0.314, 0.463, 0.0235),
}


def paper_rows() -> list[Row]:
    """All rows of the paper."""
    rows = [
        published(f"{system}/{name}-published", {"ADE": ade, "FDE": fde})
        for system, methods in PUBLISHED.items()
        for name, (ade, fde) in methods.items()
    ]
    names = ("marginal", "classification", "prediction")
    return rows + [
        published(f"{system}-unconditional/geotdm-published", dict(zip(names, values, strict=True)))
        for system, values in PUBLISHED_UNCONDITIONAL.items()
    ]
