"""Load exported folders where sgg_ray cannot be imported. Token ids and texts come on stdin, logits go to stdout."""

import json
import os
import sys

sys.modules["sgg_ray"] = None  # type: ignore[assignment]

import torch  # noqa: E402
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline  # noqa: E402

given = json.load(sys.stdin)
found = {}
for folder in sys.argv[1:]:
    if folder.endswith("-transformers") and not folder.endswith("sentence-transformers"):
        model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
        with torch.no_grad():
            logits = model(torch.tensor(given["ids"]), torch.tensor(given["mask"])).logits
        classify = pipeline("text-classification", model=folder, trust_remote_code=True, top_k=None)
        ((*scores,),) = classify(given["texts"][:1], truncation=True)
        assert AutoTokenizer.from_pretrained(folder).model_max_length == given["max_length"]
        found[folder] = {"logits": logits.tolist(), "scores": {row["label"]: row["score"] for row in scores}}
    elif os.path.exists(f"{folder}/head.safetensors") or os.path.isdir(f"{folder}/member-0"):
        with open(f"{folder}/README.md", encoding="utf-8") as card:
            code = card.read().split("```python\n")[1].split("```")[0]
        os.chdir(os.path.dirname(folder))
        names: dict = {}
        exec(code.replace('["a text to label"]', repr(given["texts"])), names)
        found[folder] = {"logits": names["logits"].tolist()}
    else:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(folder)
        assert model.max_seq_length == given["max_length"]
        found[folder] = {"logits": model.encode(given["texts"], batch_size=3).tolist()}
print("\n" + json.dumps(found))  # libraries print too: the last line counts
