# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Conversations in training: what steps show, what they teach, and that asking is the same."""

from __future__ import annotations

import dataclasses
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from g2vlm_training.config import TrainConfig
from g2vlm_training.datasets.batch import WindowBatch, draw_batch
from g2vlm_training.datasets.language import Conversation, Turn
from g2vlm_training.datasets.loading import Batches, plan_step
from g2vlm_training.datasets.mixture import ClipPool, Mixture, SourceOptions
from g2vlm_training.datasets.views import ViewOptions
from g2vlm_training.evaluate.answering import answers_about, greedy_answers
from g2vlm_training.run.distribution import Processes
from g2vlm_training.run.initialise import initialise
from g2vlm_training.run.run import build_stage
from g2vlm_training.stages.question_batch import IGNORED, QuestionMaker, picture_rows, text_batch
from g2vlm_training.stages.semantic_stage import SemanticStage
from g2vlm_training.stages.tokens import nano_tokenizer
from numpy.typing import NDArray
from PIL import Image

from g2vlm_model.cache import GrowingCache
from g2vlm_model.checkpoint import load_model
from g2vlm_model.interface import Frame, FrameWindow, PixelMark, SpatialQuery
from g2vlm_model.interface.words import plain_lines
from g2vlm_model.model import G2VLM
from g2vlm_model.preprocess import SemanticRows
from g2vlm_model.runtimes import load_runtime
from tests.runtimes.model_folders import small_config, write_model
from tests.training import language_folders as folders
from tests.training.test_loading import same
from tests.training.tiny import SPECIAL, tiny_config, tiny_model, with_questions
from tests.training.tiny_run import CONFIG, tiny_trainer

TALKS = SourceOptions("jsonl", "talk", weight=3.0)
MAKER = QuestionMaker(tiny_config(), nano_tokenizer(700), 2, ("depth_prediction_oo",), False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path) -> Path:
    """Scenes, and five conversations about one or two pictures of other sizes."""
    root = tmp_path_factory.mktemp("data")
    (root / "train-00000.tar").symlink_to(tiny_shards / "train-00000.tar")
    rows = []
    for number in range(5):
        names = [f"{number}-{k}.jpg" for k in range(1 + number % 2)]
        for name in names:
            folders.picture(root / "talk" / name, 40 * number, (60 + 8 * number, 44))
        turns = [{"question": f"What is {k}?", "answer": f"the {number}"} for k in range(1, 3)]
        rows.append({"pictures": names, "turns": turns[: 1 + number % 2]})
    folders.jsonl(root / "talk/train.jsonl", rows)
    return root


def batches(data: Path, world: int = 1, rank: int = 0, **changes: Any) -> Batches:
    config = dataclasses.replace(CONFIG, stage="semantic", sources=(TALKS,), **changes)
    return Batches(config, Mixture(config.sources, data), Processes(rank, world), MAKER)


def test_steps_are_of_scenes_or_conversations_as_the_weights_say(data: Path) -> None:
    config = dataclasses.replace(CONFIG, sources=(SourceOptions(), TALKS))
    mixture = Mixture(config.sources, data)
    talks = [plan_step(config, mixture, step).scenes is None for step in range(400)]
    assert sum(talks) == pytest.approx(300, abs=3 * (400 * 0.75 * 0.25) ** 0.5)
    scenes = Mixture((SourceOptions(),), data)
    assert all(plan_step(config, scenes, step).scenes is not None for step in range(5))


def test_the_same_conversations_whatever_reads_them(data: Path) -> None:
    alone = batches(data)
    steps = [alone.of_step(step) for step in range(3)]
    assert [len(parts) for parts in steps] == [3, 3, 3]  # each is a part of its own
    pictures = {part.rgb_BN3HW.shape[1:] for parts in steps for part in parts}
    assert len(pictures) > 1
    helped = batches(data, workers=2)
    for step, parts in enumerate(steps):
        for one, other in zip(parts, helped.of_step(step), strict=True):
            same(one, other)
    (again,) = [batches(data).of_step(2)]  # a run that is resumed there
    for one, other in zip(steps[2], again, strict=True):
        same(one, other)


def test_processes_share_a_step_and_have_equally_many_parts(data: Path) -> None:
    whole = batches(data).of_step(0)
    shares = [batches(data, 2, rank).of_step(0) for rank in range(2)]
    assert [len(share) for share in shares] == [2, 2]
    counted = [part for share in shares for part in share if part.prepared[0].counts]
    assert len(counted) == 3
    for one, other in zip(counted, (whole[0], whole[2], whole[1]), strict=True):
        same(one, other)
    idle = shares[1][1]
    assert not idle.prepared[0].counts


