"""TACo's word pieces with the IDF weights of nouns and verbs, and the vocabulary behind them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from torch.nn.functional import pad

from finecut.errors import UsageError
from finecut.learn.inputs.state import tagger_of_training, write_state, write_text_state
from finecut.learn.methods.taco import TacoConfig
from finecut.learn.methods.taco_text import learn_piece_weights, text_inputs
from finecut.text.idf import IdfTable
from finecut.text.tags import Tagged, default_tagger, split_words, tag

log = logging.getLogger(__name__)

STATE, TOKENIZER, IDF = "taco.json", "tokenizer.json", "idf.json"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_VOCABULARY_BYTES = 64 << 20


class TacoTextInputs:
    """Captions → word pieces, mask, and the weight of each piece."""

    def __init__(
        self,
        config: TacoConfig,
        tokenizer: Tokenizer,
        idf: IdfTable,
        tagger: str | None,
        sentences: Sequence[str] = (),
    ) -> None:
        size = tokenizer.get_vocab_size()
        if size > config.text.vocab_size:
            raise UsageError(
                f"The vocabulary has {size} pieces, the model's text.vocab_size is "
                f"{config.text.vocab_size}: raise it."
            )
        self.config, self.tokenizer, self.idf, self.tagger = config, tokenizer, idf, tagger
        self.inside = False  # another method's config holds TACo's
        self._learn_from = list(dict.fromkeys(sentences))

    @classmethod
    def learn(
        cls, config: Any, sentences: Sequence[str], vocabulary: Path | None = None
    ) -> TacoTextInputs:
        """From training captions: IDF of the words, and the vocabulary unless a file gives it.

        Args:
            config: TACo's, or the one of TACo on CLIP.
            sentences: the training captions; a repeated caption counts each time.
            vocabulary: BERT's vocab.txt, or a tokenizer.json.
        """
        outer, config = config, _taco(config)
        idf = IdfTable.build([w.word for w in words] for words in tag(sentences))
        if vocabulary is not None:
            tokenizer = read_vocabulary(vocabulary)
        else:
            tokenizer = learn_vocabulary(sentences, config.text.vocab_size)
        made = cls(config, tokenizer, idf, default_tagger().name, sentences)
        made.inside = outer is not config
        return made

    @classmethod
    def load(cls, config: Any, folder: Path) -> TacoTextInputs:
        """What ``save`` wrote.

        Raises:
            UsageError: a file of it is not there.
        """
        for name in (STATE, TOKENIZER, IDF):
            if not (folder / name).is_file():
                raise UsageError(f"{folder / name} is missing: the text state is incomplete.")
        tokenizer = read_vocabulary(folder / TOKENIZER)
        tagger = tagger_of_training(folder / STATE)
        return cls(_taco(config), tokenizer, IdfTable.load(folder / IDF), tagger)

    def __call__(self, sentences: Sequence[str]) -> dict[str, Tensor]:
        if self.tagger is not None:
            tagged = tag(sentences)
        else:
            tagged = [[Tagged(word, "X") for word in split_words(text)] for text in sentences]
        made = text_inputs(tagged, self.tokenizer, self.idf, max_words=self.config.max_words)
        if self.tagger is None:
            del made["word_weights"]  # the model's own table weighs the pieces then
        room = self.config.max_words  # one width, so that batches can be put together
        return {name: pad(x, (0, room - x.shape[1])) for name, x in made.items()}

    def model_facts(self) -> dict[str, Any]:
        """How many words the model must know."""
        facts = {"text": {"vocab_size": self.tokenizer.get_vocab_size()}}
        return {"taco": facts} if self.inside else facts

    def save(self, folder: Path) -> None:
        """The vocabulary, the IDF table, and which tagger it was."""
        if self.tagger is None:
            return  # nothing was learnt here
        write_text_state(folder / TOKENIZER, self.tokenizer.to_str())
        beside = folder / f".{IDF}"
        self.idf.save(beside)
        beside.replace(folder / IDF)
        write_state(folder / STATE, {"tagger": self.tagger})

    def prepare_model(self, model: nn.Module) -> None:
        """Fill the model's table of piece weights."""
        if self.tagger is not None and self._learn_from:
            taco: Any = getattr(model, "taco", model)
            tagged = tag(self._learn_from)
            weighted = learn_piece_weights(taco, tagged, self.tokenizer, self.idf)
            log.info("%d pieces of the vocabulary have a weight", weighted)


def learn_vocabulary(sentences: Iterable[str], size: int) -> Tokenizer:
    """A WordPiece vocabulary of the sentences: their letters, and their words by frequency.

    Unseen words fall into letters. The same sentences give the same numbers; the trainers of the
    tokenizers library do not (their order varies from run to run).

    Args:
        sentences: the training captions.
        size: pieces at most, the five special ones included.

    Raises:
        UsageError: not even the letters have room.

    >>> learnt = learn_vocabulary(["a dog", "a cat"], 40)
    >>> learnt.encode("a cod", add_special_tokens=False).tokens
    ['a', 'c', '##o', '##d']
    """
    splitter = _tokenizer({SPECIAL[1]: 0})
    counts: Counter[str] = Counter()
    for text in sentences:
        plain = splitter.normalizer.normalize_str(text)
        counts.update(word for word, _ in splitter.pre_tokenizer.pre_tokenize_str(plain))
    letters = sorted({letter for word in counts for letter in word})
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    if len(pieces) > size:
        raise UsageError(
            f"A vocabulary of {size} pieces has no room for {len(letters)} letters: "
            f"text.vocab_size must be at least {len(pieces)}."
        )
    by_count = sorted(counts, key=lambda word: (-counts[word], word))
    words = [word for word in by_count if len(word) > 1]
    names = [*pieces, *words[: size - len(pieces)]]
    return _tokenizer({name: number for number, name in enumerate(names)})


def read_vocabulary(path: Path | str) -> Tokenizer:
    """A WordPiece tokenizer from BERT's vocab.txt or from a tokenizer.json.

    Raises:
        UsageError: the file is not there, is too large, or is neither.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_VOCABULARY_BYTES:
            raise UsageError(f"{path} is larger than {MAX_VOCABULARY_BYTES >> 20} MiB.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The vocabulary {path} cannot be read: {error}") from error
    if path.suffix == ".json":
        try:
            tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # the library raises Exception itself
            raise UsageError(f"{path} is not a tokenizer.json: {error}") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer
    names = [line.rstrip("\r") for line in text.split("\n")]
    if names and not names[-1]:
        names.pop()
    missing = [name for name in SPECIAL[:4] if name not in names]
    if missing or len(set(names)) != len(names):
        raise UsageError(
            f"{path} is not a BERT vocabulary (one piece a line, each once): "
            f"{f'{missing[0]} is missing' if missing else 'a piece is there twice'}."
        )
    return _tokenizer({name: number for number, name in enumerate(names)})


def _tokenizer(vocab: dict[str, int]) -> Tokenizer:
    """BERT's uncased splitting over a vocabulary, [CLS] and [SEP] put around a sentence."""
    tokenizer = Tokenizer(WordPiece(vocab, unk_token=SPECIAL[1]))  # type: ignore[call-arg]
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    if SPECIAL[3] in vocab:
        tokenizer.add_special_tokens([name for name in SPECIAL if name in vocab])
        tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]",
            special_tokens=[(name, vocab[name]) for name in ("[CLS]", "[SEP]")],
        )
    return tokenizer


def _taco(config: Any) -> TacoConfig:
    return getattr(config, "taco", config)
