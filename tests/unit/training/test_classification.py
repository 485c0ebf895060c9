"""Supervised training on toy cells and on a collection, its weights and its metrics."""

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score
from torch import nn
from toy import SEVERAL, Logged, OwnShare, ToyEncoder, batches, fit

from dynaclr.config import UserError
from dynaclr.data import MultiExperimentDataModule, PatchConfig
from dynaclr.models import SmallEncoder
from dynaclr.training import ClassificationModule, ContrastiveModule
from dynaclr.training.classification import BalancedAccuracy, MacroAUROC, MacroF1
from dynaclr.training.heads import AuxiliaryHead


def make(seed: int = 0, **options) -> ClassificationModule:
    torch.manual_seed(seed)
    settings = {"encoder": ToyEncoder(), "label": "sign", "num_classes": 2, "learning_rate": 0.01}
    return ClassificationModule(**(settings | options))


def fitted(module, epochs=8, train=None, val=None, data=None) -> list[dict]:
    history = Logged()
    fit(module, train or batches(), val, epochs, data, callbacks=[history])
    return history.rows


def test_fine_tuning_learns_a_separable_label():
    module = make()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    rows = fitted(module, val=batches(2, seed=1))
    for metric in ("balanced_accuracy", "macro_f1", "auroc"):
        assert rows[-1][f"{metric}/val"] > 0.9
    assert rows[-1]["loss/val"] < 0.5 * rows[0]["loss/val"]
    same = {n for n, value in module.state_dict().items() if torch.equal(value, before[n])}
    assert same == {n for n in before if n.startswith("encoder.projection")}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classifier", "auxiliary"])
def test_two_processes_with_unequal_labels_learn_what_one_learns(kind, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    made = batches()
    for number, batch in enumerate(made):
        for view in batch.values():
            # The second process has few labels, and in one batch none.
            view["half"][1::2] = -1
            view["half"][1 : 4 * number : 2] = view["sign"][1 : 4 * number : 2]
    modules, trainers = [], []
    for data, several in ((made, {}), (OwnShare(made), SEVERAL)):
        torch.manual_seed(0)
        encoder = ToyEncoder(p=0.0, norm=nn.LayerNorm)
        if kind == "classifier":
            module = make(encoder=encoder, label="half", class_weights=[1.0, 5.0])
        else:
            heads = {"half": AuxiliaryHead(2, weight=5.0)}
            module = ContrastiveModule(encoder, auxiliary_heads=heads, learning_rate=0.01)
        trainers.append(fit(module, data, data, epochs=2, **several))
        modules.append(module)
    for name, value in modules[0].state_dict().items():
        torch.testing.assert_close(modules[1].state_dict()[name], value, rtol=1e-3, atol=1e-5)
    one, two = (trainer.callback_metrics for trainer in trainers)
    for name in one:
        if "loss" in name or "accuracy" in name:
            assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-4), name


def test_linear_head_reads_a_trained_encoder_and_leaves_it_alone(tmp_path):
    torch.manual_seed(0)
    contrastive = ContrastiveModule(ToyEncoder(), learning_rate=0.01)
    fit(contrastive, batches(), epochs=10).save_checkpoint(tmp_path / "best.ckpt")
    module = make(seed=1, linear=True, encoder_checkpoint=tmp_path / "best.ckpt")
    rows = fitted(module, val=batches(2, seed=1))
    assert rows[-1]["balanced_accuracy/val"] > 0.8
    for name, value in contrastive.encoder.state_dict().items():
        assert torch.equal(module.encoder.state_dict()[name], value), name


def test_unknown_labels_are_left_out_of_loss_and_metrics():
    made, mangled = batches(2), batches(2)
    for batch in mangled:
        # The unlabelled rows change nothing: the encoder is frozen, so rows do not meet.
        batch["anchor"]["patch"][batch["anchor"]["half"] < 0] = 7.0
    rows = [fitted(make(label="half", linear=True), 2, one, one) for one in (made, mangled)]
    assert rows[0] == rows[1]
    assert {"loss/train", "loss/val", "balanced_accuracy/val"} < set(rows[0][0])
    known = make(linear=True)
    for batch in made:
        kept = batch["anchor"]["half"] >= 0
        batch["anchor"] = {name: value[kept] for name, value in batch["anchor"].items()}
    for name, value in fitted(known, 2, made, made)[-1].items():
        assert rows[0][-1][name] == pytest.approx(value, rel=1e-4), name


