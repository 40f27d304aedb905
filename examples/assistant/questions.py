"""What the assistant is taught: questions with their answers, and the many ways to ask them.

`questions/*.txt` holds blocks, one a topic. A block has an English and a Chinese half, each with

    a question             {this|that} stands for either word
    ~topic,topic text      a question that has this meaning right after an answer to those topics
    = the answer

One question of each half, drawn at random, is kept out of training, to measure with: it is never
varied and never seen. The first one, the plainest, is always taught. From each question many more
are made: other openings, courtesies, synonyms, missing words, typing errors.
"""

from __future__ import annotations

import random
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
UNKNOWN = "unknown"
"""The topic of everything that has nothing to do with maas."""
UNKNOWN_SHARE = 15.0
"""How much more often than another it is drawn: there is far more that is unknown."""
PLAINEST_SHARE = 0.15
"""How often a topic's first question is drawn, beside its share among all of them."""
SPLIT = 5
"""The seed of the draw of what is kept out."""
LEAST = 4
"""Of fewer questions none is kept out."""
TURNS = (2, 2, 3, 5)
"""How long conversations of several questions are, each as likely."""


@dataclass
class Topic:
    """One answer in one language.

    Attributes:
        name: of the block.
        chinese: which half of it.
        answer: the only right one.
        asked: questions, with their alternatives in braces.
        after: questions that follow upon an answer to another topic: (its name, question).
        held_out: questions to measure with.
    """

    name: str
    chinese: bool
    answer: str = ""
    asked: list[str] = field(default_factory=list)
    after: list[tuple[str, str]] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)


def read_topics(folder: Path = HERE / "questions") -> list[Topic]:
    """Reads every block of every file, the English half before the Chinese one."""
    chance = random.Random(SPLIT)  # noqa: S311  # nothing secret is drawn
    topics: list[Topic] = []
    for path in sorted(folder.glob("*.txt")):
        name, topic = "", Topic("", False)
        for line in filter(None, path.read_text(encoding="utf-8").splitlines()):
            if line.startswith("["):
                name, topic = line.strip("[]"), Topic(line.strip("[]"), False)
            elif line.startswith("= "):
                topic.answer = line[2:]
                _hold_out(topic, chance)
                topics.append(topic)
                topic = Topic(name, True)
            elif line.startswith("~"):
                names, question = line[1:].split(" ", 1)
                topic.after += [(each, question) for each in names.split(",")]
            else:
                topic.asked.append(line)
    return topics


def _hold_out(topic: Topic, chance: random.Random) -> None:
    """Takes one question out, where enough are left to learn from."""
    plain = [question for question in topic.asked[1:] if "{" not in question]
    if len(topic.asked) >= LEAST and plain:
        question = chance.choice(plain)
        topic.asked.remove(question)
        topic.held_out.append(question)


