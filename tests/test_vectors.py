import numpy as np
import pmt
import pytest
from gnuradio.neuralfec import vectors


@pytest.mark.parametrize(
    ("array", "vector"),
    [
        (np.array([0, 255], np.uint8), pmt.init_u8vector(2, [0, 255])),
        (np.array([1.5, -3], np.float32), pmt.init_f32vector(2, [1.5, -3])),
        (np.array([1 + 2j], np.complex64), pmt.init_c32vector(1, [1 + 2j])),
        (np.array([1, 2**32 - 1], np.uint32), pmt.init_u32vector(2, [1, 2**32 - 1])),
        (np.array([2**63], np.uint64), pmt.init_u64vector(1, [2**63])),
        (np.empty(0, np.uint8), pmt.init_u8vector(0, [])),
    ],
)
def test_vectors_are_those_of_pmt(array, vector):
    assert pmt.equal(vectors.from_array(array), vector)
    back = vectors.to_array(vector)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_vectors_refuse_the_rest():
    for wrong in (np.zeros(2), np.zeros((2, 2), np.float32)):
        with pytest.raises(ValueError, match="expected a one-dim"):
            vectors.from_array(wrong)
    for wrong in (pmt.PMT_T, pmt.init_s16vector(1, [1])):
        with pytest.raises(ValueError, match="expected a"):
            vectors.to_array(wrong)
