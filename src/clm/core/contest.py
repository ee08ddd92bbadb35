"""One experiment and the evidence book: candles that both arms forecast become bets, and bets an end.

Each step is a function of what is stored: a crash in between costs nothing, and of replicas that are at it at
once one does it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from clm.core.book import Appended, EvidenceRow, Forecast, Source
from clm.core.bookkeeper import Bookkeeper
from clm.core.errors import EvidenceMoved
from clm.core.evidence import Bet, Evidence
from clm.core.experiments import Arm, Experiment
from clm.core.paired import Paired
from clm.core.stores import EvidenceBook, ExperimentStore
from clm.core.verdicts import Ended, Lost, Score, judged, result_of, up

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Contest:
    """keeper: of the experiment's series. Ledgers of challengers and of the guard are never touched."""

    experiment: Experiment
    keeper: Bookkeeper
    store: ExperimentStore

    @property
    def book(self) -> EvidenceBook:
        return self.keeper.registry.book

    def score(self) -> Score:
        """Where both ledgers stand by what is stored. Raises EvidenceMoved."""
        for _ in range(_ATTEMPTS):
            score = Score(self._evidence(Arm.A), self._evidence(Arm.B))
            if score.a_better.last == score.b_better.last:
                return score
            # Another process bet between the two looks.
        raise EvidenceMoved(f"other processes keep betting on {self.experiment.experiment_id}")

    def feed(self) -> Score:
        """Bets on every candle there is, up to the first that decides. Raises EvidenceMoved."""
        for attempt in range(_ATTEMPTS):
            score = self.score()
            rows = list(self._rows(score))
            if not rows:
                return score
            after, ledgers = score.b_better.last, [*zip(*rows, strict=True)]
            try:
                self.book.append_together(
                    [Appended(mine[0].key, mine, after) for mine in ledgers]  # both or none
                )
            except EvidenceMoved:
                # Another process was at it; what it has stored is where this goes on.
                if attempt == _ATTEMPTS - 1:
                    raise
        return self.score()

    def settle(
        self,
        now: datetime,
        *,
        known_until: datetime | None = None,
        lost: Lost | None = None,
        stopped_by: str | None = None,
    ) -> Ended | None:
        """Places every bet there is, and ends the experiment where that follows; None: nothing was ended.

        known_until: when the newest candle at hand closed; None: nobody looked. Raises EvidenceMoved.
        """
        score, over = self.feed(), up(self.experiment, now, known_until)
        ended = judged(
            self.experiment, score, self.keeper.rule.horizon, now, over=over, lost=lost, stopped_by=stopped_by
        )
        if ended is None:
            return None
        result = result_of(self.experiment, ended, score, self.bets(score))
        return ended if self.store.end(self.experiment.experiment_id, ended.at, result) else None

    def bets(self, score: Score) -> list[EvidenceRow]:
        """The bets that B is better which `score` comes from."""
        last = score.b_better.last
        return self.book.evidence(self.experiment.ledger(Arm.B), until=last) if last else []

    def _evidence(self, better: Arm) -> Evidence:
        beginning = Score.start(self.experiment.series, self.keeper.rule.horizon)
        return self.book.newest_evidence(self.experiment.ledger(better)) or beginning.of(better)

    def _rows(self, score: Score) -> Iterator[tuple[EvidenceRow, EvidenceRow]]:
        """Bets (that A, that B is better) on candles not bet on yet; the last may be one that decides."""
        if score.proven(self.experiment.alpha):
            return
        pairs = self._unsettled(score.b_better.last)
        bets = Paired.of(*zip(*pairs, strict=True)).bets() if pairs else []
        for (a, b), bet in zip(pairs, bets, strict=True):
            score = score.after(bet)
            yield self._row(Arm.A, a, b, bet, score), self._row(Arm.B, a, b, bet, score)
            if score.proven(self.experiment.alpha):
                return

    def _unsettled(self, last: datetime | None) -> list[tuple[Forecast, Forecast]]:
        """(A's, B's) live forecasts of candles of the experiment's time, oldest first."""
        experiment, horizon = self.experiment, self.keeper.rule.horizon
        since = experiment.first_candle if last is None else last + experiment.series.step
        a, b = (
            {
                f.open_time: f
                for f in self.book.forecasts(experiment.model_type, experiment.version_of(arm), since=since)
                if f.source is Source.LIVE
                and f.actual is not None
                and experiment.counts(f.open_time, horizon)
            }
            for arm in Arm
        )
        return [(a[time], forecast) for time, forecast in b.items() if time in a]

    def _row(self, better: Arm, a: Forecast, b: Forecast, bet: Bet, score: Score) -> EvidenceRow:
        evidence, worse, own = (
            (score.b_better, a, b) if better is Arm.B else (score.a_better, b, a)
        )  # fmt: skip
        return EvidenceRow(
            key=self.experiment.ledger(better), challenger_version=own.version, open_time=bet.time,
            source=own.source, actual=b.actual if b.actual is not None else 0.0,
            champion_forecast=worse.forecast, challenger_forecast=own.forecast,
            # One σ̂² for both directions: what one ledger wins the other loses, to the last bit.
            variance=b.variance, gain=bet.gain if better is Arm.B else bet.reversed().gain, bound=bet.bound,
            log_e=evidence.log_e, state=evidence,
        )  # fmt: skip
