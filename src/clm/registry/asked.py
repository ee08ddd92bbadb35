"""Models that were asked for their known answer in this process, and what came of it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

from clm.core.answers import KnownAnswer
from clm.core.domain import ModelArtifact
from clm.core.errors import ClmError, UnreadableHere
from clm.core.protocols import ModelFamily, TrainedModel

#: Files whose outcome is remembered: a library does not change while a process lives.
_REMEMBERED = 256


class Asked:
    """One for all series of a registry."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, str | None] = OrderedDict()
        self._lock = threading.Lock()

    def require(self, artifact: ModelArtifact, family: ModelFamily, model: TrainedModel) -> None:
        """Raises UnreadableHere where the model answers otherwise here than where it was made."""
        if artifact.known_answer is None:
            return
        name = f"{artifact.artifact_sha256} {artifact.known_answer['rows']}"
        with self._lock:
            asked, problem = name in self._known, self._known.get(name)
        if not asked:
            problem = _problem(artifact, family, model)
            with self._lock:
                self._known[name] = problem
                while len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        if problem is not None:
            raise UnreadableHere(problem)


def _problem(artifact: ModelArtifact, family: ModelFamily, model: TrainedModel) -> str | None:
    said = f"{artifact.model_type} {artifact.version} of {artifact.series}"
    try:
        strayed = KnownAnswer.from_json(artifact.known_answer or {}).strayed(model)
    except ClmError as error:
        raise UnreadableHere(
            f"{said} cannot be asked here for what it forecast when made: {error}"
        ) from error
    if strayed is None:
        return None
    return (
        f"{said} answers otherwise here than where it was made: of a candle it knows, "
        f"{strayed.now * 1e4:+.2f} bp instead of {strayed.known * 1e4:+.2f} bp; "
        f"{made_and_read(artifact, family.library_versions())}"
    )


def made_and_read(artifact: ModelArtifact, here: Mapping[str, str]) -> str:
    """By which versions of the libraries a version was made, and is read, in words."""
    made = ", ".join(f"{name} {version}" for name, version in artifact.library_versions.items())
    read = ", ".join(f"{name} {version}" for name, version in here.items())
    return f"made with {made or 'libraries nobody noted'}, read with {read}"
