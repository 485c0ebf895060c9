"""Two encoders on toy cells whose channels are two images of the same latents."""

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from toy import SEVERAL, Logged, OwnShare, ToyEncoder, batches, fit

from dynaclr.data import MultiExperimentDataModule, PatchConfig
from dynaclr.models import SmallEncoder
from dynaclr.training import MultiModalContrastiveModule
from dynaclr.training.callbacks import MetricsHistory
from dynaclr.training.schedule import CosineSchedule

CELLS = 32


def make(seed: int = 0, **options) -> MultiModalContrastiveModule:
    torch.manual_seed(seed)
    settings = {
        "encoder": ToyEncoder(1),
        "teacher": ToyEncoder(1),
        "channels": [0],
        "teacher_channels": [1],
        "learning_rate": 0.01,
    }
    return MultiModalContrastiveModule(**(settings | options))


def fitted(module, epochs=5, train=None, val=None, **options) -> list[dict]:
    history = Logged()
    fit(module, train or batches(n=CELLS), val, epochs, callbacks=[history], **options)
    return history.rows


def changed(module, before) -> set[str]:
    """Which of encoder and teacher have other weights than before."""
    return {
        name.split(".")[0]
        for name, value in module.state_dict().items()
        if not torch.equal(value, before[name])
    }


