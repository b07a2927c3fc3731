"""A worker that holds several tasks loads the model once, whatever it is asked for and however often."""

from sgg_ray.orchestration.runtime.in_process import InProcessExecutor
from sgg_ray.orchestration.score import task_actor as module
from sgg_ray.orchestration.score.pool_rows import PoolRows
from sgg_ray.scoring import comparison_space
from sgg_ray.tasks import load_tasks


def test_a_worker_loads_the_model_once(make_config, monkeypatch):
    config = make_config()
    target, sources = load_tasks(config)
    built = []

    def build(*arguments, **options):
        built.append(arguments)
        return plain(*arguments, **options)

    plain = module.build_model
    monkeypatch.setattr(module, "build_model", build)
    worker = module.TaskWorker(config)
    rows = PoolRows.put(InProcessExecutor(), [target, *sources])
    space = comparison_space(target, sources[0])
    gradients = worker.target(rows, target.name, space, 0, None)
    for _ in range(2):
        for source in sources:
            found = worker.source(rows, source.name, space, 0, None, gradients)
            assert found.summary.task == source.name
    layers = worker.target_layers(rows, target.name, target.labels)
    assert worker.source_layers(rows, sources[0].name, layers).keys() == layers.layers.keys()
    assert len(built) == 1
