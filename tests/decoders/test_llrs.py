# SPDX-License-Identifier: GPL-3.0-or-later
"""What every decoder makes of LLRs that are no ordinary numbers, and of their scale."""

import functools

import every_decoder
import numpy as np
import pytest

# Statistical allowances: paired frames, of which few change sides; a rule and its limit, which
# may fail on other frames.
SLACK = 0.03
UNPAIRED = 0.1

# What a rule becomes as LLRs grow: the decoder of the rule that does not mind their scale.
LIMITS = {
    "bp": "min-sum:50,1",
    "bp-layered": "min-sum-layered:50,1",
    "bp:20": "min-sum:20,1",
    "bp:30": "min-sum:30,1",
    "bcjr": "bcjr:max-log",
    "sc:exact": "sc",
    "scl:4,exact": "scl:4",
    "osd:2,early": "osd:2",
}
# Networks that ask for true LLRs.
TRUE_LLRS = ("syndrome", "syndrome-ae", "syndrome-osd")
# Decoders of received values, not of LLRs: a large one is loud noise to them.
RECEIVED_VALUES = ("bcjr-burst",)
OF_LLRS = [case for case in every_decoder.CASES if not case.startswith(RECEIVED_VALUES)]


def frame_errors(decoder, llrs, messages):
    return np.mean((decoder.decode(llrs)[0] != messages).any(axis=1))


@functools.cache
def noisy(case):
    """A decoder, messages, LLRs of which a tenth to a half of the frames cannot be decoded,
    and the sign of each LLR without noise."""
    decoder, code = every_decoder.make(case)
    frames = 60 if case.startswith(("rnn", "bcjr-burst")) else 300
    for deviation in 0.4 * 1.08 ** np.arange(40):
        messages, llrs = every_decoder.noisy(code, frames, 3, deviation)
        if frame_errors(decoder, llrs, messages) >= 0.1:
            return decoder, messages, llrs, 2.0 * code.encode(messages) - 1
    raise AssertionError("no noise is too much")


def few(case):
    """As `noisy`, a dozen frames with much noise."""
    decoder, code = every_decoder.make(case)
    messages, llrs = every_decoder.noisy(code, 12, 3, 0.8)
    return decoder, messages, llrs, 2.0 * code.encode(messages) - 1


@pytest.mark.statistics
@pytest.mark.parametrize("case", OF_LLRS)
def test_infinity_is_certainty_with_its_sign(case):
    decoder, messages, llrs, signs = noisy(case)
    known = np.random.default_rng(4).random(llrs.shape) < 0.15
    plain = frame_errors(decoder, llrs, messages)
    errors = {}
    for value in (1e3, np.inf):
        some = np.where(known, signs * value, llrs).astype(np.float32)
        _, stats = decoder.decode(some)
        assert stats["bad_samples"] == 0
        errors[value] = frame_errors(decoder, some, messages)
    assert errors[np.inf] <= errors[1e3] + SLACK
    assert errors[np.inf] <= plain + SLACK


@pytest.mark.parametrize("case", OF_LLRS)
def test_all_of_a_frame_certain(case):
    decoder, messages, _, signs = few(case)
    assert np.array_equal(decoder.decode((signs * np.inf).astype(np.float32))[0], messages)


@pytest.mark.parametrize("case", every_decoder.CASES)
def test_nan_is_nothing_known(case):
    decoder, _, llrs, _ = few(case)
    unknown = np.random.default_rng(4).random(llrs.shape) < 0.03
    decided, stats = decoder.decode(np.where(unknown, np.nan, llrs))
    assert stats["bad_samples"] == unknown.sum()
    expected, _ = decoder.decode(np.where(unknown, 0, llrs))
    assert np.array_equal(decided, expected)
    decided, stats = decoder.decode(np.full_like(llrs[:2], np.nan))
    assert stats["bad_samples"] == llrs[:2].size
    assert np.isin(decided, (0, 1)).all()


@pytest.mark.statistics
@pytest.mark.parametrize("value", [30.0, 1e3, 1e4, 1e6, 1e8, 1e12, 1e20, 3e38])
@pytest.mark.parametrize("case", OF_LLRS)
def test_a_larger_right_llr_never_makes_it_worse(case, value):
    decoder, messages, llrs, signs = noisy(case)
    plain = frame_errors(decoder, llrs, messages)
    rng = np.random.default_rng(5)
    for outliers in (1, 3):
        some = llrs.copy()
        for at in rng.integers(0, llrs.shape[1], (outliers, len(llrs))):
            some[np.arange(len(llrs)), at] = signs[np.arange(len(llrs)), at] * np.float32(value)
        assert frame_errors(decoder, some, messages) <= plain + SLACK


def scaled():
    """Cases with scales: none of networks that ask for true LLRs, nor small scales of rules that
    ask for them and have no limit there."""
    for case in every_decoder.CASES:
        spec, _ = every_decoder.specs_of(case)
        if spec.partition(":")[0] not in TRUE_LLRS:
            for scale in (1e-3, 8, 15, 30, 1e3, 1e6):
                if scale >= 1 or spec not in LIMITS:
                    yield case, scale


@pytest.mark.statistics
@pytest.mark.parametrize("case, scale", list(scaled()))
def test_scale_costs_no_more_than_the_limit_of_the_rule(case, scale):
    decoder, messages, llrs, _ = noisy(case)
    spec, code = every_decoder.specs_of(case)
    limit = frame_errors(decoder, llrs, messages)
    if spec in LIMITS:
        by_limit, _ = every_decoder.make(f"{LIMITS[spec]} on {code}")
        limit = max(limit, frame_errors(by_limit, llrs, messages))
    assert frame_errors(decoder, (llrs * scale).astype(np.float32), messages) <= limit + UNPAIRED
