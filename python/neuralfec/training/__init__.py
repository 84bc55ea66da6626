# SPDX-License-Identifier: GPL-3.0-or-later
"""What all trainers share: a run that stops and goes on, and one set of options.

A trainer brings its network, its data, its loss and its schedule:

>>> def train(options):
...     run = Run.of(options)
...     network, optimizer = ..., ...
...     parts = {"network": network, "optimizer": optimizer}
...     for step in run.steps(options.steps, parts):
...         loss = ...
...         optimizer.step()
...         run.report(loss=loss.item())
...     models.save(options.output, network, models.Card(..., training=run.record()))
>>> sys.exit(main(train, options_of_the_trainer, argv))
"""

from .options import Stopped, main, parser
from .run import Run, averaged, default_generator, start_from

__all__ = ["Run", "Stopped", "averaged", "default_generator", "main", "parser", "start_from"]
