"""One choice's tokens, as they come, turned into the texts that are sent.

A token may end inside a character, and a text may be the beginning of a stop string: such an end is
held back until it is known what it becomes. The tokens that it came from wait with it.
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Collection, Sequence

from maas.core.generation import Delta, FinishReason, Sampling, TokenLogprob
from maas.runtimes.language.tokens import Vocabulary


class Writer:
    """Writes one choice; used by one thread.

    Args:
        index: which choice.
        vocabulary: the model's.
        sampling: stop strings, stop tokens and whether to go on past end tokens are read.
        special: show control tokens' texts, too, but not those of end tokens.
        end_tokens: the model's own.
    """

    def __init__(
        self,
        index: int,
        vocabulary: Vocabulary,
        sampling: Sampling,
        special: bool,
        end_tokens: Collection[int],
    ):
        self.stopped = False
        """A stop string or an end token was met: the delta that told has `finish="stop"`."""
        self._index = index
        self._bytes_of = vocabulary.bytes_of
        own = frozenset(end_tokens)
        self._ends = frozenset(sampling.stop_tokens) | (frozenset() if sampling.ignore_end else own)
        self._hidden = own if special else own | vocabulary.controls
        self._stops = [_Stop(text) for text in sampling.stop]
        self._firsts = frozenset(text[0] for text in sampling.stop)
        self._wants = sampling.logprobs is not None
        self._partial = b""
        """Bytes of a character that is not complete."""
        self._text = ""
        """Characters that have not been shown."""
        self._total = 0
        """Characters so far, those of `_text` too."""
        self._held = 0
        """The last of them, which may begin a stop string."""
        self._waiting: list[tuple[int, int, TokenLogprob | None]] = []
        """Tokens that no delta has counted: where their texts begin and end, in characters."""

    def add(
        self, tokens: Sequence[int], logprobs: Sequence[TokenLogprob] | None = None
    ) -> Delta | None:
        """Takes the tokens of a step; those after the one that stops are ignored.

        Args:
            tokens: any number.
            logprobs: one for each, where they were asked for.

        Returns:
            What there is to show; None where that is nothing yet.
        """
        for place, token in enumerate(tokens):
            if token in self._ends:
                self._waiting.append((self._total, self._total, None))
                self.stopped = True
                return self.end("stop")
            start = self._total
            cut = self._feed(b"" if token in self._hidden else self._bytes_of(token))
            end = self._total + 1 if self._partial else self._total
            self._waiting.append((start, end, logprobs[place] if logprobs else None))
            if cut is not None:
                return self._show(cut, "stop", cut=True)
        if len(self._text) == self._held:
            return None
        return self._show(self._total - self._held, None)

    def end(self, finish: FinishReason) -> Delta:
        """Ends a choice that has not stopped by itself: whatever was held back is shown."""
        cut = self._feed(b"", final=True)
        if cut is not None:
            return self._show(cut, "stop", cut=True)
        return self._show(self._total, finish)

    def _feed(self, data: bytes, *, final: bool = False) -> int | None:
        """Takes bytes; gives where the text is to be cut, if a stop string is complete."""
        if self._partial:
            data = self._partial + data
        text, used = utf_8_decode(data, "replace", final)
        self._partial = data[used:]
        if self._stops and (self._held or not self._firsts.isdisjoint(text)):
            cut = self._search(text)
            if cut is not None:
                return cut
        self._text += text
        self._total += len(text)
        return None

    def _search(self, text: str) -> int | None:
        """Looks for the stop string that is complete first; of several, the longest."""
        for place, character in enumerate(text, self._total + 1):
            whole = max((s.length for s in self._stops if s.step(character)), default=0)
            if whole:
                self._text += text[: place - self._total]
                self._total = place
                self.stopped = True
                return place - whole
        self._held = max(stop.matched for stop in self._stops)
        return None

    def _show(self, until: int, finish: FinishReason | None, *, cut: bool = False) -> Delta:
        """Shows the characters before `until` and counts the tokens they came from.

        The last delta counts all that are left; the log-probabilities of tokens that were cut off
        whole are dropped, as their texts are.
        """
        length = until - self._total + len(self._text)
        text, self._text = self._text[:length], self._text[length:]
        waiting = self._waiting
        if finish is not None or waiting[-1][1] <= until:
            done, self._waiting = waiting, []
        else:
            count = next(i for i, (_, end, _) in enumerate(waiting) if end > until)
            done, self._waiting = waiting[:count], waiting[count:]
        logprobs = None
        if self._wants:
            logprobs = tuple(
                entry
                for start, _, entry in done
                if entry is not None and not (cut and start >= until)
            )
        return Delta(self._index, text, len(done), logprobs, finish)


class _Stop:
    """A stop string, and how much of it the text's end is (Knuth, Morris and Pratt)."""

    def __init__(self, text: str):
        self.length = len(text)
        self.matched = 0
        self._text = text
        self._back = [0] * len(text)
        for place in range(1, len(text)):
            known = self._back[place - 1]
            while known and text[place] != text[known]:
                known = self._back[known - 1]
            self._back[place] = known + (text[place] == text[known])

    def step(self, character: str) -> bool:
        """Takes the next character; true where it completes the stop string."""
        while self.matched and character != self._text[self.matched]:
            self.matched = self._back[self.matched - 1]
        if character == self._text[self.matched]:
            self.matched += 1
        return self.matched == self.length
