"""Chat templates come out as Transformers renders them, and one that is an attack is a line in a bounded time."""

import copy
import subprocess
import sys
import time

import numpy as np
import pytest
import toy

from sgg_ray.errors import ModelError
from sgg_ray.models import load_tokenizer
from sgg_ray.models.chat_template import SCRIPT, render_chat
from sgg_ray.models.prompts import Prompter
from sgg_ray.tasks import Rows, Task

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SOUND = {
    "chatml": CHATML,
    "special tokens": "{{ eos_token }}{{ unk_token }}{{ messages[0].content | trim }}",
    "json": "{{ messages | tojson(indent=2) }}{{ {'b': '<é>', 'a': 1} | tojson }}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "loop controls": "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "blocks": "\n  {% if messages %}\n    x\n  {% endif %}\n{{ dict(a=1).a }}{{ tools }}{{ documents }}",
    "date": "{{ strftime_now('%Y') }}",
}
HOSTILE = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "memory": "{{ 'x' * 10 ** 10 }}",
    "width": "{{ '%1000000000d' % 1 }}",
    "output": "{% for i in range(9000) %}{{ 'x' * 1000 }}{% endfor %}",
    "power": "{{ 9 ** (9 ** 9) }}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "python": "{{ ''.__class__.__mro__[1].__subclasses__() | length }}{{ ''.__class__() + 1 }}",
    "globals": "{{ cycler.__init__.__globals__.os.system('true') }}",
    "syntax": "{% for %}",
    "own refusal": "{{ raise_exception('roles must alternate') }}",
    "long expression": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
}
CHATS = [
    (("user", "good1 <&> \"quoted\" 'text' é"),),
    (("system", "be kind"), ("user", "a\nb"), ("assistant", " c "), ("user", "d")),
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_tokenizer(str(toy.save_language_model(tmp_path_factory.mktemp("model"), "x")))


@pytest.mark.parametrize("template", SOUND.values(), ids=SOUND)
def test_a_template_is_rendered_as_transformers_does(tokenizer, template):
    tokenizer.chat_template = template
    expected = [
        tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in chat],
            tokenize=False,
            add_generation_prompt=True,
        )
        for chat in CHATS
    ]
    assert render_chat(tokenizer, CHATS) == expected
    assert render_chat(tokenizer, CHATS[::-1]) == expected[::-1]


BEGINNINGS = {
    "none": "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}",
    "one": "{{ bos_token }}{% for m in messages %}{{ m.content }} {% endfor %}",
    "two": "{{ bos_token }}{{ bos_token }}{% for m in messages %}{{ m.content }} {% endfor %}",
}


@pytest.mark.parametrize("template", BEGINNINGS.values(), ids=BEGINNINGS)
def test_prompts_have_the_ids_of_the_model_s_own_call(tokenizer, template):
    """A tokenizer that puts a token before every text adds none to what its template has written."""
    from tokenizers import processors

    own = copy.deepcopy(tokenizer)
    own.add_special_tokens({"bos_token": "<unk>"})
    own.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<unk> $A", special_tokens=[("<unk>", own.bos_token_id)]
    )
    own.chat_template = template
    assert own("word1")["input_ids"][0] == own.bos_token_id
    rows = Rows(("word1 good2", "bad3"), np.zeros(2, dtype=np.int64))
    task = Task("t", ("negative", "positive"), rows, rows, "target", prompt="Review: {text}")
    found = Prompter(own, True, 64).prompts(task, rows)
    for text, ids in zip(rows.texts, found):
        asked = [{"role": "user", "content": f"Review: {text}"}]
        expected = own.apply_chat_template(asked, tokenize=True, add_generation_prompt=True)
        assert ids.tolist() == list(getattr(expected, "input_ids", expected))


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_template_is_refused_in_bounded_time(tokenizer, template):
    tokenizer.chat_template = template
    started = time.process_time()
    with pytest.raises(ModelError, match=r"model.chat: the chat template refuses messages of user"):
        render_chat(tokenizer, CHATS[:1])
    assert time.process_time() - started < 2  # what it took was taken elsewhere
    again = time.monotonic()
    with pytest.raises(ModelError):
        render_chat(tokenizer, CHATS[:1])
    assert time.monotonic() - again < 60


def test_a_template_writes_no_file(tokenizer, tmp_path):
    code = f"import runpy; runpy.run_path({str(SCRIPT)!r})['limit'](); print('x', file=open('out', 'w'), flush=True)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert not (tmp_path / "out").read_text()


def test_a_tokenizer_without_a_template(tokenizer):
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="has no chat template"):
        render_chat(tokenizer, CHATS)