def test_what_does_not_count_changes_nothing(data: Path) -> None:
    part = batches(data).of_step(0)[0]
    (asked,) = part.prepared
    idle = dataclasses.replace(part, prepared=(dataclasses.replace(asked, counts=False),))
    stage = build_stage(
        dataclasses.replace(CONFIG, stage="semantic"), tiny_model(seed=3), nano_tokenizer(700)
    )
    loss = stage(idle, 0)
    loss.total.backward()
    assert (float(loss.total.detach()), loss.frames) == (0.0, 0)
    assert all(not bool(p.grad.any()) for p in stage.parameters() if p.grad is not None)


@pytest.mark.parametrize("stage", [pytest.param("semantic", marks=pytest.mark.slow), "joint"])
def test_a_run_of_both_kinds_goes_on_exactly(data: Path, tmp_path: Path, stage: str) -> None:
    changes: dict[str, Any] = {"sources": (SourceOptions(), TALKS), "kind": stage}
    trainer = tiny_trainer(data, tmp_path, Processes(), **changes)
    config = dataclasses.replace(CONFIG, sources=changes["sources"])
    kinds = [plan_step(config, Mixture(config.sources, data), s).scenes is None for s in range(6)]
    assert len(set(kinds[:4])) == 2, kinds
    reports = [trainer.train_step() for _ in range(4)]
    trainer.save()
    assert all(report["gradient"] > 0 for report in reports)
    assert (trainer.skipped, trainer.frames_seen > 0) == (0, True)
    after = trainer.train_step()
    again = tiny_trainer(data, tmp_path, Processes(), **changes).train_step()
    for number in ("loss", "gradient"):
        assert again[number] == after[number]
    if stage == "semantic":  # with other conversations it would be another run
        more = tmp_path / "more"
        shutil.copytree(data, more)
        with (more / "talk/train.jsonl").open("a") as file:
            file.write((more / "talk/train.jsonl").read_text().splitlines()[0])
        with pytest.raises(ValueError, match=r"conversations\.0 jsonl talk was 5, is 6"):
            tiny_trainer(more, tmp_path, Processes(), **changes)


def test_conversations_teach_answers_alone(data: Path) -> None:
    part = batches(data).of_step(0)[0]
    config = dataclasses.replace(CONFIG, stage="joint", questions=2)
    stage = build_stage(config, tiny_model(seed=3), nano_tokenizer(700))
    stage(part, 0).total.backward()
    taught = {name for name, p in stage.named_parameters() if p.grad is not None}
    assert any(".semantic.q_proj" in name for name in taught)
    assert not any("heads." in name for name in taught)


@pytest.mark.parametrize("stage", ["geometry", "gasp"])
def test_a_stage_that_asks_nothing_refuses_them(data: Path, stage: str) -> None:
    config: TrainConfig = dataclasses.replace(CONFIG, sources=(TALKS,), stage=stage)  # type: ignore[arg-type]
    preparer = MAKER if stage == "gasp" else None
    with pytest.raises(ValueError, match=f"the stage {stage} takes none"):
        Batches(config, Mixture(config.sources, data), Processes(), preparer)


def test_only_answers_and_their_ends_are_predicted() -> None:
    """Two turns: the template of a chat around them, and what is to be said of each."""
    picture = torch.zeros(44, 60, 3, dtype=torch.uint8).numpy()
    turns = (Turn("What is A?", "a chair"), Turn("Where?", "left"))
    told = Conversation("x", (picture,), turns, (PixelMark(0, 30, 22, "A"),), "Be brief.")
    window = MAKER.of_conversation(told)
    (asked,), tokenizer = window.prepared, MAKER.tokenizer
    assert tokenizer.decode(asked.system, skip_special=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
    )
    (row,) = asked.rows
    assert tokenizer.decode(row.ids, skip_special=False) == (
        "A frame 1 x 50 y 51\nWhat is A?<|im_end|>\n<|im_start|>assistant\na chair<|im_end|>"
        "\n<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\nleft<|im_end|>"
    )
    stage = SemanticStage(tiny_model(), tokenizer, 1)
    text = text_batch([row], stage.prompts)
    wanted = text.target_MT[text.target_MT != IGNORED]
    assert tokenizer.decode(wanted.tolist(), skip_special=False) == (
        "a chair<|im_end|>left<|im_end|>"
    )
    numbers = text.answer_MT[text.target_MT != IGNORED].tolist()
    assert (sorted(set(numbers)), text.answers) == ([0, 1], 2)
    assert numbers == sorted(numbers)


