"""The run's own images, small, by index: behind a switch that is off until somebody turns it on."""

from __future__ import annotations

import io
import threading

from clipjax.data.source import Source
from clipjax.errors import InputError
from clipjax.explore import sealed
from clipjax.explore.opened import Opened
from clipjax.runs import data as opening

SIZE = 192  # pixels of the longer side


class Images:
    """Opens the run's source when it is switched on; knows images by their place in the run, never by path."""

    def __init__(self, opened: Opened):
        self._opened = opened
        self._source: Source | None = None
        self._lock = threading.Lock()
        self.on = False

    def switch(self, on: bool) -> None:
        """InputError where the images are not there any more, or are not the run's."""
        with self._lock:
            if on and self._source is None:
                self._source = self._find()
            self.on = on

    def jpeg(self, index: int) -> bytes:
        """Image `index` of the run as a small JPEG."""
        if not self.on or self._source is None:
            raise InputError("images are switched off")
        if not 0 <= index < len(self._opened.rows):
            raise InputError(f"the run has images 0 to {len(self._opened.rows) - 1}; asked for {index}")
        image = self._source.image(int(self._opened.rows[index])).convert("RGB")
        image.thumbnail((SIZE, SIZE))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=85)
        return out.getvalue()

    def _find(self) -> Source:
        config, known = self._opened.config, self._opened.run.manifest.data
        if config is None:
            raise InputError(f"the answers of {known.name} were ingested, and where the images lie is not known")
        if sealed.of_files(self._opened.run):
            raise InputError("each of the run's units is a file, and images are not looked up in these")
        try:
            source = opening.open_source(config.data).source
        except InputError as error:
            raise InputError(f"the images cannot be opened (start where the run was made): {error}") from error
        if source.fingerprint != known.fingerprint:
            raise InputError(f"the images of {known.name} have changed since the run; they are not shown")
        return source
