"""An engine alone, in a process of its own; runs in the environment `maas-llm`.

Told on stdin, one JSON line each: `{"prompts": [[token, …], …], "tokens": 64}`. All are asked at
once, and when all have been answered a line comes back: `{"wall_s": …, "first_s": […]}`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

Prompts = list[list[int]]
Wave = Callable[[Prompts, int], list[float]]
"""Answers all prompts at once; seconds from the start to the first token of each."""

STEP_TOKENS = 256
SEQUENCES = 32
KV_TOKENS = 16_384
"""What `maas`'s KV cache holds, too (`llm_engines.KV_BYTES`)."""
BLOCK_TOKENS = 32


def openvino(file: str, threads: int) -> Wave:
    """OpenVINO GenAI, set up as `maas` has it."""
    import numpy as np
    import openvino as ov
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.num_kv_blocks = KV_TOKENS // BLOCK_TOKENS
    scheduler.max_num_seqs = SEQUENCES
    scheduler.max_num_batched_tokens = STEP_TOKENS
    scheduler.dynamic_split_fuse = True
    scheduler.enable_prefix_caching = True
    properties = {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
    pipeline = genai.ContinuousBatchingPipeline(file, scheduler, "CPU", properties)

    def wave(prompts: Prompts, tokens: int) -> list[float]:
        config = genai.GenerationConfig(max_new_tokens=tokens, ignore_eos=True, do_sample=False)
        start = time.perf_counter()
        open_ = {}
        for key, prompt in enumerate(prompts):
            ids = ov.Tensor(np.array([prompt], np.int64))
            open_[key] = pipeline.add_request(key, ids, config)
        first = [0.0] * len(prompts)
        counts = [0] * len(prompts)
        while pipeline.has_non_finished_requests():
            pipeline.step()
            now = time.perf_counter() - start
            for key, handle in open_.items():
                while handle.can_read():
                    counts[key] += sum(len(out.generated_ids) for out in handle.read().values())
                    first[key] = first[key] or now
        if counts != [tokens] * len(prompts):
            raise RuntimeError(f"OpenVINO wrote {counts} tokens")
        return first

    return wave


def llamacpp(file: str, threads: int) -> Wave:
    """llama.cpp's server, called without HTTP; as many slots as there are callers at most."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = file
    parameters.n_ctx = KV_TOKENS
    parameters.n_parallel = SEQUENCES
    parameters.kv_unified = True
    parameters.n_batch = parameters.n_ubatch = STEP_TOKENS
    for each in (parameters.cpuparams, parameters.cpuparams_batch):
        each.n_threads = threads
    parameters.ui = False
    parameters.verbosity = -1
    folder = tempfile.TemporaryDirectory(prefix="bench-")
    parameters.hostnames = [os.path.join(folder.name, "s.sock")]  # noqa: PTH118 - it takes strings
    server = xllamacpp.Server(parameters)
    folder.cleanup()

    def one(prompt: list[int], tokens: int, started: float, first: list[float], at: int) -> None:
        asked = {
            "prompt": prompt,
            "n_predict": tokens,
            "stream": True,
            "temperature": 0.0,
            "ignore_eos": True,
        }

        def take(text: str) -> None:
            first[at] = first[at] or time.perf_counter() - started
            if '"usage"' in text and f'"completion_tokens":{tokens}' not in text:
                raise RuntimeError(text)

        server.handle_completions(json.dumps(asked), take)

    def wave(prompts: Prompts, tokens: int) -> list[float]:
        first = [0.0] * len(prompts)
        start = time.perf_counter()
        threads = [
            threading.Thread(target=one, args=(prompt, tokens, start, first, at))
            for at, prompt in enumerate(prompts)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return first

    return wave


ENGINES = {"openvino": openvino, "llamacpp": llamacpp}


def main() -> None:
    """Load a model, say so, answer until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("file")
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    wave = ENGINES[options.engine](options.file, options.threads)
    print(json.dumps({"ready": options.engine}), flush=True)
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        start = time.perf_counter()
        first = wave(asked["prompts"], asked["tokens"])
        wall = time.perf_counter() - start
        print(json.dumps({"wall_s": wall, "first_s": first}), flush=True)


if __name__ == "__main__":
    main()
