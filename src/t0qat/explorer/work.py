"""The work that keeps what is drawn up with what is wanted, a step at a time."""

import asyncio
import time
from collections.abc import Generator, Iterator
from typing import Any

import ipywidgets as widgets

from t0qat.explorer import measure
from t0qat.explorer.controls import Controls
from t0qat.explorer.measure import Circuits, Linear, Networks, Setting

PATIENCE = 0.5  # seconds without a progress bar


class Work:
    """Computes at the setting of some controls; a subclass draws.

    linear, networks, circuits: what is drawn, None before `start`. task: the asyncio task that worked
    last, or None. progress, cancel: widgets, visible while work takes long.
    """

    linear: Linear | None = None
    networks: Networks | None = None
    circuits: Circuits | None = None
    task: asyncio.Task | None = None

    def __init__(self, controls: Controls):
        self._controls = controls
        self._busy = widgets.Layout(visibility="hidden")
        self.progress = widgets.IntProgress(min=0, description="Computing", layout=self._busy)
        self.cancel = widgets.Button(
            description="Cancel", tooltip="Stop, and go back to what is drawn", layout=self._busy
        )
        self.cancel.on_click(self._back)

    @property
    def wanted(self) -> Setting:
        return self._controls.setting

    def draw(self, name: str) -> None:
        """Show what is drawn in the picture of that name: drop, losses, weights, bits or device."""
        raise NotImplementedError

    def start(self) -> None:
        """Draw what is wanted, then follow the controls."""
        self._finish()
        self._controls.observe(self._changed, "setting")

    def _back(self, _) -> None:
        """Set the controls back to what all pictures showed last: other work stops."""
        self._controls.setting = self._whole

    def _changed(self, _) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a script: nothing else to let in
            self._finish()
            return
        if self.task is None or self.task.done():
            self.task = loop.create_task(self._follow())

    def _finish(self) -> None:
        for _ in self._work(self.wanted):
            pass
        self._report(0, 0)

    async def _follow(self) -> None:
        """Work until what is drawn is what is wanted; of several wishes only the newest is computed."""
        try:
            while not self._is_drawn(self.wanted):
                setting = self.wanted
                for may_stop in self._work(setting):
                    await asyncio.sleep(0.001)  # lets messages of the front end in
                    if may_stop and self.wanted != setting:
                        break
        finally:
            self._report(0, 0)

    def _is_drawn(self, setting: Setting) -> bool:
        parts = self.linear, self.networks, self.circuits
        return all(part.setting == setting for part in parts) and (
            self._has_networks(setting) and self._has_circuits(setting)
        )

    def _work(self, setting: Setting) -> Iterator[bool]:
        """Compute and draw; yields after each step whether a newer wish may stop it there.

        A short computation of the experiment is drawn even while the reader drags a slider on.
        """
        self._started = time.monotonic()
        long = setting.replicates > measure.BLOCK
        if self.linear is None or setting != self.linear.setting:
            same = self.linear is not None and self.linear.setting.losses == setting.losses
            self.linear = yield from self._steps(measure.published(setting), long, long)
            yield from self._drawn("weights", *(() if same else ("drop", "losses")))
        if self._has_networks(setting):
            self.networks = self.networks._replace(setting=setting)
            yield from self._drawn("bits")
        if self._has_circuits(setting):
            self.circuits = self.circuits._replace(setting=setting)
        # First a glance at each picture; the exact channel would make that of the circuits late.
        for networks, *circuits in (
            (1, 1, measure.AT_ONCE),
            (measure.NETWORKS, 1),
            (measure.NETWORKS, measure.CIRCUITS),
        ):
            if not self._has_networks(setting):
                self.networks = yield from self._steps(measure.networks(setting, networks), True, long)
                yield from self._drawn("bits")
                yield True
            if not self._has_circuits(setting):
                self.circuits = yield from self._steps(measure.circuits(setting, *circuits), True, long)
                yield from self._drawn("device")
                yield True
        self._whole = setting

    def _has_networks(self, setting: Setting) -> bool:
        """Whether those drawn are all that this setting needs."""
        if self.networks is None or self.networks.number < measure.NETWORKS:
            return False
        return self.networks.setting.networks == setting.networks

    def _has_circuits(self, setting: Setting) -> bool:
        """Whether those drawn are all that this setting needs."""
        if self.circuits is None or self.circuits.number < measure.CIRCUITS:
            return False
        return self.circuits.setting.circuits == setting.circuits

    def _steps(self, work: Generator, may_stop: bool, visible: bool) -> Generator[bool, None, Any]:
        while True:
            try:
                done, total = next(work)
            except StopIteration as end:
                return end.value
            if visible or time.monotonic() - self._started > PATIENCE:
                self._report(done, total)
            yield may_stop

    def _drawn(self, *names: str) -> Iterator[bool]:
        """Draw these pictures, each sent to the front end before the next."""
        for name in names:
            self.draw(name)
            yield False

    def _report(self, done: int, total: int) -> None:
        self._busy.visibility = "visible" if done < total else "hidden"
        self.progress.max, self.progress.value = max(total, 1), done
