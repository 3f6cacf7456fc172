"""Files of language models, told apart by their first bytes."""

from __future__ import annotations

from pathlib import Path

from sateen.errors import InputError, ModelFileError
from sateen.language.decoder import Llama
from sateen.language.gguf_file import MAGIC, load_gguf
from sateen.language.llama2c import load_model, load_tokenizer
from sateen.language.tokenizer import Tokenizer

__all__ = ["load"]


def load(path: Path, tokenizer: Path | None = None) -> tuple[Llama, Tokenizer]:
    """Reads a model and its tokenizer.

    Parameters
    ----------
    tokenizer
        The tokenizer's file of a llama2.c model; by default ``tokN.bin`` beside the model, for a vocabulary of N, or
        ``tokenizer.bin``. A GGUF file has its own.

    Raises
    ------
    ModelFileError
        If a file cannot be read, is damaged or is something else, or the tokenizer is missing.
    CompileError
        If the model is one that is not read.
    InputError
        If a tokenizer is given with a GGUF file.
    """
    try:
        with open(path, "rb") as file:
            is_gguf = file.read(len(MAGIC)) == MAGIC
        if is_gguf:
            if tokenizer is not None:
                raise InputError(f"{path} is a GGUF file, which has its own tokenizer; leave --tokenizer out")
            return load_gguf(path)
        model = load_model(path)
        vocabulary = model.shape.vocabulary
        beside = [path.with_name(name) for name in (f"tok{vocabulary}.bin", "tokenizer.bin")]
        found = [tokenizer] if tokenizer is not None else [each for each in beside if each.is_file()]
        if not found:
            raise ModelFileError(
                f"{path} comes without its tokenizer; give it with --tokenizer FILE, or put it beside the model as "
                f"{beside[0].name}"
            )
        return model, load_tokenizer(found[0], vocabulary)
    except OSError as error:
        raise ModelFileError(f"cannot read {error.filename or path}: {error.strerror or error}") from error
