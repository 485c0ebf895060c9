"""SmallEncoder: shapes, independence of rows, and that it learns texture."""

import pytest
import torch

from dynaclr.models import SmallEncoder


@pytest.mark.parametrize("size", [(48, 48), (33, 50), (16, 16)])
@pytest.mark.parametrize(("channels", "depth"), [(1, 1), (2, 1), (3, 7)])
def test_shapes(channels, depth, size):
    encoder = SmallEncoder(channels, depth, embedding_dim=24, projection_dim=12)
    features, projections = encoder(torch.randn(3, channels, depth, *size))
    assert features.shape == (3, encoder.feature_dim) == (3, 24)
    assert projections.shape == (3, encoder.projection_dim) == (3, 12)


@pytest.mark.parametrize("training", [True, False])
def test_embedding_never_depends_on_batch_mates(training):
    encoder = SmallEncoder().train(training)
    patches = torch.randn(5, 2, 1, 48, 48)
    with torch.no_grad():
        together = encoder(patches)
        others = encoder(torch.cat((torch.randn(2, 2, 1, 48, 48) * 9, patches[3:4])))
    for whole, other in zip(together, others, strict=True):
        torch.testing.assert_close(whole[3], other[2])
    assert not any(buffer.numel() for buffer in encoder.buffers())


def test_constant_patches_have_finite_gradients():
    encoder = SmallEncoder()
    patches = torch.zeros(2, 2, 1, 48, 48, requires_grad=True)
    _, projections = encoder(patches)
    projections.square().sum().backward()
    assert patches.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_all_weights_take_part():
    encoder = SmallEncoder(in_stack_depth=3)
    _, projections = encoder(torch.randn(2, 2, 3, 48, 48))
    projections.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in encoder.parameters())


def test_half_precision_under_autocast():
    encoder = SmallEncoder()
    patches = torch.randn(4, 2, 1, 48, 48)
    with torch.no_grad():
        features, _ = encoder(patches)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half, _ = encoder(patches)
    torch.testing.assert_close(half.float(), features, rtol=0.1, atol=0.1)


def textures(n, generator):
    """Noise that is smooth along Y or along X: same intensities, different texture."""
    label = torch.arange(n) % 2
    noise = torch.randn(n, 1, 1, 26, 26, generator=generator)
    along_y = noise[..., 1:-1, 1:-1] + noise[..., 2:, 1:-1]
    along_x = noise[..., 1:-1, 1:-1] + noise[..., 1:-1, 2:]
    return torch.where(label[:, None, None, None, None] == 0, along_y, along_x), label


def test_learns_texture_in_a_few_steps():
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    encoder = SmallEncoder(1, width=8)
    classifier = torch.nn.Linear(encoder.feature_dim, 2)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *classifier.parameters()], lr=3e-3)
    for _ in range(25):
        patches, label = textures(64, generator)
        loss = torch.nn.functional.cross_entropy(classifier(encoder(patches)[0]), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    patches, label = textures(200, generator)
    with torch.no_grad():
        predicted = classifier(encoder(patches)[0]).argmax(1)
    assert (predicted == label).float().mean() > 0.95


@pytest.mark.parametrize("width", [0, 12])
def test_width_out_of_step_is_an_error(width):
    with pytest.raises(ValueError, match="width"):
        SmallEncoder(width=width)


def test_wrong_patches_are_named():
    with pytest.raises(ValueError, match="in_channels=2"):
        SmallEncoder(2)(torch.zeros(1, 1, 1, 48, 48))