def test_a_batch_without_any_label_is_no_harm():
    made = batches(3)
    made[0]["anchor"]["sign"] = torch.full_like(made[0]["anchor"]["sign"], -1)
    rows = fitted(make(), 2, made, made)
    assert all(np.isfinite(value) for value in rows[-1].values())


def test_class_weights_are_those_of_weighted_cross_entropy():
    made = batches(1)
    weights = torch.tensor([3.0, 0.5])
    module = make(class_weights=weights.tolist(), linear=True, learning_rate=0.0)
    loss = fitted(module, 1, made)[0]["loss/train"]
    logits = module.eval()(made[0]["anchor"]["patch"])
    labels = made[0]["anchor"]["sign"].long()
    expected = torch.nn.functional.cross_entropy(logits, labels, weights)
    assert loss == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("classes", [[0, 1, 2], [0, 2], [1]], ids=str)
def test_metrics_are_those_of_scikit_learn_also_when_a_class_is_absent(classes):
    rng = np.random.default_rng(0)
    labels = rng.choice(classes, 60)
    scores = torch.from_numpy(rng.dirichlet([1, 1, 1], 60)).float()
    predicted = scores.argmax(1).numpy()
    metrics = BalancedAccuracy(3), MacroF1(3), MacroAUROC(3)
    for metric in metrics:
        for part in (slice(0, 25), slice(25, 60)):
            metric.update(scores[part], torch.from_numpy(labels[part]))
    accuracy, f1, auroc = (float(metric.compute()) for metric in metrics)
    recalls = [(predicted[labels == k] == k).mean() for k in classes]
    assert accuracy == pytest.approx(np.mean(recalls))
    if len(classes) > 1:
        assert accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert f1 == pytest.approx(f1_score(labels, predicted, average="macro"))
    areas = [roc_auc_score(labels == k, scores[:, k]) for k in classes if len(classes) > 1]
    assert auroc == pytest.approx(np.mean(areas) if areas else np.nan, nan_ok=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 1}, "num_classes is 1"),
        ({"class_weights": [1.0]}, r"class_weights is \[1.0\]; .*each of 2 classes"),
        ({"class_weights": [1.0, 0.0]}, "positive number"),
        ({"encoder": torch.nn.Linear(2, 2)}, "no attribute feature_dim"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def data_of(collection, **options) -> MultiExperimentDataModule:
    settings = {"tau_range": (0.0, 0.0), "batch_size": 16, "carry": ["condition"]}
    return MultiExperimentDataModule(
        collection.folder,
        collection.experiments,
        PatchConfig(("phase", "reporter"), (16, 16)),
        **(settings | options),
    )


def of_collection(**options) -> ClassificationModule:
    return make(encoder=SmallEncoder(2, width=8), label="condition", **options)


def test_learns_a_column_of_the_index_with_balanced_weights(collection):
    data = data_of(collection, query="condition == 'mock' or t % 4 == 0")
    module = of_collection(class_weights="balanced")
    rows = fitted(module, epochs=2, data=data)
    # Only mock wells have the reporter, so that zeros show the condition.
    assert rows[-1]["balanced_accuracy/val"] > 0.9
    conditions = data.index.tracks["condition"].iloc[data._datasets["train"].anchors]
    counts = conditions.value_counts()[["infected", "mock"]].to_numpy()
    assert counts[0] != counts[1]
    torch.testing.assert_close(
        module.weights, torch.tensor(counts.sum() / (2 * counts)).float(), check_dtype=False
    )


def test_classes_that_do_not_fit_the_data_are_reported(collection):
    with pytest.raises(UserError, match=r"'condition' has 2 classes \(infected, mock\).* 3"):
        fitted(of_collection(num_classes=3), data=data_of(collection))
    with pytest.raises(UserError, match=r"'condition' is no text column that batches carry"):
        fitted(of_collection(class_weights="balanced"), data=data_of(collection, carry=[]))
    with pytest.raises(UserError, match=r"no column 'condition' to learn from"):
        fitted(of_collection(), data=data_of(collection, carry=[]))
    only_mock = data_of(collection, query="condition == 'mock' or experiment == 'three'")
    with pytest.raises(UserError, match=r"no training anchor has condition infected"):
        fitted(of_collection(class_weights="balanced"), data=only_mock)
