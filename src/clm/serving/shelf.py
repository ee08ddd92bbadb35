"""The models that were needed last: so many at most, however many series there are."""

from __future__ import annotations

import threading
from collections import OrderedDict

from clm.core.domain import ModelArtifact
from clm.core.protocols import ModelRegistry, TrainedModel

#: Boosted trees take one to a few megabytes each; what is not among these is read again when it is asked for.
_MODELS = 32


class Shelf:
    """Shared by all series. most: models kept; equal artifacts, of whatever series, are one model."""

    def __init__(self, most: int = _MODELS) -> None:
        self._most = most
        self._kept: OrderedDict[str, TrainedModel] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, artifact: ModelArtifact, model: TrainedModel) -> None:
        """One that has just been read."""
        with self._lock:
            name = str(artifact.artifact_sha256)
            self._kept[name] = model
            self._kept.move_to_end(name)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def clear(self) -> None:
        """Whatever is needed is read again."""
        with self._lock:
            self._kept.clear()

    def take(self, registry: ModelRegistry, artifact: ModelArtifact) -> TrainedModel:
        """The model of a version. Where it has to be read, raises what `ModelRegistry.load_model` does."""
        with self._lock:
            model = self._kept.get(str(artifact.artifact_sha256))
        if model is None:
            model = registry.load_model(artifact)
        self.put(artifact, model)
        return model
