"""lm-evaluation-harness against the server, with a task of three questions of our own."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import run

# Nothing is fetched: the tasks and the tokenizer are files here.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OPENAI_API_KEY": "none"}

QUESTIONS = [
    {"question": "How are you today?", "choices": [" I am fine.", " fox"], "answer": 0},
    {"question": "今天天气怎么样?", "choices": ["你好", "很小的语言模型"], "answer": 1},
    {"question": "The quick brown fox jumps over", "choices": [" the dog.", " 1"], "answer": 0},
]
TASKS = {
    "ours_choice": """
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list:
  - metric: acc
""",
    "ours_until": """
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["e", "o"], max_gen_toks: 12, temperature: 0}
metric_list:
  - metric: exact_match
""",
    "ours_text": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}{{choices[answer]}}"
metric_list:
  - metric: bits_per_byte
""",
}


class Harness:
    """Evaluates models of one server.

    Args:
        address: of the server.
        folder: with the tasks.
    """

    def __init__(self, address: str, folder: Path):
        from lm_eval.tasks import TaskManager

        self._url = f"http://{address}/v1"
        self._tasks = TaskManager(include_path=str(folder), include_defaults=False)

    def evaluate(self, kind: str, path: str, model: str, task: str, **arguments: Any) -> Any:
        """What the harness found out: the results, and the samples."""
        import lm_eval

        found = lm_eval.simple_evaluate(
            model=kind,
            model_args={
                "model": model,
                "base_url": f"{self._url}/{path}",
                "num_concurrent": 2,
                "max_retries": 1,
                "max_length": 512,
                **arguments,
            },
            tasks=[task],
            task_manager=self._tasks,
            apply_chat_template=kind == "local-chat-completions",
            bootstrap_iters=0,
        )
        assert found is not None
        assert len(found["samples"][task]) == len(QUESTIONS)
        return found["results"][task], found["samples"][task]

    def completions(self, model: str, task: str, **arguments: Any) -> Any:
        """`local-completions`, which cuts texts into tokens itself."""
        tokenizer = {"tokenizer": os.environ["TOKENIZER"], "tokenizer_backend": "huggingface"}
        return self.evaluate(
            "local-completions", "completions", model, task, **tokenizer, **arguments
        )


def check_loglikelihood(harness: Harness) -> None:
    """OPENAI: local-completions, log-likelihoods by `echo` and `logprobs`, from transformers"""
    results, samples = harness.completions("assistant-transformers", "ours_choice")
    assert 0 <= results["acc,none"] <= 1
    for sample in samples:
        likelihoods = [float(pair[0][0]) for pair in sample["resps"]]
        assert all(value < 0 for value in likelihoods)
        assert len(set(likelihoods)) == 2


def check_batches(harness: Harness) -> None:
    """OPENAI: local-completions, several prompts in one request, as texts, from transformers"""
    one = harness.completions("assistant-transformers", "ours_choice")[1]
    several = harness.completions(
        "assistant-transformers", "ours_choice", tokenized_requests=False, batch_size=4
    )[1]
    for first, second in zip(one, several, strict=True):
        for left, right in zip(first["resps"], second["resps"], strict=True):
            assert abs(float(left[0][0]) - float(right[0][0])) < 1e-3


def check_perplexity(harness: Harness) -> None:
    """OPENAI: local-completions, rolling log-likelihoods: perplexity, from transformers"""
    results, _ = harness.completions("assistant-transformers", "ours_text")
    assert results["bits_per_byte,none"] > 0


def check_generate(harness: Harness) -> None:
    """OPENAI: local-completions, `generate_until` with stop texts"""
    _, samples = harness.completions("assistant", "ours_until")
    for sample in samples:
        assert not set("eo") & set(sample["resps"][0][0])


def check_chat(harness: Harness) -> None:
    """OPENAI: local-chat-completions, `generate_until`"""
    _, samples = harness.evaluate(
        "local-chat-completions", "chat/completions", "assistant", "ours_until"
    )
    for sample in samples:
        assert not set("eo") & set(sample["resps"][0][0])


@contextmanager
def connect(address: str) -> Iterator[Harness]:
    """Writes the tasks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"HF_HOME": str(folder / "cache")}
        data = folder / "questions.jsonl"
        data.write_text("".join(json.dumps(one) + "\n" for one in QUESTIONS))
        for task, text in TASKS.items():
            about = f"task: {task}\ndataset_path: json\ntest_split: test\n"
            about += f"dataset_kwargs: {{data_files: {{test: {json.dumps(str(data))}}}}}\n"
            (folder / f"{task}.yaml").write_text(about + text)
        yield Harness(address, folder)


if __name__ == "__main__":
    run(globals(), connect)
