"""``sgg tune``."""

from typing import TYPE_CHECKING

from sgg_ray.cli.options import AsJson, ConfigPath, Debug, DryRun, Name, Overrides
from sgg_ray.cli.run import announce_loading, end_dry_run, run, run_folder, show_plan
from sgg_ray.config import load_config

if TYPE_CHECKING:
    from rich.console import Console


def tune(
    config: ConfigPath,
    overrides: Overrides = None,
    name: Name = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Search regularisation strengths, or any other key, on held-out shots."""

    def work(console: "Console") -> None:
        loaded = load_config(config, overrides or (), name)
        # A sweep and a training of one file are two runs, with a folder each.
        loaded = loaded if name else loaded.model_copy(update={"name": f"{loaded.name}-tune"})
        from sgg_ray import report

        with report.ProgressDisplay(console) as display:
            plan = show_plan(console, loaded, "tune")
            announce_loading(display)
            from sgg_ray.orchestration.tune import tune_driver

            if dry_run:
                tune_driver.prepare_tuning(loaded, display)
                end_dry_run(plan, as_json)
                return
            result = tune_driver.tune(loaded, display)
        if as_json:
            folder = run_folder(loaded)
            report.print_json({**result.to_dict(), "folder": folder, "best": f"{folder}/best.yaml"})
            return
        report.print_sweep(console, result.trials, result.settings)
        folder = run_folder(loaded)
        if "://" in folder:
            report.print_line(console, f"trials, plots and best.yaml, ready for `sgg train`, are in {folder}")
        else:
            report.print_line(console, f"trials and plots are in {folder}; train on all shots with the best:")
            report.print_line(console, f"sgg train {result.folder / 'best.yaml'}")

    run(work, as_json, debug, "the same command goes on with the trials that are missing")
