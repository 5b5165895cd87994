"""Layouts of transformers, its Trainer, PEFT and Sentence Transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as tf

from benchmarks.hub.layouts import layout, weights

TINY = {"vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def seeded(kind: Any, config: Any) -> Any:
    torch.manual_seed(0)
    return kind(config).eval()


def gpt2(**options: Any) -> Any:
    return seeded(
        tf.GPT2LMHeadModel,
        tf.GPT2Config(n_layer=2, n_embd=8, n_head=2, n_positions=16, **TINY, **options),
    )


def bert(kind: Any = tf.BertModel) -> Any:
    config = tf.BertConfig(
        vocab_size=40, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=16,
    )  # fmt: skip
    return seeded(kind, config)


def llama(*, tied: bool) -> Any:
    config = tf.LlamaConfig(
        **TINY, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=16, tie_word_embeddings=tied,
    )  # fmt: skip
    return seeded(tf.LlamaForCausalLM, config)


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: n for n, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", "a", "b", "c"])}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )


def auto(kind: Any) -> Any:
    return lambda folder: weights(kind.from_pretrained(folder))


def tokens(folder: Path) -> Any:
    return tf.AutoTokenizer.from_pretrained(folder)("a b c a")["input_ids"]


CHAT = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"


def chat(folder: Path) -> Any:
    talk = [{"role": "user", "content": "a"}]
    return tf.AutoTokenizer.from_pretrained(folder).apply_chat_template(talk, tokenize=False)


@layout("transformers, one safetensors file", "save_pretrained", auto(tf.AutoModel))
def _(folder: Path) -> None:
    bert().save_pretrained(folder)


@layout("transformers, tied weights", "save_pretrained", auto(tf.AutoModelForCausalLM))
def _(folder: Path) -> None:
    gpt2().save_pretrained(folder)


@layout(
    "transformers, shards and index",
    "save_pretrained(max_shard_size=…)",
    auto(tf.AutoModelForCausalLM),
)
def _(folder: Path) -> None:
    gpt2().save_pretrained(folder, max_shard_size="2KB")


@layout("transformers, generation config", "save_pretrained", auto(tf.AutoModelForCausalLM))
def _(folder: Path) -> None:
    model = llama(tied=False)
    model.generation_config.max_new_tokens = 3
    model.save_pretrained(folder)


@layout("transformers, tied Llama with tokenizer", "save_pretrained", auto(tf.AutoModelForCausalLM))
def _(folder: Path) -> None:
    llama(tied=True).save_pretrained(folder)
    tokenizer().save_pretrained(folder)


@layout("transformers, encoder and decoder", "save_pretrained", auto(tf.AutoModelForSeq2SeqLM))
def _(folder: Path) -> None:
    config = tf.T5Config(
        vocab_size=40,
        d_model=8,
        d_kv=4,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
    )
    seeded(tf.T5ForConditionalGeneration, config).save_pretrained(folder)


@layout(
    "transformers, image classifier with processor",
    "save_pretrained",
    auto(tf.AutoModelForImageClassification),
)
def _(folder: Path) -> None:
    config = tf.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=8, patch_size=4,
    )  # fmt: skip
    seeded(tf.ViTForImageClassification, config).save_pretrained(folder)
    tf.ViTImageProcessor(size={"height": 8, "width": 8}).save_pretrained(folder)


@layout("transformers, speech model with feature extractor", "save_pretrained", auto(tf.AutoModel))
def _(folder: Path) -> None:
    config = tf.Wav2Vec2Config(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), conv_stride=(5, 2), conv_kernel=(10, 3), num_conv_pos_embedding_groups=2,
        num_conv_pos_embeddings=4, vocab_size=40,
    )  # fmt: skip
    seeded(tf.Wav2Vec2Model, config).save_pretrained(folder)
    tf.Wav2Vec2FeatureExtractor().save_pretrained(folder)


@layout("transformers, half precision", "save_pretrained(dtype)", auto(tf.AutoModelForCausalLM))
def _(folder: Path) -> None:
    gpt2().to(torch.bfloat16).save_pretrained(folder)


@layout("transformers, mixture of experts", "save_pretrained", auto(tf.AutoModelForCausalLM))
def _(folder: Path) -> None:
    config = tf.MixtralConfig(
        **TINY, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=2, max_position_embeddings=16,
    )  # fmt: skip
    seeded(tf.MixtralForCausalLM, config).save_pretrained(folder)


@layout(
    "transformers, classifier with labels",
    "save_pretrained",
    auto(tf.AutoModelForSequenceClassification),
)
def _(folder: Path) -> None:
    model = bert(tf.BertForSequenceClassification)
    model.config.id2label = {0: "no", 1: "yes"}
    model.save_pretrained(folder)


@layout("transformers, older pytorch_model.bin", "torch.save, config.json", auto(tf.AutoModel))
def _(folder: Path) -> None:
    model = bert()
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


@layout("transformers, pytorch_model.bin shards and index", "torch.save, index", auto(tf.AutoModel))
def _(folder: Path) -> None:
    import json

    model, where = bert(), {}
    model.config.save_pretrained(folder)
    state = list(model.state_dict().items())
    for number, part in enumerate((state[::2], state[1::2]), start=1):
        name = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save(dict(part), folder / name)
        where |= dict.fromkeys(dict(part), name)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


@layout("tokenizer alone", "save_pretrained", tokens)
def _(folder: Path) -> None:
    tokenizer().save_pretrained(folder)


@layout("tokenizer with chat_template.jinja", "save_pretrained", chat)
def _(folder: Path) -> None:
    one = tokenizer()
    one.chat_template = CHAT
    one.save_pretrained(folder)


@layout("tokenizer with several chat templates", "save_pretrained", tokens)
def _(folder: Path) -> None:
    one = tokenizer()
    one.chat_template = {"default": CHAT, "tool_use": CHAT + "{{ tools }}"}
    one.save_pretrained(folder)


@layout(
    "tokenizer with its template in tokenizer_config.json",
    "save_pretrained(save_jinja_files=False)",
    chat,
)
def _(folder: Path) -> None:
    one = tokenizer()
    one.chat_template = CHAT
    one.save_pretrained(folder, save_jinja_files=False)


@layout("WordPiece vocab.txt", "BertTokenizer.save_pretrained", tokens)
def _(folder: Path) -> None:
    (folder / "v").mkdir()
    (folder / "v/vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abc"])
    )
    tf.BertTokenizer.from_pretrained(folder / "v").save_pretrained(folder)
    (folder / "v/vocab.txt").rename(folder / "vocab.txt")
    (folder / "v").rmdir()


def trainer(folder: Path) -> Any:
    model = bert(tf.BertForSequenceClassification)
    rows = [{"input_ids": [1, 2, 3], "labels": 1}] * 4
    options = tf.TrainingArguments(
        output_dir=str(folder), max_steps=2, save_steps=2, per_device_train_batch_size=2,
        report_to=[], use_cpu=True, disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    run = tf.Trainer(model=model, args=options, train_dataset=rows)
    run.train()
    return run


@layout("Trainer checkpoint, with optimizer and arguments", "Trainer.train", outcome="refused")
def _(folder: Path) -> None:
    trainer(folder)


@layout("Trainer checkpoint without training_args.bin", "Trainer.train", lambda folder: weights(
    tf.AutoModelForSequenceClassification.from_pretrained(Path(folder, "checkpoint-2"))
))  # fmt: skip
def _(folder: Path) -> None:
    trainer(folder)
    (folder / "checkpoint-2/training_args.bin").unlink()


@layout("Trainer output", "Trainer.save_model", outcome="refused")
def _(folder: Path) -> None:
    trainer(folder / "run").save_model(str(folder / "final"))


def adapted(kind: str) -> Any:
    import peft

    options = {
        "lora": lambda: peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True),
        "ia3": lambda: peft.IA3Config(
            target_modules=["c_attn"], feedforward_modules=[], fan_in_fan_out=True
        ),
        "prompt": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
    }  # fmt: skip
    torch.manual_seed(1)
    return peft.get_peft_model(gpt2(), options[kind]())


def on_base(folder: Path) -> Any:
    """The adapter on the base model that lies next to it."""
    import peft

    base = tf.AutoModelForCausalLM.from_pretrained(Path(folder, "base"))
    return weights(peft.PeftModel.from_pretrained(base, str(Path(folder, "adapter"))))


for _kind, _label in (("lora", "LoRA"), ("ia3", "IA3"), ("prompt", "prompt tuning")):

    @layout(f"PEFT {_label} adapter on a base", "PeftModel.save_pretrained", on_base)
    def _(folder: Path, kind: str = _kind) -> None:
        gpt2().save_pretrained(folder / "base")
        adapted(kind).save_pretrained(str(folder / "adapter"))


def embeddings(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").encode(["a b", "c"])


def sentence_model(*more: Any) -> Any:
    import tempfile

    from sentence_transformers import SentenceTransformer, models

    with tempfile.TemporaryDirectory() as place:
        bert().save_pretrained(place)
        tokenizer().save_pretrained(place)
        word = models.Transformer(place)
        pooling = models.Pooling(word.get_word_embedding_dimension())
        return SentenceTransformer(modules=[word, pooling, *more], device="cpu")


@layout("Sentence Transformers", "SentenceTransformer.save", embeddings)
def _(folder: Path) -> None:
    sentence_model().save(str(folder))


@layout("Sentence Transformers, dense and normalised", "SentenceTransformer.save", embeddings)
def _(folder: Path) -> None:
    from sentence_transformers import models

    torch.manual_seed(2)
    sentence_model(models.Dense(8, 4), models.Normalize()).save(str(folder))


@layout("Cross-encoder", "CrossEncoder.save", auto(tf.AutoModelForSequenceClassification))
def _(folder: Path) -> None:
    from sentence_transformers import CrossEncoder

    bert(tf.BertForSequenceClassification).save_pretrained(folder / "m")
    tokenizer().save_pretrained(folder / "m")
    CrossEncoder(str(folder / "m"), device="cpu").save_pretrained(str(folder))
    import shutil

    shutil.rmtree(folder / "m")


@layout("model2vec", "StaticModel.save_pretrained", lambda folder: __import__(
    "model2vec"
).StaticModel.from_pretrained(str(folder)).encode(["a b"]))  # fmt: skip
def _(folder: Path) -> None:
    import numpy as np
    from model2vec import StaticModel

    vectors = np.random.default_rng(0).normal(size=(7, 4)).astype("f4")
    StaticModel(vectors, tokenizer()._tokenizer).save_pretrained(str(folder))
