"""A joint network small enough for tests."""

SIZES = {
    "width": 16,
    "pair_width": 8,
    "stages": 2,
    "blocks": 1,
    "triangles": 4,
    "vectors": 4,
    "radial": 6,
}
