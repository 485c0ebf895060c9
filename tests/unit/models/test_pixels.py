"""Principal components of pixels against scikit-learn."""

import numpy as np
import torch
from sklearn.decomposition import PCA

from dynaclr.models import PixelComponents


def patches(n=200, seed=0):
    """Patches with a few strong patterns and noise."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(6, 2, 1, 8, 8, generator=generator)
    amounts = torch.randn(n, 6, generator=generator) * torch.tensor([9.0, 7, 5, 4, 3, 2])
    mixed = torch.einsum("nk,kczyx->nczyx", amounts, patterns)
    return mixed + 0.1 * torch.randn(n, 2, 1, 8, 8, generator=generator) + 3.0


def test_coordinates_are_those_of_scikit_learn_up_to_sign():
    x_BCZYX = patches()
    features, projections = PixelComponents.fit(x_BCZYX, 6)(x_BCZYX)
    expected = PCA(6, svd_solver="full").fit_transform(x_BCZYX.flatten(1).numpy())
    np.testing.assert_allclose(features.abs().numpy(), np.abs(expected), rtol=1e-3, atol=1e-2)
    assert projections is features


def test_the_same_seed_gives_the_same_components_and_leaves_torch_s_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first, second = (PixelComponents.fit(patches(), 4, seed=1) for _ in range(2))
    assert torch.equal(first.components, second.components)
    assert torch.equal(before, torch.random.get_rng_state())


def test_few_patches_give_few_components():
    features, _ = PixelComponents.fit(patches(5), 32)(patches(7, seed=1))
    assert features.shape == (7, 5)
