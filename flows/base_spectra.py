"""The spectra of the base's own layers, kept from one audit to the next: the base is the same in every cycle.

A file per base and way of computing, in ``.relearn/cache/spectra/``. It is written every few seconds, so that a
killed audit of a large base goes on where it was; gone or damaged, it is made again, and no report differs.
"""

import time
from pathlib import Path

import torch
from torch import Tensor

from data.files import digest_text, read_cached, read_value, write_long_record
from data.records import Record
from data.spectral_records import LayerSpectrum
from data.workspace import Workspace
from models.layer_spectra import weight_spectrum
from models.spectrum import Analysis

_SAVE_SECONDS = 5.0
"""What a kill can cost."""


class KnownSpectra(Record):
    """The layers of one base that were decomposed."""

    layers: dict[str, LayerSpectrum]


class BaseSpectra:
    """Gives the spectrum of a base layer, computed once."""

    def __init__(self, file: Path) -> None:
        self.file = file
        known = read_cached(file, KnownSpectra)
        self.layers = dict(known.layers) if known else {}
        self.unsaved = False
        self.saved = time.monotonic()

    def __call__(self, name: str, weight: Tensor, how: Analysis) -> LayerSpectrum:
        """As ``models.layer_spectra.weight_spectrum``."""
        if name not in self.layers:
            self.layers[name] = weight_spectrum(name, weight, how)
            self.unsaved = True
            if time.monotonic() - self.saved >= _SAVE_SECONDS:
                self.save()
        return self.layers[name]

    def save(self) -> None:
        """Write down what was computed since.

        Raises:
            OutsideError: the disk refused it.
        """
        if self.unsaved:
            write_long_record(self.file, KnownSpectra(layers=self.layers))
        self.unsaved, self.saved = False, time.monotonic()


def kept_file(workspace: Workspace, how: Analysis, threads: int) -> Path:
    """Where the spectra of the cycle's base are kept, as this code computes them with so many threads."""
    base, code = (read_value(file, "digest", str) for file in (workspace.base_digest, workspace.code("audit")))
    key = digest_text(base, code, torch.__version__, repr(how), str(threads))
    return workspace.base_spectra / f"{key[:16]}.json"
