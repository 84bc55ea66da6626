"""A feedback code that needs no network: repetition, a running mean, stop on a margin.

What a code must have to ride on sessions, in a few lines. With `payload` its feedback is
digital: the received sample in bytes of 1/16.
"""

from types import SimpleNamespace

import numpy as np
from gnuradio.neuralfec.feedback import code as feedback

K, Q, ROUNDS = 8, 4, 6


class ToyCode(feedback.Code):
    identity = 4711

    def __init__(self, payload: bool = False, termination: str = "receiver"):
        self.payload_bytes = Q if payload else 0
        self.sizes = SimpleNamespace(
            message_bits=K, groups=Q, places=Q, group_bits=2, patterns=4, rounds=ROUNDS,
            termination=termination, first_decision=1,
        )  # fmt: skip

    @property
    def parameters(self):
        return self.sizes

    def encoder(self, capacity):
        return Encoder(self, capacity)

    def decoder(self, capacity):
        return Decoder(self, capacity)


class Encoder(feedback.AskedEncoder):
    def __init__(self, code, capacity):
        self.code = code
        self.rounds = np.zeros(capacity, int)
        self.decoded = np.zeros((capacity, Q), bool)
        self.symbols = np.zeros((capacity, Q), np.float32)
        self.sent = np.zeros((capacity, Q), bool)
        self.labels = np.zeros((capacity, Q), int)
        # All feedback that was taken, to compare with what the receiver got.
        self.heard = np.zeros((capacity, Q))

    def start(self, slots, messages):
        self.rounds[slots], self.decoded[slots], self.heard[slots] = 0, False, 0
        self.labels[slots] = self.code.labels(messages)

    def encode(self, slots):
        x = (2 * self.labels[slots] - 3) / np.sqrt(5)
        x = np.where(self.decoded[slots], 0, x).astype(np.float32)
        self.symbols[slots] = x
        self.sent[slots] = ~self.decoded[slots]
        self.rounds[slots] += 1
        return x

    def observe(self, slots, feedback, decoded):
        if self.code.payload_bytes:
            feedback = feedback.astype(np.uint8).view(np.int8) / 16
        self.heard[slots] += feedback
        self.decoded[slots] |= decoded

    def agrees(self, slots, samples, threshold):
        beliefs = samples / (4 / np.sqrt(3))
        right = beliefs.argmax(2) == self.labels[slots]
        return right.all(1) & (beliefs.max(2).min(1) > threshold)


class Decoder(feedback.AskingDecoder):
    def __init__(self, code, capacity):
        self.code = code
        self.rounds, self.limit = np.zeros(capacity, int), ROUNDS
        self.decoded = np.zeros((capacity, Q), bool)
        self.total = np.zeros((capacity, Q))
        self.count = np.zeros((capacity, Q))

    def start(self, slots):
        for table in (self.rounds, self.decoded, self.total, self.count):
            table[slots] = 0

    def decode(self, slots, received, threshold=None):
        active = ~self.decoded[slots]
        self.total[slots] += np.where(active, received, 0)
        self.count[slots] += active
        self.rounds[slots] += 1
        if threshold is not None:
            margin = 1 / np.sqrt(5) - np.abs(self.level(slots) - self.decisions(slots))
            self.decoded[slots] |= margin * np.sqrt(self.count[slots]) > threshold
        return self.decoded[slots]

    def level(self, slots):
        return (self.total[slots] / self.count[slots] * np.sqrt(5) + 3) / 2

    def decisions(self, slots):
        return np.clip(np.rint(self.level(slots)), 0, 3).astype(int)

    def feedback(self, slots, received):
        if self.code.payload_bytes:
            return np.clip(np.rint(16 * received), -127, 127).astype(np.int8).view(np.uint8)
        return received.astype(np.float32)

    def belief_samples(self, slots):
        distance = np.square(self.level(slots)[:, :, None] - np.arange(4))
        distance -= distance.min(2, keepdims=True)
        beliefs = np.exp(-distance * self.count[slots][:, :, None])
        beliefs /= beliefs.sum(2, keepdims=True)
        return (beliefs * 4 / np.sqrt(3)).astype(np.float32)
