"""``sgg train``."""

import time
from typing import TYPE_CHECKING

from sgg_ray.cli.options import AsJson, ConfigPath, Debug, DryRun, Name, Overrides, Strategy
from sgg_ray.cli.run import announce_loading, end_dry_run, run, run_folder, show_plan
from sgg_ray.config import load_config

if TYPE_CHECKING:
    from rich.console import Console


def train(
    config: ConfigPath,
    overrides: Overrides = None,
    name: Name = None,
    strategy: Strategy = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Fine-tune on the target with guidance from the sources, and evaluate."""

    def work(console: "Console") -> None:
        loaded = load_config(config, overrides or (), name, strategy)
        from sgg_ray import report

        with report.ProgressDisplay(console) as display:
            plan = show_plan(console, loaded, "train")
            announce_loading(display)
            from sgg_ray.orchestration.train import train_driver

            if dry_run:
                target, _ = train_driver.prepare_training(loaded, display)
                display.stage("timing a step")
                if estimate := train_driver.estimate_run(loaded, target):
                    plan["time"] = str(estimate)
                    report.print_line(console, f"takes {estimate}")
                end_dry_run(plan, as_json)
                return
            started = time.monotonic()
            result = train_driver.train(loaded, display)
            seconds = time.monotonic() - started
        if as_json:
            report.print_json({**result.to_dict(), "folder": run_folder(loaded)})
            return
        report.print_comparison(console, result.rows())
        for line in result.conclusions():
            report.print_line(console, line)
        report.print_line(console, f"took {report.duration(seconds)}")
        report.print_line(console, f"model, metrics, predictions and curves are in {run_folder(loaded)}")
        report.print_line(
            console,
            f"To {'answer more prompts' if loaded.target.kind == 'generation' else 'label more texts'}: "
            f"sgg predict {run_folder(loaded)} --data new.csv --out labelled.csv",
        )

    run(work, as_json, debug, "the same command goes on from the last checkpoint")
