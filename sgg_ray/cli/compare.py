"""``sgg compare``."""

from typing import TYPE_CHECKING, Any

from sgg_ray.cli.options import AsJson, ConfigPath, Debug, DryRun, Name, Overrides
from sgg_ray.cli.run import announce_loading, end_dry_run, run, run_folder
from sgg_ray.config import Config, load_config, shots_of, strategy_configs, targets_of

if TYPE_CHECKING:
    from rich.console import Console


def compare(
    config: ConfigPath,
    overrides: Overrides = None,
    name: Name = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Run fine-tuning strategies side by side over targets, shots and seeds, with statistics."""

    def work(console: "Console") -> None:
        loaded = load_config(config, overrides or (), name)
        # A comparison and a training of one file are two runs, with a folder each.
        loaded = loaded if name else loaded.model_copy(update={"name": f"{loaded.name}-compare"})
        from sgg_ray import report

        with report.ProgressDisplay(console) as display:
            plan = _plan(loaded)
            report.print_plan(console, "sgg compare", plan)
            announce_loading(display)
            from sgg_ray.orchestration.compare import compare_driver

            if dry_run:
                compare_driver.prepare_comparison(loaded, display)
                end_dry_run(plan, as_json)
                return
            result = compare_driver.compare(loaded, display)
        if as_json:
            report.print_json({**result.to_dict(), "folder": run_folder(loaded)})
            return
        report.print_standings(console, result.comparison)
        report.print_line(console, f"tables, plots and all cells are in {run_folder(loaded)}")

    run(work, as_json, debug, "the same command goes on with the cells that are missing")


def _plan(config: Config) -> dict[str, Any]:
    """What is about to be run."""
    settings, train = config.compare, config.train
    if settings is None:
        return {"run folder": run_folder(config)}
    strategies, targets, shots = list(strategy_configs(config)), targets_of(config), shots_of(config)
    cells = len(strategies) * len(targets) * len(shots) * settings.seeds
    return {
        "model": config.model.path,
        "strategies": ", ".join(strategies),
        "targets": ", ".join(targets),
        "sources": ", ".join(source.name for source in config.sources) or "none",
        "shots": ", ".join(map(str, shots)) + " per class",
        "seeds": f"{config.seed} to {config.seed + settings.seeds - 1}",
        "evaluated on": f"{settings.eval_split} rows",
        "cells": f"{cells} of {train.max_steps} steps",
        "a cell": f"{config.ray.cpus_per_worker:g} CPU, {config.ray.gpus_per_worker:g} GPU",
        "run folder": run_folder(config),
    }
