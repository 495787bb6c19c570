"""Sentences of the explorer turn with what they are of."""

import numpy as np
from hypothesis import given, settings, strategies

from t0qat.experiments.published import Losses
from t0qat.explorer import words
from t0qat.explorer.measure import Circuits, Linear, Networks, Setting
from t0qat.training.constants import REPORTED, XI

# Sentences


def linear_of(mine, other, before=1.0, **setting) -> Linear:
    losses = {}
    for method, drops in (("t0_qat", mine), ("standard_qat", other), ("no_noise", other)):
        full = np.full(len(drops), before)
        losses[method] = Losses(full, full + drops)
    return Linear(Setting(**setting), losses, {})


@settings(deadline=None)
@given(shift=strategies.floats(0.5, 50), n=strategies.integers(5, 60))
def test_words_turn_with_the_values(shift, n):
    noise = np.random.Generator(np.random.SFC64(n)).normal(0, 0.05, (2, n))
    larger = linear_of(noise[0] + shift, noise[1])
    smaller = linear_of(noise[0], noise[1] + shift)
    for sentence in (words.drops, words.losses):
        assert "larger than Standard QAT" in sentence(larger)
        assert "smaller than Standard QAT" in sentence(smaller)
        assert "would see" not in sentence(larger)
    assert "100.00 % of" in words.losses(larger)
    assert " 0.00 % of" in words.losses(smaller)
    alike = linear_of(noise[0] - noise[0].mean(), noise[1] - noise[1].mean())
    assert "not detectably different from" in words.drops(alike)
    assert "would see" in words.drops(alike)


def test_reported_drops_are_counted_where_they_lie_and_only_for_the_synthetic_data():
    near = {m: np.linspace(row["drop"] - 1, row["drop"] + 1, 100) for m, row in REPORTED.items()}
    both = linear_of(near["t0_qat"], near["standard_qat"])
    assert "2 of 2 reported" in words.drops(both)
    assert "1 of 2 reported" in words.drops(linear_of(near["t0_qat"] + 50, near["standard_qat"]))
    assert "reported" not in words.drops(both._replace(setting=Setting(dataset="diabetes")))
    assert "nothing is disturbed" in words.drops(both._replace(setting=Setting(evaluation_noise=0.0)))


def test_the_accuracy_sentence_is_of_the_chosen_width():
    def found(mine, plain):
        table = np.full((4, 9), 0.5)
        table[:, -1] = 0.9075
        rows = {"t0_qat": table.copy(), "no_noise": table.copy(), "standard_qat": table}
        rows["t0_qat"][:, 2], rows["no_noise"][:, 2] = mine, plain
        return Networks(Setting(bits=3), rows)

    few = words.accuracy(found([0.1, 0.12, 0.11, 0.1], [0.8, 0.81, 0.8, 0.82]))
    assert "INT3" in few
    assert "names 10.8 %" in few
    assert "80.8 %" in few
    assert "smaller than" in few
    assert "costs plain training 10.0 points" in few
    assert "larger than" in words.accuracy(found([0.9, 0.91, 0.9, 0.9], [0.8, 0.81, 0.8, 0.82]))
    same = words.accuracy(found([0.8, 0.81, 0.8, 0.82], [0.8, 0.81, 0.8, 0.82]))
    assert "not detectably different" in same
    one = found([0.8] * 4, [0.8] * 4)
    one = one._replace(accuracy={m: rows[:1] for m, rows in one.accuracy.items()})
    assert "one network each" in words.accuracy(one)


def test_the_sentence_of_the_circuits_turns_with_their_accuracy():
    def found(noise, mine, plain, channel=None):
        rows = {"no_noise": plain, "t0_qat": mine} | ({"channel": channel} if channel else {})
        table = {way: np.repeat(np.array(each)[:, None], 10, 1) for way, each in rows.items()}
        return Circuits(Setting(scaling=noise / XI), table)

    more, less = [0.9, 0.91, 0.9, 0.91], [0.8, 0.82, 0.8, 0.81]
    sentence = words.device(found(0.5, more, less, [0.85] * 4))
    assert "noise 0.5 on its angles names 90.5 %" in sentence
    assert "without noise 80.8 %: the accuracy is larger than" in sentence
    assert "(4 paired circuits)" in sentence
    assert "to 0.88 of its size, gives 85.0 %" in sentence
    assert "smaller than" in words.device(found(0.5, less, more, more))
    assert "not detectably different" in words.device(found(0.5, more, more, more))
    assert "one circuit each" in words.device(found(0.5, more[:1], less[:1]))
    assert "one circuit each" in words.device(found(0.5, more[:1], less[:1], less[:1]))
    assert "80.8 % of the test images" in words.device(found(0.0, less, less, less))
