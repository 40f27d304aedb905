"""Writes answers of schemas with one engine, in a process that may be killed.

Each line that comes is a schema; each that goes is what was written, or why nothing was.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from maas.runtimes.language.xgrammar import for_xgrammar

TOKENS = 200


def openvino(model: str) -> Callable[[str, int], str]:
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = 1
    pipeline = genai.ContinuousBatchingPipeline(model, scheduler, "CPU")
    tokenizer = pipeline.get_tokenizer()
    prompt = tokenizer.encode("hello").input_ids

    def write(schema: str, seed: int) -> str:
        config = genai.GenerationConfig()
        config.max_new_tokens, config.do_sample, config.rng_seed = TOKENS, True, seed
        config.structured_output_config = genai.StructuredOutputConfig()
        config.structured_output_config.json_schema = for_xgrammar(schema)
        handle = pipeline.add_request(seed, prompt, config)
        tokens: list[int] = []
        while pipeline.has_non_finished_requests():
            pipeline.step()
            while handle.can_read():
                for output in handle.read().values():
                    tokens += output.generated_ids
        text: str = tokenizer.decode(tokens)
        return text if len(tokens) < TOKENS else ""

    return write


def llamacpp(model: str) -> Callable[[str, int], str]:
    import xllamacpp

    params: Any = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = model, 1024, 1
    params.cpuparams.n_threads, params.warmup, params.verbosity = 1, False, -1
    server = xllamacpp.Server(params)

    def write(schema: str, seed: int) -> str:
        asked = {"prompt": [1, 2], "n_predict": TOKENS, "seed": seed}
        answer: Any = server.handle_completions({**asked, "json_schema": json.loads(schema)})
        choice = answer["choices"][0]
        return str(choice["text"]) if choice["finish_reason"] == "stop" else ""

    return write


if __name__ == "__main__":
    writer = {"openvino": openvino, "llamacpp": llamacpp}[sys.argv[1]](sys.argv[2])
    print("ready", flush=True)
    for seed, line in enumerate(sys.stdin):
        print(json.dumps(writer(line.strip(), seed)), flush=True)
