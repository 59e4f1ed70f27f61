"""The executor of this process: runs a plan's trials one after the other, without Ray."""

from collections.abc import Sequence

import torch

from harness.search.console import SearchConsole
from harness.search.folder import SearchFolder
from harness.search.plan import PlannedTrial
from harness.trial import Context, Decision, Progress, record_error, run_trial, shared_data


def run_inline(
    folder: SearchFolder,
    trials: Sequence[PlannedTrial],
    device: torch.device,
    console: SearchConsole,
) -> bool:
    """Run trials in order; each leaves its folder, whatever becomes of it.

    Args:
        folder: The search.
        trials: What to run.
        device: Where to run it.
        console: Told of every event.

    Returns:
        Whether the user interrupted the run; the trial under way then stays without a result.
    """
    try:
        for trial in trials:
            _run(folder, trial, device, console)
            console.ended(trial)
    except KeyboardInterrupt:
        return True
    return False


def _run(
    folder: SearchFolder, trial: PlannedTrial, device: torch.device, console: SearchConsole
) -> None:
    def report(progress: Progress) -> Decision:
        console.advanced(trial, progress.iteration / progress.iterations)
        return Decision.CONTINUE

    context = Context(
        folder=folder.trial_folder(trial),
        device=device,
        data=shared_data(trial.config.dataset, trial.config.protocol, device),
        trial_id=trial.trial_id,
        search=folder.path.name,
        replicate=trial.replicate,
        report=report,
    )
    console.advanced(trial, 0.0)
    try:
        run_trial(trial.config, context)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - a bug in one trial must not end the search
        record_error(trial.config, context, error)