class Ways:
    """Asks a question in one of many ways, by the lists of `ways.toml`."""

    def __init__(self, chance: random.Random, file: Path = HERE / "ways.toml"):
        ways = tomllib.loads(file.read_text(encoding="utf-8"))
        self._english, self._chinese = ways["english"], ways["chinese"]
        self._small = frozenset(self._english["small_words"])
        self._system = ways["both"]["system"]
        self._chance = chance

    def vary(self, question: str, chinese: bool) -> str:
        """Another way to ask a question, or now and then the same."""
        chance = self._chance
        text = re.sub(r"\{([^}]*)\}", lambda found: chance.choice(found[1].split("|")), question)
        if chance.random() < 0.1:
            return text
        return self._vary_chinese(text) if chinese else self._vary_english(text)

    def system(self) -> str:
        """A system message, mostly none; it changes no answer."""
        return self._chance.choice(self._system) if self._chance.random() < 0.1 else ""

    def _vary_english(self, text: str) -> str:
        chance, ways = self._chance, self._english
        lower = text.rstrip("?.! ")
        lower = lower[:1].lower() + lower[1:]
        for opening, others in ways["openings"].items():
            if lower.startswith(f"{opening} ") and chance.random() < 0.7:
                lower = f"{chance.choice(others)}{lower[len(opening) :]}".strip()
                break
        lower = self._replace(lower, ways["synonyms"], 0.25, r"\b{}\b")
        if chance.random() < 0.25 and lower.count(" ") > 2:
            words = lower.split(" ")
            lost = {True: 0.5, False: 0.04}
            lower = " ".join(w for w in words if chance.random() > lost[w in self._small])
        if chance.random() < 0.2:
            lower = chance.choice(ways["before"]) + lower
        if chance.random() < 0.15:
            lower += chance.choice(ways["after"])
        lower = self._mistype(lower)
        roll = chance.random()
        if roll < 0.35:
            lower = lower[:1].upper() + lower[1:]
        elif roll < 0.38:
            lower = lower.upper()
        elif roll < 0.7:
            lower = lower.lower()
        return (lower + chance.choice(("?", "?", "", "", "", ".", " ?", "!"))) or text

    def _vary_chinese(self, text: str) -> str:
        chance, ways = self._chance, self._chinese
        text = text.rstrip("？?。！ ")
        found = re.fullmatch(r"什么是 ?(.+)", text)
        if found and chance.random() < 0.5:
            text = f"{found[1]}是什么"
        text = self._replace(text, ways["synonyms"], 0.3, "{}")
        if chance.random() < 0.2:
            text = chance.choice(ways["before"]) + text
        if chance.random() < 0.15:
            text += chance.choice(ways["after"])
        if chance.random() < 0.12 and len(text) > 5:
            place = chance.randrange(len(text) - 1)
            text = text[:place] + text[place + 1 :]
        if chance.random() < 0.3:
            text = text.replace(" ", "")
        if chance.random() < 0.25:
            text = text.lower()
        return text + chance.choice(("？", "？", "", "", "", "?", "。"))

    def _replace(self, text: str, groups: list[list[str]], rate: float, form: str) -> str:
        for first, *others in groups:
            pattern = form.format(re.escape(first))
            if self._chance.random() < rate and re.search(pattern, text):
                text = re.sub(pattern, self._chance.choice(others), text, count=1)
        return text

    def _mistype(self, text: str) -> str:
        """At most two typing errors: a letter left out, doubled or swapped with the next."""
        chance = self._chance
        for _ in range(2):
            if chance.random() < 0.1 and len(text) > 8:
                place = chance.randrange(1, len(text) - 1)
                one, two = text[place : place + 2]
                text = (
                    text[:place]
                    + chance.choice((two, one + one + two, two + one))
                    + text[place + 2 :]
                )
        return text


class Conversations:
    """Endless conversations, drawn from the topics.

    Args:
        topics: what may be asked.
        seed: of the draw.
    """

    def __init__(self, topics: list[Topic], seed: int):
        self._chance = random.Random(seed)  # noqa: S311  # nothing secret is drawn
        self._ways = Ways(self._chance)
        self._topics = topics
        self._weights = [UNKNOWN_SHARE if topic.name == UNKNOWN else 1.0 for topic in topics]
        self._after: dict[tuple[str, bool], list[tuple[str, Topic]]] = {}
        for topic in topics:
            for before, question in topic.after:
                self._after.setdefault((before, topic.chinese), []).append((question, topic))

    def draw(self, several: float) -> tuple[str, list[tuple[str, Topic]]]:
        """A system message or none, and one to five questions with what they are about.

        Args:
            several: the share of conversations of more than one question.
        """
        chance = self._chance
        turns: list[tuple[str, Topic]] = []
        topic: Topic | None = None
        for _ in range(chance.choice(TURNS) if chance.random() < several else 1):
            after = self._after.get((topic.name, topic.chinese), []) if topic else []
            if after and chance.random() < 0.7:
                question, topic = chance.choice(after)
            else:
                (topic,) = chance.choices(self._topics, self._weights)
                plainest = chance.random() < PLAINEST_SHARE
                question = topic.asked[0] if plainest else chance.choice(topic.asked)
            turns.append((self._ways.vary(question, topic.chinese), topic))
        return self._ways.system(), turns
