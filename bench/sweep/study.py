"""A sweep's Optuna study in the results database: opened, filled, counted, and its lost trials
given back."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import make_url

from bench.core.errors import BadInput, nearest
from bench.core.identity import is_dead
from bench.core.seeds import rng_for, seed_for
from bench.results.db.database import open_database
from bench.results.db.lock import exclude_others
from bench.sweep.setup import Setup

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

HEARTBEAT = 20  # seconds
GRACE = 100  # a trial whose worker has been silent for so long is given to another
SETUP = "bench.setup"  # user attributes
WORKER, REASON, RETRY = "worker", "reason", "retry_of"


def open_storage(url: str) -> RDBStorage:
    """Optuna's storage in the results database at `url`.

    Our tables come first (`open_database`). On SQLite each of Optuna's transactions takes the
    write lock when
    it begins: one that reads first and writes then would fail, not wait, while another process
    writes.
    """
    quieten_optuna()
    from optuna.storages import RDBStorage

    database = open_database(url)
    lite = make_url(url).get_backend_name() == "sqlite"
    options: dict[str, Any] = {"connect_args": {"timeout": 60}} if lite else {}
    with exclude_others(database.engine, "studies"):
        storage = RDBStorage(url, options, heartbeat_interval=HEARTBEAT, grace_period=GRACE)
    if lite:
        event.listen(storage.engine, "connect", _no_implicit_begin)
        event.listen(storage.engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
        storage.engine.dispose()  # connections made before
    return storage


def _no_implicit_begin(connection: Any, record: Any) -> None:
    connection.isolation_level = None


def quieten_optuna() -> None:
    """Optuna's notices and its warnings about its own experimental parts, off."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", module=r"optuna(\.|$)")


