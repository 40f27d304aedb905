"""`docs/lowering.md`: what becomes of estimators, boosters, and models of three frameworks.

```
tests.estimators, tests.boosters, tests.networks, tests.programs
                                 ─▶ client.publish to a server of this script's own ─▶ the report
                                                                                          │
docs/lowering.md ◀─ a row each ◀─ the same published once more, served as it was saved ◀──┘
```

Run by `scripts/lowering-docs`; it takes a few minutes. Times are of the machine it ran on.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "lowering.md"
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.boosters import BOOSTERS  # noqa: E402
from tests.estimators import ESTIMATORS  # noqa: E402 - only now can it be found
from tests.networks import NETWORKS  # noqa: E402
from tests.programs import PROGRAMS  # noqa: E402
from tests.server import serving  # noqa: E402

from maas.client import Client  # noqa: E402
from maas.core.errors import MaasError  # noqa: E402
from maas.core.records import EngineTiming, Report, VersionRecord  # noqa: E402

NATIVE = {
    "skops": "sklearn",
    "pickle": "pickle",
    "keras": "keras",
    "keras-h5": "keras",
    "savedmodel": "tensorflow",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "pt2": "torch",
}
"""Format → the runtime that serves it as it was saved."""
COLUMNS = (
    "model",
    "published as",
    "served",
    "why not lowered",
    "rows compared",
    "largest difference",
    "engine",
    "µs alone: saved → served",
    "µs a row of 64: saved → served",
)
STABLE = 5
"""Columns, from the left, that do not depend on how fast a machine is or how it rounds."""
SHARED = {
    "scikit-learn": "scikit-learn",
    "skl2onnx": "skl2onnx",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "keras": "Keras",
    "tensorflow": "TensorFlow",
    "tf2onnx": "tf2onnx",
    "xgboost-cpu": "XGBoost",
    "xgboost": "XGBoost",
    "lightgbm": "LightGBM",
    "onnxmltools": "onnxmltools",
    "torch": "PyTorch",
}

Publish = Callable[[Client, str, str], VersionRecord]
"""Publishes one model: the client, its name, the engine or ''."""


class Row(Struct, frozen=True):
    """One line of the page, a text for each of `COLUMNS`, and the versions that were used."""

    cells: tuple[str, ...]
    versions: dict[str, str]

    @property
    def stable(self) -> tuple[str, ...]:
        """What does not depend on how fast a machine is or how it rounds."""
        return self.cells[:STABLE]


def main(arguments: Sequence[str]) -> int:
    """Writes the page."""
    parser = argparse.ArgumentParser(description="Writes docs/lowering.md; takes a few minutes.")
    parser.add_argument("--output", type=Path, default=PAGE, help="another file to write")
    output: Path = parser.parse_args(arguments).output
    failures: list[str] = []
    sections = {
        "scikit-learn": list(rows(estimator_publishers(ESTIMATORS), failures)),
        "XGBoost and LightGBM": list(rows(file_publishers(BOOSTERS), failures)),
        "Keras and TensorFlow": list(rows(network_publishers(NETWORKS), failures)),
        "PyTorch": list(rows(file_publishers(PROGRAMS), failures)),
    }
    if failures:
        sys.stderr.write("not published, so nothing was written:\n" + "\n".join(failures) + "\n")
        return 1
    output.write_text("\n".join(page(sections)) + "\n", encoding="utf-8")
    sys.stdout.write(f"wrote {output.name}\n")
    return 0


def rows(publishers: Iterable[tuple[str, Publish]], failures: list[str]) -> Iterator[Row]:
    """Publishes each model on a server of its own making, and says what came of it.

    Args:
        publishers: the models by their titles.
        failures: gets a line for each that could not be published.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "home", "auto") as server,
        server.client as client,
    ):
        for number, (title, publish) in enumerate(publishers):
            sys.stderr.write(f"{title}\n")
            try:
                yield row(client, f"m{number}", title, publish)
            except MaasError as error:
                failures.append(f"{title}: {error}")