def copy_of(module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_cells_are_found_again_across_modalities():
    held_out = batches(2, CELLS, seed=1)
    chance = fitted(make(learning_rate=0.0), epochs=1, val=held_out)[0]["retrieval/val"]
    assert chance < 4 / CELLS
    rows = fitted(make(), epochs=20, val=held_out)
    assert rows[-1]["retrieval/val"] > 0.5
    assert rows[-1]["similarity_margin/val"] > 0.3
    assert rows[-1]["loss/train"] == rows[-1]["cross_modal_loss/train"] < rows[0]["loss/train"]
    assert rows[-1]["teacher_effective_rank/val"] > 3
    assert rows[-1]["same_lineage_negatives/train"] == 0


@pytest.mark.parametrize(
    ("options", "trained"),
    [
        ({}, {"encoder", "teacher"}),
        ({"teacher_mode": "frozen"}, {"encoder"}),
        ({"teacher_mode": "stop_gradient", "teacher_within_weight": 1.0}, {"encoder", "teacher"}),
    ],
    ids=["train", "frozen", "stop_gradient"],
)
def test_teacher_mode_decides_who_learns(options, trained):
    module = make(**options)
    before = copy_of(module)
    teaching = []

    class Modes(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            teaching.append(pl_module.teacher.encoder.body.training)

    fit(module, batches(n=CELLS), batches(1), epochs=2, callbacks=[Modes()])
    assert changed(module, before) == trained
    assert set(teaching) == {"teacher" in trained}


def test_stopped_gradient_teaches_the_teacher_what_it_learns_alone():
    """Whatever the student does, the teacher's weights are those of its own loss."""
    made = batches(n=CELLS)
    options = {"teacher_mode": "stop_gradient", "teacher_within_weight": 1.0}
    modules = []
    for flip in (1, -1):
        module = make(**options, encoder=ToyEncoder(1, p=0.0), teacher=ToyEncoder(1, p=0.0))
        module.teacher.load_state_dict(modules[0][1] if modules else module.teacher.state_dict())
        start = copy_of(module.teacher)
        for batch in made:
            for view in batch.values():
                view["patch"][:, 0] *= flip
        fit(module, made, epochs=2)
        modules.append((module, start))
    for name, value in modules[0][0].teacher.state_dict().items():
        assert torch.equal(modules[1][0].teacher.state_dict()[name], value), name
    assert changed(modules[1][0], modules[0][0].state_dict()) == {"encoder"}


def test_within_modality_terms_are_weighted_into_the_loss():
    still = {"learning_rate": 0.0}
    made = batches(n=CELLS)
    cross, student, teacher = (
        fitted(make(**still, **weights), 1, made)[0]["loss/train"]
        for weights in ({}, {"within_weight": 1.0}, {"teacher_within_weight": 1.0})
    )
    both = make(**still, within_weight=0.5, teacher_within_weight=2.0)
    expected = cross + 0.5 * (student - cross) + 2 * (teacher - cross)
    assert fitted(both, 1, made)[0]["loss/train"] == pytest.approx(expected, rel=1e-4)
    assert student > cross < teacher


def test_cells_without_a_modality_are_left_out():
    made, mangled = batches(n=CELLS), batches(n=CELLS)
    for number, (batch, other) in enumerate(zip(made, mangled, strict=True)):
        for view in (*batch.values(), *other.values()):
            view["present"] = torch.ones(CELLS, 2, dtype=torch.bool)
            view["present"][::2, 1] = False
            if number == 0:
                view["present"][:] = False
        for view in other.values():
            view["patch"][~view["present"][:, 1], 1] = 100.0
    # A frozen teacher's projection of one cell does not depend on another cell.
    rows = []
    for one in (made, mangled):
        fit(make(teacher_mode="frozen"), one, one, 2, callbacks=[history := MetricsHistory()])
        rows.append(history.rows)
    assert rows[0] == rows[1]
    assert rows[0][-1]["retrieval/train"] > 0


def test_history_has_the_health_of_training_as_it_is_logged():
    made = batches(n=CELLS)
    for number, batch in enumerate(made):
        for view in batch.values():
            view["present"] = torch.ones(CELLS, 2, dtype=torch.bool)
            view["present"][: 8 * number, 1] = False
    history, logged = MetricsHistory(), Logged()
    fit(make(), made, made, 2, callbacks=[history, logged])
    for kept, row in zip(history.rows, logged.rows, strict=True):
        assert set(kept) - set(row) == {"epoch", "step", "learning_rate"}
        assert {"alignment/train", "uniformity/train", "effective_rank/train"} < set(kept)
        for name in row:
            assert kept[name] == pytest.approx(row[name], rel=1e-5), name


def test_temperature_follows_a_schedule():
    schedules = {"temperature": CosineSchedule(0.5, 0.1)}
    rows = fitted(make(schedules=schedules), epochs=3)
    assert [row["temperature/train"] for row in rows] == pytest.approx([0.5, 0.3, 0.1])
    with pytest.raises(ValueError, match="CrossModalInfoNCE has no number 'beta'"):
        make(schedules={"beta": CosineSchedule(0.0, 1.0)})
    with pytest.raises(ValueError, match="temperature must be positive"):
        make(schedules={"temperature": CosineSchedule(0.5, 0.0)})


def test_cells_of_one_lineage_are_no_negatives_of_each_other():
    made = batches(n=CELLS)
    for batch in made:
        for view in batch.values():
            view["lineage_id"] = torch.zeros(CELLS, dtype=torch.long)
    rows = fitted(make(), 1, made)
    assert rows[0]["loss/train"] == 0
    assert rows[0]["same_lineage_negatives/train"] == 1
    assert fitted(make(exclude_lineage=False), 1, made)[0]["loss/train"] > 1


def test_channels_are_chosen_by_index_or_marker():
    x_BCZYX = batches(1)[0]["anchor"]["patch"]
    by_name = make(
        markers=["phase", "sec61b"], channels=["sec61b"], teacher_channels=["phase"]
    ).eval()
    features, projections = by_name(x_BCZYX)
    expected = by_name.encoder.encoder(x_BCZYX[:, [1]])
    assert torch.equal(features, expected[0])
    assert torch.equal(projections, expected[1])
    assert by_name.teacher.channels == [0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": ["phase"]}, r"channel 'phase' is none of markers \[\]"),
        ({"channels": [0, 1]}, r"in_channels 1, but its channel group is \[0, 1\]"),
        ({"teacher": ToyEncoder(1, projection_dim=4)}, "projection_dim 8 and 4"),
        ({"within_weight": -1}, "must not be negative"),
        ({"teacher_mode": "stop_gradient"}, "leaves nothing to train the teacher"),
        ({"teacher_mode": "frozen", "teacher_within_weight": 1}, "trains no teacher"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_student_and_teacher_start_from_checkpoints(tmp_path):
    first = make(seed=1)
    fit(first, batches(1), epochs=1).save_checkpoint(tmp_path / "best.ckpt")
    torch.save(first.teacher.encoder.state_dict(), tmp_path / "teacher.pt")
    second = make(
        seed=2,
        encoder_checkpoint=tmp_path / "best.ckpt",
        teacher_checkpoint=tmp_path / "teacher.pt",
    )
    assert changed(second, first.state_dict()) == set()


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_with_the_whole_batch(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    made = batches(n=CELLS)
    for batch in made:
        for view in batch.values():
            view["lineage_id"] = view["lineage_id"] // 3
            # Processes differ in the number of cells that have both modalities.
            view["present"] = torch.ones(CELLS, 2, dtype=torch.bool)
            view["present"][: CELLS // 2 : 2, 1] = False
    modules = []
    for data, several in ((made, {}), (OwnShare(made), SEVERAL)):
        torch.manual_seed(5)
        student, teacher = (ToyEncoder(1, p=0.0, norm=nn.LayerNorm) for _ in range(2))
        weights = {"within_weight": 0.5, "teacher_within_weight": 0.5}
        modules.append(make(encoder=student, teacher=teacher, **weights))
        before = copy_of(modules[-1])
        fit(modules[-1], data, epochs=3, **several)
        assert changed(modules[-1], before) == {"encoder", "teacher"}
    for name, value in modules[0].state_dict().items():
        torch.testing.assert_close(modules[1].state_dict()[name], value, rtol=1e-3, atol=1e-5)


def test_trains_on_a_collection_in_which_a_well_lacks_the_reporter(collection):
    data = MultiExperimentDataModule(
        collection.folder,
        collection.experiments,
        PatchConfig(("phase", "reporter"), (16, 16)),
        tau_range=(0.5, 1.0),
        batch_size=16,
    )
    module = make(encoder=SmallEncoder(1, width=8), teacher=SmallEncoder(1, width=8))
    history = Logged()
    trainer = fit(module, [], epochs=1, data=data, callbacks=[history])
    assert trainer.callback_metrics["retrieval/val"] >= 0
    (row,) = history.rows
    assert all(value == value for value in row.values()), "no NaN"
