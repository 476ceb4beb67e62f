"""Progress of long work on standard error.

One line that rewrites itself on a terminal, a line now and then in a log.
"""

import contextlib
import sys
import time
from typing import TYPE_CHECKING

from data.files import printable

if TYPE_CHECKING:
    from models.training import Progress
    from tasks.conversation import Spending

_LOG_SECONDS = 15.0
_BAR, _NAME = 20, 28
"""Characters of a bar, and of the name behind it: one line of a narrow terminal."""


class Lines:
    """Prints where a stage stands; silent if asked to be."""

    def __init__(self, stage: str, quiet: bool = False) -> None:
        self.stage = stage
        self.quiet = quiet
        self.terminal = sys.stderr.isatty()
        self.last = 0.0

    def trained(self, progress: "Progress") -> None:
        """Step, loss, speed and time left of a training run."""
        self.show(
            f"step {progress.step}/{progress.steps}  loss {progress.loss:.3f}  "
            f"{progress.tokens_per_second:,.0f} tokens/s  {progress.seconds_left:,.0f} s left",
            done=progress.step == progress.steps or bool(progress.stopped),
        )
        if progress.stopped:
            self.warn(progress.stopped)

    def measured(self, unit: str, progress: "Progress | None") -> None:
        """What a bench works on, and where its training stands."""
        if progress is None:
            self.last = 0.0
            self.show(unit, done=True)
        else:
            self.trained(progress)

    def audited(self, done: int, of: int, layer: str) -> None:
        """Layers whose spectra are known; a log hears of a long audit only."""
        if done == 0:
            self.last = time.monotonic()
        self.show(f"{done}/{of} layers, now {layer}")

    def answered(self, who: str, done: int, of: int) -> None:
        """Questions answered by base or candidate."""
        self.show(f"{who}: {done}/{of} questions answered", done=done == of)

    def asked(self, spending: "Spending") -> None:
        """Calls answered by a teacher behind an endpoint, and what they cost."""
        self.show(
            f"{spending.answered}/{spending.of} calls answered  {spending.spent.total:,} tokens  "
            f"{spending.money:.4f} in money",
            done=spending.answered == spending.of,
        )

    def analysed(self, done: int, of: int, name: str) -> None:
        """Layers whose eigenvalues are known, as a bar, and the one that is looked at."""
        filled = round(_BAR * done / of) if of else _BAR
        bar = "#" * filled + "." * (_BAR - filled)
        self.show(f"{bar}  {done}/{of} layers  {name[-_NAME:]}".rstrip(), done=done == of)

    def warn(self, sentence: str) -> None:
        """A sentence that somebody should read."""
        self.show(f"warning: {sentence}", done=True)

    def show(self, text: str, done: bool = False) -> None:
        """One line; on a terminal it replaces the one before."""
        now = time.monotonic()
        if self.quiet or not (done or self.terminal or now - self.last >= _LOG_SECONDS):
            return
        self.last = now
        begin, end = ("\r\x1b[K", "\n" if done else "") if self.terminal else ("", "\n")
        with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody listens; the work goes on
            print(f"{begin}{self.stage:<10}  {printable(text)}", end=end, file=sys.stderr, flush=True)
