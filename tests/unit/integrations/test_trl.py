"""TRL's SFTTrainer, guided: a language model with LoRA, and sources that it tokenises itself."""

import math

import pytest
import torch
import toy

pytestmark = pytest.mark.slow
pytest.importorskip("trl", reason="TRL is not installed: python -m pip install 'sgg-ray[integrations]'")

OFF = {"lambda_direction": 0.0, "lambda_magnitude": 0.0, "lambda_alignment": 0.0, "lambda_source": 0.0}


@pytest.fixture
def train(lm, tmp_path):
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from sgg_ray.integrations.transformers import guided

    def run(folder, terms=None, resume=None, sources=True):
        torch.manual_seed(1)
        target, clean = Dataset.from_list(toy.answers(16, seed=1)), Dataset.from_list(toy.answers(32, seed=2))
        kind = SFTTrainer
        if terms is not None:
            kind = guided(
                SFTTrainer, sources={"clean": clean} if sources else None, source_batch_size=8, **terms
            )
        trainer = kind(
            model=AutoModelForCausalLM.from_pretrained(lm),
            processing_class=AutoTokenizer.from_pretrained(lm, pad_token="<unk>"),
            train_dataset=target,
            eval_dataset=target,
            peft_config=LoraConfig(r=4, lora_dropout=0.1, target_modules=["q_proj", "v_proj"]),
            args=SFTConfig(
                output_dir=str(tmp_path / folder),
                per_device_train_batch_size=4,
                gradient_accumulation_steps=2,
                max_steps=6,
                learning_rate=1e-2,
                save_steps=3,
                logging_steps=1,
                use_cpu=True,
                bf16=False,
                report_to=[],
                disable_tqdm=True,
            ),
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    return run


def weights(trainer):
    return {name: value for name, value in trainer.model.named_parameters() if value.requires_grad}


def test_without_a_term_it_is_the_plain_trainer(train):
    plain, guided = train("plain"), train("off", OFF)
    for name, value in weights(plain).items():
        assert torch.equal(weights(guided)[name], value), name
    for key in ("num_tokens", "mean_token_accuracy", "loss"):
        found = [[line[key] for line in one.state.log_history if key in line] for one in (plain, guided)]
        assert found[0] == found[1], key


def test_all_terms_with_tokenised_sources_and_a_resumed_run(train, tmp_path):
    plain, straight = train("plain"), train("runs", {"lambda_direction": 0.2})
    logs = [line for line in straight.state.log_history if "loss" in line]
    assert len(logs) == 6
    for line in logs:
        assert math.isfinite(line["guidance/source_loss"])
        assert -1 <= line["guidance/alignment_cosine"] <= 1
    # the second pass and the sources' passes are no tokens of the training
    assert (
        logs[-1]["num_tokens"]
        == [line for line in plain.state.log_history if "loss" in line][-1]["num_tokens"]
    )
    # the first loss is that of the same model, and every later one of another
    assert logs[0]["loss"] == pytest.approx(plain.state.log_history[0]["loss"], rel=1e-5)
    assert logs[-1]["loss"] != pytest.approx(plain.state.log_history[5]["loss"], rel=1e-3)
    resumed = train("runs", {"lambda_direction": 0.2}, resume=str(tmp_path / "runs" / "checkpoint-3"))
    for name, value in weights(straight).items():
        assert torch.equal(weights(resumed)[name], value), name
    assert "eval_loss" in straight.evaluate()
