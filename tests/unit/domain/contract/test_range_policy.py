"""Numbers outside their range are counted as they were sent, and clipped as the contract says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.contract import ModelSpec, Number, Quantity, RangePolicy, Tensor
from domain.errors import InputError
from tests.contracts import FLAT, GOOD, REVIEW

TOLERANT = ModelSpec(
    "tolerant",
    (
        Tensor("plan", (2,), 0, 1),
        Number("refused", "", 0, 1),
        Number("clipped", "", 0, 1, nullable=True, outside="clip"),
        Number("accepted", "", -0.1, 0.1, nullable=True, outside="accept"),
    ),
    Quantity("q"),
)


def test_numbers_outside_are_counted_by_input_before_they_are_clipped() -> None:
    values = [(0.5, 0.0), (1.5, 0.1), (-1, -0.2), (None, None), (1, 1e30), (2, 0.1)]
    rows = [[[0, 1], 1, *pair] for pair in values]
    policy = RangePolicy(TOLERANT)
    unclipped = policy.unclipped.encode_rows(rows)
    assert policy.tolerant_names == ("clipped", "accepted")
    assert policy.count_outside(unclipped) == {"clipped": 3, "accepted": 2}
    np.testing.assert_array_equal(policy.clip(unclipped), TOLERANT.encode_rows(rows))
    assert policy.count_outside(TOLERANT.encode_rows(rows))["clipped"] == 0
    with pytest.raises(InputError, match="refused: 2 is outside"):
        policy.unclipped.encode_rows([[[0, 1], 2, 0, 0]])


@given(st.lists(st.floats(-3, 3, allow_nan=False), min_size=1))
def test_clipping_later_is_the_same_as_clipping_at_once(numbers: list[float]) -> None:
    spec = ModelSpec("m", (Number("x", "", -0.1, 0.7, outside="clip"),), Quantity("q"))
    rows = [[number] for number in numbers]
    policy = RangePolicy(spec)
    unclipped = policy.unclipped.encode_rows(rows)
    assert (policy.clip(unclipped) == spec.encode_rows(rows)).all()
    assert policy.unclipped.to_dict() != spec.to_dict()


def test_a_contract_that_clips_nothing_stays_as_it_is() -> None:
    encoded = FLAT.encode_rows([GOOD])
    policy = RangePolicy(FLAT)
    assert policy.unclipped is FLAT and policy.clip(encoded) is encoded
    assert not policy.tolerant_names and not policy.count_outside(encoded)
    assert not RangePolicy(REVIEW).count_outside(REVIEW.encode_rows([["fine"]]))
