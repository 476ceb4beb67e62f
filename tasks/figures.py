"""The curve of a training's loss, in the style of the report's other pictures."""

import math

from markupsafe import Markup

from data.report_records import TrainingReport
from tasks import panels
from tasks.panels import MUTED, UPDATE, Axis, Panel, words

_WIDTH, _HEIGHT = 480, 250


def loss_curve(training: TrainingReport) -> Markup:
    """Training loss over optimiser steps; empty where no finite loss was logged."""
    points = [
        (float(number * training.log_every), loss)
        for number, loss in enumerate(training.losses, start=1)
        if math.isfinite(loss)
    ]
    if not points:
        return Markup("")
    steps = Axis(0.0, 1.02 * points[-1][0])
    losses = Axis(0.0, 1.06 * max(loss for _, loss in points) or 1.0)
    panel = Panel(44, 20, _WIDTH - 56, _HEIGHT - 66, steps, losses)
    ticks = steps.ticks(6)
    curve = panel.curve(points, UPDATE) if len(points) > 1 else panel.point(*points[0], 3, UPDATE)
    parts = [
        panel.frame(),
        panel.y_ticks(5),
        panel.x_ticks(ticks, [f"{value:g}" for value in ticks]),
        curve,
        words(0, 10, "loss (nats per trained token)", MUTED),
        words(panel.right, panel.bottom + 30, "optimiser steps", MUTED, "end"),
    ]
    (first, begin), (last, end) = points[0], points[-1]
    label = f"Training loss from {begin:.3f} at step {first:g} to {end:.3f} at step {last:g}."
    return panels.picture(label, _WIDTH, _HEIGHT, parts)
