"""A trained language model as a folder for Transformers or PEFT."""

import shutil
from pathlib import Path
from typing import Any, Literal

import torch

from sgg_ray.artifacts.export_prompting import how_to_prompt, model_class_of
from sgg_ray.artifacts.finished_run import FinishedRun
from sgg_ray.errors import ModelError
from sgg_ray.models import EncoderDecoderModel, LanguageModel, read_object
from sgg_ray.models.quantised import settings_of

Form = Literal["transformers", "adapter"]

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that --max-lora-rank may have
_VLLM = """
vLLM serves the folder as it is:

```sh
{command}
```
"""


def write_language_model(
    run: FinishedRun, model: LanguageModel, head: str, folder: Path, name: str, form: Form
) -> str:
    """Write the weights of a run's model into ``folder``, and return how to load them.

    Args:
        head: key of the target's labels.
        name: what the folder will be called.
        form: ``transformers`` merges an adapter into the weights, ``adapter`` leaves it apart.

    Raises:
        ModelError: the model cannot take that form.
    """
    backbone: Any = model.backbone
    adapters = getattr(backbone, "peft_config", {})
    model_class = model_class_of(model)
    served = not isinstance(model, EncoderDecoderModel)  # vLLM has no encoder-decoder models of texts
    if form not in ("transformers", "adapter"):
        raise ModelError(f"--form: a language model takes transformers or adapter, found '{form}'")
    if form == "adapter":
        if not adapters:
            raise ModelError("--form: the run trained the whole model and has no adapter; use transformers")
        shutil.copytree(run.model / "adapter", folder, dirs_exist_ok=True)
        (folder / "README.md").unlink(missing_ok=True)
        base = read_object(folder / "adapter_config.json")["base_model_name_or_path"]
        more, imports = _quantised(model)
        load = f'PeftModel.from_pretrained({model_class}.from_pretrained("{base}"{more}), "{name}")'
        where = f" The model that was adapted is loaded from `{base}`."
        lines = how_to_prompt(model, head, name, load, "from peft import PeftModel" + imports, where)
        return lines + (_vllm_adapter(read_object(folder / "adapter_config.json"), name) if served else "")
    if any(adapter.is_prompt_learning for adapter in adapters.values()):
        raise ModelError(
            "--form: virtual tokens are no part of the weights and cannot be merged; use adapter"
        )
    if adapters:
        backbone = backbone.merge_and_unload()
    if model.quantization is not None:
        backbone = backbone.to(torch.bfloat16)
    backbone.save_pretrained(folder)
    load = f'{model_class}.from_pretrained("{name}")'
    lines = how_to_prompt(model, head, name, load, "", "")
    return lines + (_VLLM.format(command=f"vllm serve {name}") if served else "")


def _quantised(model: LanguageModel) -> tuple[str, str]:
    """Further arguments of ``from_pretrained``, and what is imported for them: the weights as they were trained on."""
    if model.quantization is None:
        return "", ""
    dtype = f"torch.{model.precision}"
    options = ", ".join(
        f"{name}={dtype if isinstance(value, torch.dtype) else repr(value)}"
        for name, value in settings_of(model.quantization, torch.float32).items()
    )
    given = f", quantization_config=BitsAndBytesConfig({options}), dtype={dtype}"
    return given, "\nfrom transformers import BitsAndBytesConfig"


def _vllm_adapter(adapter: dict[str, Any], name: str) -> str:
    """How vLLM loads an adapter; nothing for those that it refuses (`PEFTHelper`, vLLM 0.10): it takes plain LoRA."""
    plain_lora = adapter.get("peft_type") == "LORA" and adapter.get("bias", "none") == "none"
    more = ("use_dora", "modules_to_save", "layer_replication", "megatron_config", "target_parameters")
    if not plain_lora or any(adapter.get(key) for key in more):
        return ""
    ranks = [adapter["r"], *(adapter.get("rank_pattern") or {}).values()]
    allowed = next((rank for rank in VLLM_RANKS if rank >= max(ranks)), None)
    if allowed is None:
        return ""
    base = adapter["base_model_name_or_path"]
    if "://" in base or base.endswith(".gguf"):
        return ""  # addresses that are this package's own
    command = f"vllm serve {base} --enable-lora --max-lora-rank {allowed} --lora-modules {name}={name}"
    return _VLLM.format(command=command)
