"""The margin losses against loops, and the schedule."""

import pytest
import torch
import torch.nn.functional as F

from dynaclr.losses import (
    CosineMarginLoss,
    CrossModalInfoNCE,
    NTXentHCL,
    TripletMarginLoss,
    cosine_schedule,
)


def batch(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(15, 4, generator=generator, dtype=dtype, requires_grad=True)
    labels = torch.arange(15) % 6
    return embeddings, labels, labels % 2


def pairs(labels, lineages, i):
    others = [j for j in range(len(labels)) if j != i]
    positive = [j for j in others if labels[j] == labels[i]]
    negative = [j for j in others if labels[j] != labels[i] and lineages[j] != lineages[i]]
    return positive, negative


def test_triplet_loss_equals_a_loop_over_hardest_triplets():
    embeddings, labels, lineages = batch()
    cosine = F.normalize(embeddings, dim=1) @ F.normalize(embeddings, dim=1).T
    terms = []
    for i in range(15):
        positive, negative = pairs(labels, lineages, i)
        hardest = cosine[i, negative].max() - cosine[i, positive].min()
        terms.append((0.3 + hardest).clamp(min=0))
    expected = torch.stack(terms).mean()
    torch.testing.assert_close(TripletMarginLoss(0.3)(embeddings, labels, lineages), expected)


def test_cosine_loss_equals_torch_on_each_kind_of_pair():
    embeddings, labels, lineages = batch()
    positive, negative = ([], [])
    for i in range(15):
        same, other = pairs(labels, lineages, i)
        positive += [(i, j) for j in same]
        negative += [(i, j) for j in other]
    expected = 0
    for of_kind, sign in ((positive, 1), (negative, -1)):
        a, b = torch.tensor(of_kind).T
        target = torch.full((len(a),), sign)
        expected += F.cosine_embedding_loss(embeddings[a], embeddings[b], target, margin=0.1)
    torch.testing.assert_close(CosineMarginLoss(0.1)(embeddings, labels, lineages), expected)


@pytest.mark.parametrize("criterion", [TripletMarginLoss(), CosineMarginLoss(), NTXentHCL()])
def test_all_losses_share_one_interface(criterion):
    embeddings, labels, lineages = batch(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = criterion(embeddings.bfloat16(), labels, lineages)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, criterion(embeddings.bfloat16().float(), labels, lineages))
    order = torch.arange(14, -1, -1)
    torch.testing.assert_close(
        criterion(embeddings[order], labels[order], lineages[order]),
        criterion(embeddings, labels, lineages),
    )
    with pytest.raises(TypeError, match="labels"):
        criterion(embeddings, labels.float())


@pytest.mark.parametrize(
    "criterion", [TripletMarginLoss(), CosineMarginLoss(), NTXentHCL(), CrossModalInfoNCE()]
)
def test_a_row_without_length_has_no_gradient_and_others_have_theirs(criterion):
    embeddings = batch(torch.float32)[0].detach()
    embeddings[[3, 9]] = 0
    embeddings.requires_grad_()
    # Two modalities for the one loss, rows that are positives of each other for the others.
    other = embeddings.flip(0) if isinstance(criterion, CrossModalInfoNCE) else batch()[1]
    criterion(embeddings, other).backward()
    lengths = embeddings.grad.norm(dim=1)
    assert (lengths[[3, 9]] == 0).all()
    assert lengths.isfinite().all()
    assert 0 < lengths.max() < 100


@pytest.mark.parametrize("criterion", [TripletMarginLoss(), NTXentHCL()])
def test_nothing_to_contrast_is_zero_with_a_graph(criterion):
    embeddings, labels, _ = batch()
    loss = criterion(embeddings, torch.arange(15)) + criterion(embeddings, labels * 0)
    loss.backward()
    assert loss == 0
    assert (embeddings.grad == 0).all()


def test_margins_out_of_range_are_errors():
    with pytest.raises(ValueError, match="margin"):
        TripletMarginLoss(0)
    with pytest.raises(ValueError, match="margin"):
        CosineMarginLoss(1)


def test_cosine_schedule_ends_where_it_should():
    values = [cosine_schedule(1.0, 0.2, epoch, 11) for epoch in range(13)]
    assert values[0] == 1.0
    assert values[5] == pytest.approx(0.6)
    assert values[10] == values[12] == pytest.approx(0.2)
    assert values == sorted(values, reverse=True)
    assert cosine_schedule(1.0, 0.2, 0, 1) == 1.0
    with pytest.raises(ValueError, match="epochs"):
        cosine_schedule(1.0, 0.2, 0, 0)
    with pytest.raises(ValueError, match="epoch"):
        cosine_schedule(1.0, 0.2, -1, 5)
