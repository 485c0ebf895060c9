"""A plain reading of the definition: loops over anchors and positives, float64, whole matrix."""

import torch


def plain_loss(embeddings, labels, lineages=None, *, temperature, beta, tau_plus=0.0):
    unit = embeddings.double() / embeddings.double().norm(dim=1, keepdim=True)
    similarity = unit @ unit.T / temperature
    losses = []
    for i in range(len(labels)):
        same = labels == labels[i]
        related = torch.zeros_like(same) if lineages is None else lineages == lineages[i]
        negatives = similarity[i][~(same | related)]
        same[i] = False
        positives = similarity[i][same]
        if len(positives) == 0:
            continue
        term = _negative_term(negatives, positives, temperature, beta, tau_plus)
        losses += [torch.log1p(term / positive.exp()) for positive in positives]
    return torch.stack(losses).mean() if losses else similarity.sum() * 0


def _negative_term(negatives, positives, temperature, beta, tau_plus):
    if len(negatives) == 0:
        return torch.zeros((), dtype=torch.float64)
    weights = (beta * negatives).exp()
    weights = weights / weights.mean()
    term = (weights * negatives.exp()).sum()
    if tau_plus > 0:
        n = len(negatives)
        false_negatives = tau_plus * n * positives.exp().mean()
        bound = n * torch.tensor(-1 / temperature, dtype=torch.float64).exp()
        term = torch.maximum((term - false_negatives) / (1 - tau_plus), bound)
    return term
