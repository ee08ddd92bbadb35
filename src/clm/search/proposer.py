"""Who thinks of the next recipe: Optuna's TPE, seeded, in memory; imported when a search begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from clm.core.errors import BadInput, NotInstalled
from clm.core.extras import how_to_install
from clm.core.space import Space, Value

_SEEDS = 2**32


class Proposer(Protocol):
    """Asked and told in turn. The same seed and the same answers: the same proposals.

    Scores are one per fold, higher is better.
    """

    def known(self, params: Mapping[str, Value], scores: Sequence[float]) -> None:
        """A recipe of the space that was scored without having been proposed."""
        ...

    def propose(self) -> Mapping[str, Value]:
        """A value for every name of the space."""
        ...

    def scored(self, scores: Sequence[float]) -> None:
        """What was proposed last, on all folds."""
        ...

    def given_up(self, scores: Sequence[float]) -> None:
        """What was proposed last, after the folds it got; none of them: it could not be trained."""
        ...


class OptunaProposer:
    """Raises NotInstalled without Optuna, BadInput for a seed it does not take."""

    def __init__(self, space: Space, seed: int) -> None:
        if not 0 <= seed < _SEEDS:
            raise BadInput("seed", seed, f"a whole number from 0 to {_SEEDS - 1:,}")
        try:
            import optuna
        except ModuleNotFoundError as exc:
            raise NotInstalled(f"a search needs Optuna: {how_to_install('search')} ({exc})") from exc
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self._ranges: dict[str, optuna.distributions.BaseDistribution] = {
            name: optuna.distributions.IntDistribution(int(span.low), int(span.high), log=span.log)
            if span.whole
            else optuna.distributions.FloatDistribution(span.low, span.high, log=span.log)
            for name, span in space.items()
        }
        sampler = optuna.samplers.TPESampler(seed=seed)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._asked: optuna.Trial | None = None

    def known(self, params: Mapping[str, Value], scores: Sequence[float]) -> None:
        self._study.add_trial(
            self._optuna.trial.create_trial(
                params=dict(params), distributions=self._ranges, value=_mean(scores)
            )
        )

    def propose(self) -> Mapping[str, Value]:
        self._asked = self._study.ask(self._ranges)
        return self._asked.params

    def scored(self, scores: Sequence[float]) -> None:
        if self._asked is not None:
            self._study.tell(self._asked, _mean(scores))

    def given_up(self, scores: Sequence[float]) -> None:
        if self._asked is None:
            return
        states = self._optuna.trial.TrialState
        if scores:
            self._asked.report(_mean(scores), len(scores))
        self._study.tell(self._asked, state=states.PRUNED if scores else states.FAIL)


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores)