def _asked(
    folder: Path, reason: str, size: tuple[int, int] = (80, 60)
) -> tuple[SemanticStage, WindowBatch, FrameWindow]:
    """A conversation about two marked pictures as training has it, and as a runtime does."""
    model, tokenizer = load_model(folder)
    stage = SemanticStage(model.eval(), tokenizer, 1, reason=reason)
    pictures = [_pixels(0, size), _pixels(90, size)]
    marks = (PixelMark(0, 20.0, 30.0, "A"), PixelMark(1, 60.0, 10.0, "B"))
    told = Conversation("x", tuple(pictures), (Turn("Which is closer, A or B?", "A"),), marks)
    shown = tuple(
        Frame(picture, 0, "camera", "camera", str(k)) for k, picture in enumerate(pictures)
    )
    return stage, stage.preparer.of_conversation(told), FrameWindow(shown)


def _pixels(shade: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.array(Image.open(io.BytesIO(folders.jpeg(shade, size))).convert("RGB"))


@pytest.mark.parametrize("stage_name", ["semantic", "joint"])
def test_words_alone_teach_as_the_language_model_reads_them(stage_name: str) -> None:
    """No frame stands in the sequence, and no picture's weight gets a gradient."""
    model = tiny_model()
    config = dataclasses.replace(CONFIG, stage=stage_name)  # type: ignore[arg-type]
    stage = build_stage(config, model, nano_tokenizer(700))
    told = Conversation("x", (), (Turn("What is two and two?", "four"), Turn("And one?", "five")))
    assert isinstance(stage.preparer, QuestionMaker)
    batch = stage.preparer.of_conversation(told)
    assert batch.rgb_BN3HW.shape[1] == 0
    loss = stage(batch, 0)
    loss.total.backward()
    looked = [p.grad for name, p in model.named_parameters() if name.startswith(("vit.", "dino."))]
    assert all(grad is None or not grad.any() for grad in looked)
    (asked,) = batch.prepared
    (row,) = asked.rows
    assert stage.preparer.tokens_of(told) == len(row.ids)
    semantic = SemanticStage(model, nano_tokenizer(700), 1)
    with torch.no_grad():
        cache = GrowingCache()
        model.prefill_text(torch.tensor([semantic.prompts.system]), cache)
        logits_TV = model.semantic_logits(torch.tensor([row.ids]), cache)[0]
    spent = [
        float(
            -logits_TV[begin:end]
            .log_softmax(-1)[range(end - begin), row.ids[begin + 1 : end + 1]]
            .mean()
        )
        for begin, end in row.spans
    ]
    assert loss.report["answers" if stage_name == "joint" else "loss"] == pytest.approx(
        np.mean(spent), rel=1e-4
    )


@pytest.mark.parametrize("style", ["text", "drawn"])
@pytest.mark.parametrize("reason", ["off", "geometry"])
def test_training_reads_what_asking_reads(tmp_path: Path, style: str, reason: str) -> None:
    """Ids and answer of a marked question are those of the runtime, in either style."""
    folder = write_model(tmp_path / "model", small_config(mark_style=style))
    stage, batch, window = _asked(folder, reason)
    (asked,) = batch.prepared
    (question,) = asked.questions
    with torch.no_grad():
        prefix = stage.prefix(batch)
        said = stage.answer(prefix, question, (60, 80), max_tokens=6)
        assert greedy_answers(stage, prefix, [question], (60, 80), max_tokens=6) == [said]
        words = stage.reasoning(prefix, 0, question, asked.sizes_hw)
    runtime = load_runtime(model=folder, device="cpu")
    scene = runtime.observe(window)
    query = SpatialQuery(question.bare, question.marks, max_tokens=6, reason=reason)
    answer = runtime.ask(scene, query)
    read = runtime._answerer.read(scene, query)  # type: ignore[attr-defined]
    ids = stage.prompts.question(stage.tokenizer.encode(stage.words(question)))
    assert read.ids == (*ids, *words, stage.prompts.special.start_of_answer)
    assert bool(words) == (reason == "geometry")
    assert answer.text == plain_lines(said)
    plain = runtime.ask(scene, SpatialQuery(question.bare, max_tokens=6))
    assert plain.confidence != answer.confidence
    runtime.close()


@pytest.mark.parametrize("size", [(80, 60), (120, 40)])
def test_a_picture_of_its_own_size_is_read_alike(tmp_path: Path, size: tuple[int, int]) -> None:
    """`semantic_picture: own`: as many tokens as its shape has, in training and asking."""
    folder = write_model(tmp_path / "model", small_config(semantic_picture="own"))
    stage, batch, window = _asked(folder, "off", size)
    (asked,) = batch.prepared
    (question,) = asked.questions
    rows, columns = (round(side / 28) for side in (size[1], size[0]))
    assert asked.pictures.merged_hw == (rows, columns)
    with torch.no_grad():
        said = stage.answer(stage.prefix(batch), question, (size[1], size[0]), max_tokens=6)
    runtime = load_runtime(model=folder, device="cpu")
    scene = runtime.observe(window)
    answer = runtime.ask(scene, SpatialQuery(question.bare, question.marks, max_tokens=6))
    assert answer.text == plain_lines(said)
    runtime.close()


def test_a_window_of_scenes_stays_whole_where_nothing_is_cropped(tiny_shards: Path) -> None:
    """Its semantic rows are those of the whole picture, whatever the geometric encoder sees."""
    plain = dataclasses.replace(CONFIG, windows=((2, 2),), stage="semantic")
    narrow = dataclasses.replace(plain, views=ViewOptions(width=28, crop=False))
    whole, squeezed = (
        Batches(one, Mixture(one.sources, tiny_shards, one.views), Processes(), MAKER).of_step(0)[0]
        for one in (plain, narrow)
    )
    assert (whole.grid, squeezed.grid) == ((42, 56), (28, 28))
    for one, other in zip(whole.prepared, squeezed.prepared, strict=True):
        assert torch.equal(one.pictures.rows_NRC, other.pictures.rows_NRC)
        assert one.rows == other.rows
        assert other.sizes_hw == ((42, 56),) * 2
        for before, after in zip(one.questions, other.questions, strict=True):
            for a, b in zip(before.grounds, after.grounds, strict=True):
                assert a.pixel is None or (a.pixel[0] * 2 // 3, a.pixel[1] // 2) == b.pixel
    K = whole.K_BN33[0, 0]
    assert float(squeezed.K_BN33[0, 0, 0, 0]) == pytest.approx(float(K[0, 0]) / 2)
    stage = build_stage(narrow, tiny_model(seed=3), nano_tokenizer(700))
    assert bool(stage(squeezed, 0).total.isfinite())


def test_questions_about_scenes_see_their_own_marks_where_marks_are_drawn(pool: ClipPool) -> None:
    """No lines of marks in the words; each question's pictures are its own, the loss their mean."""
    config = dataclasses.replace(tiny_config(), mark_style="drawn")
    model = G2VLM(config, SPECIAL)
    initialise(model, 3)
    tasks = ("depth_prediction_oo", "distance_prediction_oc")
    stage = SemanticStage(model, nano_tokenizer(700), 3, tasks=tasks)
    batch = draw_batch(pool, 2, 2, torch.Generator().manual_seed(1), None)
    asked = with_questions(stage, batch)
    questions = [question for window in asked.prepared for question in window.questions]
    assert any(question.marks for question in questions)
    assert all(question.text == question.bare for question in questions)
    plain = picture_rows(config, batch.window(0)).rows_NRC
    for question, rows in zip(
        asked.prepared[0].questions, asked.prepared[0].pictures.rows_NRC.split(2), strict=True
    ):
        changed = [not torch.equal(one, other) for one, other in zip(rows, plain, strict=True)]
        assert changed == [k in {mark.frame_index for mark in question.marks} for k in range(2)]
    with torch.no_grad():
        whole = stage(asked, 0)
        alone = [
            stage(dataclasses.replace(batch.window(number), prepared=(one,)), 0).total
            for number, window in enumerate(asked.prepared)
            for one in (
                dataclasses.replace(
                    window,
                    questions=(question,),
                    rows=(row,),
                    pictures=SemanticRows(rows, window.pictures.grid_hw, 2),
                )
                for question, row, rows in zip(
                    window.questions, window.rows, window.pictures.rows_NRC.split(2), strict=True
                )
            )
        ]
    assert float(whole.total) == pytest.approx(float(torch.stack(alone).mean()), abs=1e-5)
    said = answers_about(stage.eval(), batch.window(0), list(asked.prepared[0].questions))
    assert len(said) == 3
