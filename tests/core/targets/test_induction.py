import pytest
import torch

from core.errors import UsageError
from core.randomness import generator
from core.settings import parse_settings
from core.targets.induction import (
    InductionSettings,
    InductionTask,
    InductionTransformer,
    induction_answers,
    induction_batch,
    induction_batches,
)
from core.targets.training import TargetTrainingSettings, train_attempt


def test_sequences_have_the_promised_structure() -> None:
    settings = InductionSettings(n_tokens=7, sequence_length=9)
    tokens = induction_batch(settings, 4000, generator(0, "test"))
    assert tokens.shape == (4000, 9)
    assert (tokens[:, 0] == 7).all(), "every sequence begins with BOS"
    assert (tokens[:, 1:] < 7).all() and (tokens >= 0).all(), "BOS stands nowhere else"
    is_trigger = tokens == tokens[:, -1:]
    assert (is_trigger.sum(dim=1) == 2).all(), "S stands at the end and at one other place"
    place = is_trigger.int().argmax(dim=1)
    assert place.min() == 1 and place.max() == 6, "M fits between the two"
    assert (torch.bincount(place, minlength=8)[1:7] > 500).all()
    answers = induction_answers(tokens)
    assert torch.equal(answers, tokens[torch.arange(4000), place + 1])
    assert (torch.bincount(answers, minlength=7) > 400).all()
    assert (torch.bincount(tokens[:, -1], minlength=7) > 400).all()


def test_a_batch_depends_on_its_name_only() -> None:
    batch = induction_batches(InductionSettings(), seed=0)
    assert torch.equal(batch("train", 3, 16), batch("train", 3, 16))
    assert not torch.equal(batch("train", 3, 16), batch("train", 4, 16))
    assert not torch.equal(batch("train", 3, 16), batch("eval", 3, 16))


def test_no_position_sees_a_later_one() -> None:
    settings = InductionSettings()
    model = InductionTask(settings, 0).build(0)
    tokens = induction_batch(settings, 4, generator(0, "test"))
    changed = tokens.clone()
    changed[:, 10:] = (changed[:, 10:] + 1) % settings.n_tokens
    before, after = model(tokens), model(changed)
    assert before.shape == (4, settings.sequence_length, settings.n_tokens + 1)
    assert torch.allclose(before[:, :10], after[:, :10], atol=1e-6)
    assert not torch.allclose(before[:, 10:], after[:, 10:], atol=1e-3)


def test_an_untrained_transformer_is_refused() -> None:
    task = InductionTask(InductionSettings(), 0)
    quality = task.quality(task.build(0))
    assert not quality.passed and quality.numbers["accuracy"] < 0.3


def test_a_small_task_is_learnt() -> None:
    training = TargetTrainingSettings(steps=400, batch_size=128, lr=1e-2, schedule="cosine")
    settings = InductionSettings(n_tokens=8, sequence_length=6, d_model=24, n_heads=1, training=training)
    task = InductionTask(settings, 0)
    model, attempt = train_attempt(
        task, induction_batches(settings, 0), training, 0, 0, lambda progress: None
    )
    assert isinstance(model, InductionTransformer)
    assert attempt.quality.passed, attempt.quality.note


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(UsageError, match="n_heads 5 does not divide d_model 32"):
        parse_settings(InductionSettings, {"n_heads": 5}, "test")