def row(client: Client, name: str, title: str, publish: Publish) -> Row:
    """One model's row."""
    version = publish(client, name, "")
    report = version.report
    native = NATIVE[report.format]
    saved, served = timing(report, native), timing(report, report.engine)
    client.delete(name)
    if saved is None and report.lowered:
        saved = timing(publish(client, name, native).report, native)
        client.delete(name)
    parity = report.parity
    return Row(
        (
            title,
            report.format,
            "lowered" if report.lowered else "as saved",
            "" if report.lowered else report.reason.partition(", since ")[2] or report.reason,
            str(parity.samples) if parity else "",
            f"{parity.max_abs:.1e}" if parity else "",
            report.engine,
            _times(saved, served, "us_per_row_1"),
            _times(saved, served, "us_per_row_batch"),
        ),
        report.written_with | report.read_with,
    )


def timing(report: Report, engine: str) -> EngineTiming | None:
    """What the report says of an engine."""
    return next((each for each in report.timings if each.engine == engine), None)


def _times(saved: EngineTiming | None, served: EngineTiming | None, field: str) -> str:
    texts = [f"{getattr(each, field):,.4g}" for each in (saved, served) if each is not None]
    return " → ".join(dict.fromkeys(texts))


def estimator_publishers(
    estimators: dict[str, Callable[[], tuple[Any, Any]]],
) -> Iterator[tuple[str, Publish]]:
    """Publishes fitted objects as a notebook would."""
    for title, make in estimators.items():
        estimator, sample = make()

        def publish(
            client: Client, name: str, engine: str, estimator: Any = estimator, sample: Any = sample
        ) -> VersionRecord:
            about = {"name": name, "engine": engine, "trust": True}
            try:
                return client.publish(estimator, **about)
            except MaasError as error:
                if "sample" not in error.message:
                    raise
            return client.publish(estimator, sample=sample, **about)

        yield title, publish


def network_publishers(
    networks: Mapping[str, Callable[[Path], Path]],
) -> Iterator[tuple[str, Publish]]:
    """Publishes what Keras and TensorFlow saved."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    def seeded(save: Callable[[Path], Path]) -> Callable[[Path], Path]:
        def saved(folder: Path) -> Path:
            keras.utils.set_random_seed(0)
            return save(folder)

        return saved

    yield from file_publishers({title: seeded(save) for title, save in networks.items()})


def file_publishers(
    saved: Mapping[str, Callable[[Path], Path]],
) -> Iterator[tuple[str, Publish]]:
    """Publishes saved files and folders."""
    for title, save in saved.items():
        with tempfile.TemporaryDirectory() as folder:
            file = save(Path(folder))

            def publish(client: Client, name: str, engine: str, file: Path = file) -> VersionRecord:
                return client.publish(file, name, engine=engine, trust=True)

            yield title, publish


def page(sections: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """The page's lines."""
    every = [each for found in sections.values() for each in found]
    yield "<!-- Made by scripts/lowering-docs; do not edit. -->"
    yield "# What is lowered"
    yield ""
    yield (
        "Publishing turns a model into ONNX where that gives the same answers, and serves it as it "
        "was saved where it does not. Each model below was published to a server, without a sample "
        "where none was needed; the answers of both forms were compared on the rows counted, and a "
        "difference beyond the tolerance, or a missing converter, is the reason given."
    )
    lowered = sum(each.cells[2] == "lowered" for each in every)
    yield ""
    yield (
        f"Of {len(every)} models, {lowered} are lowered and proven, the "
        f"others are served by their own framework. {_versions(every)} Times "
        "are µs, measured while publishing; what is served as it was saved has one time. They "
        "leave out the network, and for a framework of its own the process between."
    )
    for title, found in sections.items():
        yield ""
        yield f"## {title}"
        yield ""
        yield "| " + " | ".join(COLUMNS) + " |"
        yield "|" + "---|" * 4 + "---:|" * 2 + "---|" + "---:|" * 2
        for each in found:
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in each.cells) + " |"


def _versions(found: Sequence[Row]) -> str:
    used: dict[str, str] = {}
    for each in found:
        used |= each.versions
    names = [f"{title} {used[name]}" for name, title in SHARED.items() if name in used]
    return f"With {', '.join(names)}."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
