"""A sweep's trials as a file, `records/studies/<name>-<hash>.json` in `BENCH_HOME`, for
`bench results rebuild`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.files import write_text
from bench.core.params import digest

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

ENDED = ("COMPLETE", "PRUNED", "FAIL")  # states of trials that are kept; others are drawn again


def keep_study(home: Path, study: Study) -> None:
    """Keep the study with its ended trials; called after each."""
    trials = [_describe(t) for t in study.get_trials(deepcopy=False) if t.state.name in ENDED]
    plain = {
        "name": study.study_name,
        "direction": study.direction.name,
        "user_attrs": study.user_attrs,
        "trials": trials,
    }
    folder = home / "records" / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    short = "".join(c if c.isalnum() else "_" for c in study.study_name)[:40]
    file = folder / f"{short}-{digest(study.study_name)[:12]}.json"
    write_text(file, json.dumps(plain, indent=1, sort_keys=True) + "\n", shared=True)


def _describe(trial: FrozenTrial) -> dict[str, Any]:
    from optuna.distributions import distribution_to_json

    return {
        "state": trial.state.name,
        "value": trial.value,
        "params": trial.params,
        "distributions": {n: distribution_to_json(d) for n, d in trial.distributions.items()},
        "user_attrs": trial.user_attrs,
        "system_attrs": trial.system_attrs,
        "intermediate_values": {str(k): v for k, v in trial.intermediate_values.items()},
    }


def restore_studies(home: Path, url: str, note: Callable[[str], None]) -> int:
    """Make the studies that were kept and are not in the database at `url`; returns how many.
    `note` gets a line for each that cannot be made."""
    files = sorted((home / "records" / "studies").glob("*.json"))
    if not files:
        return 0
    import optuna

    from bench.sweep.study import open_storage

    storage = open_storage(url)
    known, restored = set(optuna.get_all_study_names(storage)), 0
    for file in files:
        try:
            plain = json.loads(file.read_bytes())
            trials = [_make_trial(t) for t in plain["trials"]]
            name, direction = str(plain["name"]), optuna.study.StudyDirection[plain["direction"]]
            attributes = dict(plain["user_attrs"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            note(f"left out: {file} is not a whole sweep ({type(error).__name__})")
            continue
        if name not in known:
            study = optuna.create_study(storage=storage, study_name=name, direction=direction)
            for key, value in attributes.items():
                study.set_user_attr(key, value)
            study.add_trials(trials)
            restored += 1
    return restored


def _make_trial(plain: dict[str, Any]) -> FrozenTrial:
    from optuna.distributions import json_to_distribution
    from optuna.trial import TrialState, create_trial

    return create_trial(
        state=TrialState[plain["state"]],
        value=plain["value"],
        params=plain["params"],
        distributions={n: json_to_distribution(d) for n, d in plain["distributions"].items()},
        user_attrs=plain["user_attrs"],
        system_attrs=plain["system_attrs"],
        intermediate_values={int(k): v for k, v in plain["intermediate_values"].items()},
    )
