"""The sections ``ray`` and ``tracking``: where a run works and what keeps its record."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from sgg_ray.config.section import Section
from sgg_ray.config.values import Count, CountOrZero, NotNegative, Positive


class RayConfig(Section):
    """Where the work runs."""

    address: str = Field("local", description="local, auto, or ray://host:port")
    num_workers: Count = Field(1, description="data-parallel training workers")
    min_workers: Count | None = Field(
        None,
        description="fewest training workers: a training takes as many up to num_workers as there is room for, and "
        "begins again from its last checkpoint with more or fewer when that changes; null = num_workers, always",
    )
    worker_labels: dict[str, str] = Field(
        default_factory=dict,
        description="labels of the nodes that training workers run on, as Ray's label selectors: {zone: 'in(a, b)'}",
    )
    sharding: Literal["fsdp"] | None = Field(
        None,
        description="fsdp = each training worker holds a part of the model (a language model that one device cannot "
        "hold), null = all of it",
    )
    cpus_per_worker: Positive = Field(1, description="CPUs of a training worker")
    gpus_per_worker: NotNegative = Field(0, description="GPUs of a training worker; fractions share one")
    task_workers: Count | None = Field(
        None, description="actors that hold tasks; null = one a task, as far as they fit, on CPUs one a core"
    )
    cpus_per_task_worker: Positive = Field(0.25, description="CPUs of a task worker")
    gpus_per_task_worker: NotNegative = Field(0, description="GPUs of a task worker; fractions share one")
    storage_path: str = Field(
        "runs",
        description="folder of the run folders; on several nodes a shared one, or a URI such as s3://bucket/runs",
    )
    max_failures: CountOrZero = Field(2, description="restarts of crashed training workers")
    scale_up_seconds: CountOrZero = Field(
        0,
        description="how long to wait for nodes that an autoscaler starts; 0 = do not wait",
    )

    @property
    def fewest_workers(self) -> int:
        """How many training workers there have to be."""
        return self.num_workers if self.min_workers is None else self.min_workers

    @field_validator("min_workers")
    @classmethod
    def _no_more_than_all(cls, value: int | None, info: ValidationInfo) -> int | None:
        most = info.data.get("num_workers", 1)
        if value is not None and value > most:
            raise ValueError(f"is more than num_workers, {most}; lower it, or raise num_workers")
        return value

    @field_validator("gpus_per_worker")
    @classmethod
    def _no_two_workers_on_one_gpu(cls, value: float, info: ValidationInfo) -> float:
        if info.data.get("num_workers", 1) > 1 and 0 < value <= 0.5:
            raise ValueError(
                "several workers would share one GPU, which NCCL refuses; set it to 1, or num_workers to 1"
            )
        return value


class TrackingConfig(Section):
    """Where MLflow logs to."""

    uri: str = Field("sqlite:///mlflow.db", description="MLflow tracking URI; on several nodes a server")
    experiment: str = Field("sgg", description="MLflow experiment")
    register_as: str | None = Field(
        None, description="name in MLflow's model registry under which `sgg train` registers the model"
    )
    traces: CountOrZero = Field(
        20,
        description="kind generation: first test rows whose answers MLflow gets as traces, with exact match and "
        "ROUGE-L of each; 0 = none",
    )
    tensorboard: bool = Field(
        False,
        description="curves of `sgg train` also as TensorBoard's event files, in `tensorboard` of the run folder",
    )
    system_metrics: bool = Field(
        False, description="CPU, memory, disk, network and GPUs of the driver's machine as metrics of the run"
    )
