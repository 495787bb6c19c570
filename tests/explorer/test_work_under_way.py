"""The explorer while it works: moves, drags, cancelling, and what goes wrong."""

import asyncio
from contextlib import suppress

import numpy as np
import pytest
from driven import SMALL, assert_shows

from t0qat.explorer import measure
from t0qat.explorer.measure import Setting
from t0qat.explorer.pictures import Drops

# traitlets says so of ipympl's own toolbar.
pytestmark = pytest.mark.filterwarnings("ignore:Passing unrecognized arguments:DeprecationWarning")


def run_async(scenario) -> None:
    asyncio.run(asyncio.wait_for(scenario, 120))


def test_of_many_moves_only_the_newest_is_computed(small, monkeypatch):
    computed = []
    original = measure.published
    monkeypatch.setattr(measure, "published", lambda s: computed.append(s.scaling) or original(s))

    async def scenario():
        values = [value for _, value in small.controls["scaling"].options][5:15]
        for value in values:
            small.controls["scaling"].value = value
        await small.task
        assert computed == values[-1:]
        assert_shows(small, Setting(scaling=values[-1], **SMALL))

    run_async(scenario())


@pytest.fixture
def drawn(monkeypatch) -> list[Setting]:
    """The settings whose losses are drawn, in order."""
    settings_, original = [], Drops.update
    monkeypatch.setattr(Drops, "update", lambda s, f: settings_.append(f.setting) or original(s, f))
    return settings_


def test_a_drag_is_followed_while_it_goes_on(small, drawn):
    """A short computation is drawn though the next move has come: nothing waits for a pause."""
    drawn.clear()

    async def scenario():
        values = [value for _, value in small.controls["scaling"].options][5:35]
        for value in values:
            small.controls["scaling"].value = value
            for _ in range(3):  # fewer turns of the loop than a computation takes
                await asyncio.sleep(0)
        await small.task
        shown = [setting.scaling for setting in drawn]
        assert len(shown) >= 2
        assert shown[-1] == values[-1]
        assert shown == sorted(shown)

    run_async(scenario())


def test_a_move_stops_longer_work_and_the_new_setting_is_drawn(small, drawn, monkeypatch):
    monkeypatch.setattr(measure, "BLOCK", 10)

    async def scenario():
        small.set(replicates=1000)
        for _ in range(5):
            await asyncio.sleep(0.002)
        assert 0 < small.progress.value < small.progress.max == 3 * 100
        assert small.progress.layout.visibility == small.cancel.layout.visibility == "visible"
        small.set(replicates=10)
        await small.task
        assert 1000 not in {setting.replicates for setting in drawn}
        assert_shows(small, Setting(replicates=10))
        assert small.progress.layout.visibility == small.cancel.layout.visibility == "hidden"

    run_async(scenario())


def test_cancel_keeps_the_last_complete_picture_and_sets_the_controls_back(small, monkeypatch):
    monkeypatch.setattr(measure, "BLOCK", 10)
    before, curve = small.sentences, small._pictures["drop"].curves["t0_qat"].get_xydata().copy()

    async def scenario():
        small.set(replicates=1000, scaling=1.0)
        for _ in range(5):
            await asyncio.sleep(0.002)
        small.cancel.click()
        await small.task

    run_async(scenario())
    assert small.sentences == before
    np.testing.assert_array_equal(small._pictures["drop"].curves["t0_qat"].get_xydata(), curve)
    assert_shows(small, Setting(**SMALL))
    assert small.controls["replicates"].value == 20
    assert small.controls["scaling"].value == 80_000.0


def test_cancel_while_networks_train_goes_back_to_the_picture_that_is_whole(untrained, monkeypatch):
    before = untrained.sentences

    async def scenario():
        untrained.set(scaling=1.0)
        while untrained.linear.setting != untrained.wanted:
            await asyncio.sleep(0)
        untrained.cancel.click()
        await untrained.task

    run_async(scenario())
    assert untrained.sentences == before
    assert_shows(untrained, Setting(**SMALL))


def test_cancel_while_circuits_train_goes_back_to_the_picture_that_is_whole(untrained):
    before = untrained.sentences

    async def scenario():
        untrained.set(scaling=1.0)
        while untrained.circuits.setting != untrained.wanted:
            await asyncio.sleep(0)
        assert untrained.circuits.number < measure.CIRCUITS
        untrained.cancel.click()
        await untrained.task

    run_async(scenario())
    assert untrained.sentences == before
    assert_shows(untrained, Setting(**SMALL))


def test_other_work_on_the_loop_goes_on_during_a_long_choice(small, monkeypatch):
    monkeypatch.setattr(measure, "BLOCK", 20)

    async def scenario():
        small.set(replicates=200)
        seen = set()
        while not small.task.done():
            await asyncio.sleep(0)
            seen.add(small.progress.value)
        assert len(seen) > 15

    run_async(scenario())


def test_an_error_in_the_work_does_not_stop_the_explorer(small, monkeypatch):
    def broken(setting):
        raise ValueError("no")
        yield

    async def scenario():
        with monkeypatch.context() as context:
            context.setattr(measure, "published", broken)
            small.set(scaling=1.0)
            with suppress(ValueError):
                await small.task
        small.set(scaling=10.0)
        await small.task
        assert_shows(small, Setting(scaling=10.0, **SMALL))

    run_async(scenario())