class Sweep:
    """A study and what it is a study of."""

    def __init__(self, storage: RDBStorage, study: Study, setup: Setup) -> None:
        self.storage, self.study, self.setup = storage, study, setup

    @property
    def name(self) -> str:
        return self.study.study_name

    @property
    def engine(self) -> Engine:
        return self.storage.engine

    @classmethod
    def start(cls, url: str, name: str, setup: Setup) -> Sweep:
        """Open the study of that name, or make it. One that exists must have the same cells and
        settings, and takes over this setup's values, search and number of trials."""
        import optuna

        storage = open_storage(url)
        with exclude_others(storage.engine, "studies"):
            study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True
            )
            known = study.user_attrs.get(SETUP)
            if known and known["key"] != setup.key:
                raise BadInput(
                    f"study {name!r} has other cells or settings (its data, code or options "
                    f"differ); continue it with: bench sweep --study {name}, "
                    "or choose another name"
                )
            if not known and study.get_trials(deepcopy=False):
                raise BadInput(
                    f"study {name!r} was not made by bench sweep; try another name: --study NAME"
                )
            study.set_user_attr(SETUP, setup.plain())
            sweep = cls(storage, study, setup)
            with sweep.gate():
                sweep.give_back()  # or a lost point would be queued twice
                sweep._enqueue()
        return sweep

    @classmethod
    def exists(cls, url: str, name: str) -> bool:
        """Whether there is a study of that name."""
        import optuna

        return name in optuna.get_all_study_names(open_storage(url))

    @classmethod
    def load(cls, url: str, name: str) -> Sweep:
        """The study of that name, to go on with."""
        import optuna

        storage = open_storage(url)
        names = optuna.get_all_study_names(storage)
        if name not in names:
            guess = nearest(name, names)
            hint = f" (did you mean {guess!r}?)" if guess else ""
            raise BadInput(
                f"no study {name!r}{hint}; try: bench sweep --param NAME --study {name}"
            )
        study = optuna.load_study(study_name=name, storage=storage)
        known = study.user_attrs.get(SETUP)
        if not known:
            raise BadInput(
                f"study {name!r} was not made by bench sweep; try another name: --study NAME"
            )
        return cls(storage, study, Setup.of(known))

    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _enqueue(self) -> None:
        """Queue the points of a grid that no trial has, or that have only failed; a random part of
        them where fewer trials than points were asked for."""
        if not self.setup.grid:
            return
        points = self.setup.points()
        if self.setup.trials < len(points):
            order = rng_for(0, "sweep points", len(points)).permutation(len(points))
            points = [points[i] for i in sorted(order[: self.setup.trials])]
        there = [values_of(t) for t in self.trials() if t.state.name != "FAIL"]
        for point in points:
            if point not in there:
                self.study.enqueue_trial(point, user_attrs={"values": point})

    @contextmanager
    def gate(self) -> Iterator[None]:
        """One worker of all machines at a time takes a trial."""
        with exclude_others(self.engine, f"sweep-{zlib.crc32(self.name.encode()):08x}"):
            yield

    def more(self) -> bool:
        """Whether a trial is waiting or may still be drawn."""
        trials = self.trials()
        if any(t.state.name == "WAITING" for t in trials):
            return True
        return not self.setup.grid and sum(counts_as_trial(t) for t in trials) < self.setup.trials

    def left(self) -> bool:
        """Whether there is still something to do, here or on another machine."""
        with self.gate():
            self.give_back()
            return self.more() or bool(self.running())

    def running(self) -> list[FrozenTrial]:
        return [t for t in self.trials() if t.state.name == "RUNNING"]

    def give_back(self) -> None:
        """Queue again what a worker began and did not end: trials of dead workers of this machine,
        trials whose machine has fallen silent, interrupted ones. Call inside the gate."""
        from optuna.storages import fail_stale_trials
        from optuna.trial import TrialState

        for trial in self.running():
            if is_dead(trial.user_attrs.get(WORKER, "")):
                with suppress(Exception):  # another process may have ended it meanwhile
                    self.study.tell(trial.number, state=TrialState.FAIL)
        fail_stale_trials(self.study)
        trials = self.trials()
        retried = {t.user_attrs.get(RETRY) for t in trials}
        for trial in trials:
            lost = trial.state.name == "FAIL" and REASON not in trial.user_attrs
            values = trial.system_attrs.get("fixed_params") or trial.params
            if lost and values and trial.number not in retried:
                known = {k: v for k, v in trial.user_attrs.items() if k == "values"}
                self.study.enqueue_trial(values, user_attrs={**known, RETRY: trial.number})

    def next_sampler(self) -> BaseSampler:
        """A sampler whose draws depend on the study and the trial's number, so that a study that
        is stopped and continued draws the same."""
        seed = seed_for(0, f"sweep {self.name}", len(self.trials())) % 2**31
        return make_sampler(self.setup.sampler, seed)


def counts_as_trial(trial: FrozenTrial) -> bool:
    """Whether a trial counts: not one that was interrupted or lost and has been given back."""
    return trial.state.name != "FAIL" or REASON in trial.user_attrs


def values_of(trial: FrozenTrial) -> dict[str, Any]:
    """The settings of a trial, as its cells have them."""
    values: dict[str, Any] = (
        trial.user_attrs.get("values") or trial.system_attrs.get("fixed_params") or {}
    )
    return values or dict(trial.params)


def make_sampler(name: str, seed: int) -> BaseSampler:
    """Optuna's sampler of that name."""
    from optuna import samplers

    makers = {
        "grid": lambda: samplers.RandomSampler(seed),  # points are queued; none is drawn
        "tpe": lambda: samplers.TPESampler(seed=seed, constant_liar=True, multivariate=True),
        "random": lambda: samplers.RandomSampler(seed),
        "cmaes": lambda: samplers.CmaEsSampler(seed=seed),
        "qmc": lambda: samplers.QMCSampler(seed=seed, scramble=False),
        "gp": lambda: samplers.GPSampler(seed=seed),
    }
    return makers[name]()


def make_pruner(name: str) -> BasePruner:
    """Optuna's pruner of that name."""
    from optuna import pruners

    pruner: BasePruner = {
        "none": pruners.NopPruner,
        "median": lambda: pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        "halving": pruners.SuccessiveHalvingPruner,
        "hyperband": pruners.HyperbandPruner,
    }[name]()
    return pruner
