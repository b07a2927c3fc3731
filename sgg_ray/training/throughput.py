"""How fast a training goes: tokens per second, share of the device's peak, memory, and time spent on making batches."""

import resource

import torch
from torch import nn

from sgg_ray.models import TaskModel
from sgg_ray.models.quantised import size_of

MEASURES = ("workers", "tokens_per_second", "mfu", "peak_memory_gib", "data_share")
TIMED = ("seconds", *MEASURES)  # what a repeated training need not repeat

# Dense bfloat16 products by the makers' data sheets, in 10¹² operations a second. The first name that fits counts.
PEAKS = {
    "B200": 2250,
    "GH200": 989,
    "H200": 989,
    "H100 PCIe": 756,
    "H100 NVL": 835,
    "H100": 989,
    "A100": 312,
    "A40": 150,
    "L40S": 362,
    "L4": 121,
    "RTX 4090": 165,
    "RTX 3090": 71,
}


class Throughput:
    """Counts what passes do on this worker, from one fetch of metrics to the next. Asks the device for nothing.

    Args:
        model: on its device, with its trainable parameters chosen.
        workers: of the training.
    """

    def __init__(self, model: TaskModel, workers: int):
        self.device, self.workers = model.device, workers
        self.work = operations_of_a_token(model)
        self.peak = peak_of(model.device) if model.precision == "bfloat16" else None
        self.tokens = self.passed = (
            0  # of batches, each once; and through passes, of which a batch may have several
        )
        self.seconds = 0.0  # of the host, for making batches

    def counts(self) -> list[float]:
        """What the workers' counts are to be summed of, for :meth:`measures`."""
        return [float(self.tokens), float(self.passed)]

    def measures(self, counts: list[float], seconds: float) -> dict[str, float]:
        """What has been counted, a second; counting begins anew.

        Args:
            counts: :meth:`counts`, summed over the workers.
            seconds: since counting began.

        Returns:
            By the names in MEASURES. ``mfu`` only where the device's peak is known.
        """
        tokens, passed = counts
        found = {
            "workers": float(self.workers),
            "tokens_per_second": tokens / seconds,
            "data_share": self.seconds / seconds,
        }
        if self.peak is not None:
            found["mfu"] = passed * self.work / (seconds * self.peak * self.workers)
        found["peak_memory_gib"] = peak_memory(self.device) / 2**30
        self.tokens = self.passed = 0
        self.seconds = 0.0
        return found


def operations_of_a_token(model: TaskModel) -> float:
    """Floating-point operations of a forward and a backward pass, for each token.

    2 for a weight and pass; backward goes through frozen weights once and through trained ones twice (Kaplan et al.,
    2020, section 2.1). Embeddings and the head of a language model, which sees few tokens, are left out, and so is
    attention between tokens: what this gives is a little too low.
    """
    embeddings = {id(one.weight) for one in model.modules() if isinstance(one, nn.Embedding)}
    found = getattr(model.backbone, "get_output_embeddings", lambda: None)()
    if found is not None:
        embeddings.add(id(found.weight))
    sizes = [
        (size_of(one), one.requires_grad) for one in model.backbone.parameters() if id(one) not in embeddings
    ]
    whole, trained = sum(size for size, _ in sizes), sum(size for size, own in sizes if own)
    return 2.0 * whole + (2.0 * whole + 2.0 * trained if trained else 0.0)


def peak_of(device: torch.device) -> float | None:
    """Most operations a second of a device in bfloat16; None where that is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((1e12 * value for part, value in PEAKS.items() if part in name), None)


def peak_memory(device: torch.device) -> int:
    """Most bytes so far that tensors took on a GPU; on a CPU, that the process took."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
