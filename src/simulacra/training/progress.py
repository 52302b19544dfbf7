"""What somebody sees while a run goes on: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from simulacra.training.hooks import Moment, Verdict

STYLES = {"ok": "green", "attention": "yellow", "stop": "red"}


class Progress:
    """A hook, to be the last of them: rate, remaining time, newest losses, and verdicts as they come.

    Used as a context it also tidies the terminal when training ends by an error. every: steps between two looks;
    console: standard error's where None.
    """

    def __init__(self, *, every: int = 10, console: Console | None = None) -> None:
        self.every = every
        self.console = console or Console(stderr=True, highlight=False)
        self._bar: Bar | None = None
        self._task = None
        self._told, self._line = 0, -1.0
        self._began: tuple[float, float, int] | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __call__(self, moment: Moment) -> None:
        """Show where the run is."""
        if not moment.main:
            return
        if self._began is None:
            self._began = (time.perf_counter(), moment.fraction, moment.examples)
            # a resumed run has told these already
            self._told = sum(verdict.step < moment.step for verdict in moment.verdicts)
        for verdict in moment.verdicts[self._told :]:
            self._say(verdict)
        self._told = len(moment.verdicts)
        if self.console.is_terminal:
            self._show(moment)
        elif moment.done or moment.fraction >= self._line + 0.1:
            # piped: about ten lines a run
            self._line = moment.fraction
            self.console.print(f"{100 * moment.fraction:3.0f} %  {self._words(moment)}", soft_wrap=True, markup=False)
        if moment.done:
            self.close()

    def _say(self, verdict: Verdict) -> None:
        line = f"{verdict.level}: {verdict.name} (step {verdict.step}): {verdict.text}"
        self.console.print(line, style=STYLES[verdict.level], soft_wrap=True, markup=False)

    def _show(self, moment: Moment) -> None:
        if self._bar is None:
            columns = (BarColumn(bar_width=30), TextColumn("{task.percentage:3.0f} % {task.description}", markup=False))
            self._bar = Bar(*columns, console=self.console, refresh_per_second=5)
            self._task = self._bar.add_task("", total=1.0)
            self._bar.start()
        assert self._task is not None
        self._bar.update(self._task, completed=moment.fraction, description=self._words(moment))

    def _words(self, moment: Moment) -> str:
        assert self._began is not None
        began, fraction, examples = self._began
        passed, done = time.perf_counter() - began, moment.fraction - fraction
        words = [f"step {moment.step:,}"]
        if passed > 0 and moment.examples > examples:
            words.append(f"{(moment.examples - examples) / passed:,.0f} examples/s")
        if done > 0 and moment.fraction < 1:
            words.append(f"{clock(passed * (1 - moment.fraction) / done)} left")
        losses = {n: v for n, v in moment.log.items() if "/" not in n and n not in ("step", "examples", "seconds")}
        return "  ".join([*words, *(f"{name} {value:.4g}" for name, value in losses.items())])


def clock(seconds: float) -> str:
    """A duration in words: "42 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
