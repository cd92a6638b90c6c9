"""Noise and batches of samples."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equidrift.models.shared.draws import in_batches, normal_draws

CPU = torch.device("cpu")


@pytest.mark.parametrize(("per_batch", "sizes"), [(1, [1] * 7), (5, [2, 2, 2, 1]), (99, [7])])
def test_batches_of_samples_hold_what_fits_and_join_to_all_of_them(
    per_batch: int, sizes: list[int]
) -> None:
    like, seen = torch.zeros((), dtype=torch.float64, device=CPU), []

    def work(rows: slice) -> Tensor:
        seen.append(rows.stop - rows.start)
        return normal_draws((seen[-1], 3), 5, like, first=rows.start)()

    made = in_batches(work, 7, 2, per_batch, CPU)
    assert seen == sizes
    assert torch.equal(made, normal_draws((7, 3), 5, like)())


def test_rows_without_size_make_one_batch() -> None:
    made = in_batches(lambda rows: torch.arange(rows.start, rows.stop, device=CPU), 9, 0, 1, CPU)
    assert made.tolist() == list(range(9))
