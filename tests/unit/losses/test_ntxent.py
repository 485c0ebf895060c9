"""NTXentHCL against its definition, against other code, and at the edges of float arithmetic."""

import subprocess
import sys
import textwrap

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import NTXentLoss
from reference import plain_loss

from dynaclr.losses import NTXentHCL


def batch(n_rows=24, n_labels=12, n_lineages=None, seed=0, dtype=torch.float32, dims=8):
    """Rows that share a direction with others of their label; lineages join labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n_rows) % n_labels
    centres = torch.randn(n_labels, dims, generator=generator, dtype=dtype)
    noise = torch.randn(n_rows, dims, generator=generator, dtype=dtype)
    embeddings = (centres[labels] + noise).requires_grad_()
    lineages = None if n_lineages is None else labels % n_lineages
    return embeddings, labels, lineages


def value_and_gradient(criterion, embeddings, *args):
    leaf = embeddings.detach().clone().requires_grad_()
    loss = criterion(leaf, *args)
    loss.backward()
    return loss.detach(), leaf.grad


def reference_and_gradient(embeddings, labels, lineages, **options):
    leaf = embeddings.detach().double().requires_grad_()
    loss = plain_loss(leaf, labels, lineages, **options)
    loss.backward()
    return loss.detach(), leaf.grad


@pytest.mark.parametrize("n_labels", [12, 5, 1, 24], ids=["pairs", "several", "one", "none"])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_beta_zero_is_pytorch_metric_learning(n_labels, temperature):
    embeddings, labels, _ = batch(n_labels=n_labels)
    loss, gradient = value_and_gradient(NTXentHCL(temperature, beta=0.0), embeddings, labels)
    expected, by_expected = value_and_gradient(NTXentLoss(temperature), embeddings, labels)
    torch.testing.assert_close(loss, expected.float(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(gradient, by_expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("temperature", [0.01, 0.07, 0.5])
@pytest.mark.parametrize("tau_plus", [0.0, 0.1])
@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("n_labels", [12, 7])
def test_equals_plain_reference(beta, tau_plus, temperature, n_labels):
    embeddings, labels, lineages = batch(n_labels=n_labels, n_lineages=3, dtype=torch.float64)
    options = {"temperature": temperature, "beta": beta, "tau_plus": tau_plus}
    expected, by_expected = reference_and_gradient(embeddings, labels, lineages, **options)
    loss, gradient = value_and_gradient(NTXentHCL(**options), embeddings, labels, lineages)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, by_expected, rtol=1e-8, atol=1e-11)
    single, by_single = value_and_gradient(
        NTXentHCL(**options), embeddings.float(), labels, lineages
    )
    torch.testing.assert_close(single.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(by_single.double(), by_expected, rtol=1e-3, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_rows=st.integers(0, 14),
    beta=st.sampled_from([0.0, 0.5, 2.0]),
    tau_plus=st.sampled_from([0.0, 0.3]),
    block=st.integers(1, 15),
)
def test_any_labels_and_lineages_in_any_blocks(seed, n_rows, beta, tau_plus, block):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(n_rows, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(-3, 4, (n_rows,), generator=generator)
    lineages = torch.randint(0, 4, (n_rows,), generator=generator)
    options = {"temperature": 0.2, "beta": beta, "tau_plus": tau_plus}
    expected, by_expected = reference_and_gradient(embeddings, labels, lineages, **options)
    criterion = NTXentHCL(**options, key_block=block)
    loss, gradient = value_and_gradient(criterion, embeddings, labels, lineages)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradient, by_expected, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("tau_plus", [0.0, 0.1])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_gradcheck(beta, tau_plus):
    embeddings, labels, lineages = batch(12, 5, 3, dtype=torch.float64, dims=4)
    criterion = NTXentHCL(0.3, beta, tau_plus, key_block=5)
    assert torch.autograd.gradcheck(lambda z: criterion(z, labels, lineages), embeddings)


def test_debiasing_lowers_a_hard_pair_to_the_bound_only():
    # Positive pairs coincide, so the expected false negatives exceed the whole negative term.
    unit = torch.eye(4, dtype=torch.float64).repeat(2, 1)
    labels = torch.arange(4).repeat(2)
    loss = NTXentHCL(0.1, beta=0.0, tau_plus=0.5)(unit, labels)
    bound = 6 * torch.tensor(-10.0, dtype=torch.float64).exp()
    expected = torch.log1p(bound / torch.tensor(10.0, dtype=torch.float64).exp())
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("tau_plus", [0.0, 0.1])
def test_every_block_size_gives_the_same(tau_plus):
    embeddings, labels, lineages = batch(n_labels=7, n_lineages=3, dtype=torch.float64)
    whole = value_and_gradient(
        NTXentHCL(0.07, 0.5, tau_plus, key_block=24), embeddings, labels, lineages
    )
    for block in range(1, 26):
        criterion = NTXentHCL(0.07, 0.5, tau_plus, key_block=block)
        torch.testing.assert_close(
            value_and_gradient(criterion, embeddings, labels, lineages), whole
        )


def test_order_of_rows_and_of_views_does_not_matter():
    embeddings, labels, lineages = batch(n_labels=12, n_lineages=4, dtype=torch.float64)
    criterion = NTXentHCL()
    loss, gradient = value_and_gradient(criterion, embeddings, labels, lineages)
    shuffled = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    swapped = torch.cat((torch.arange(12, 24), torch.arange(12)))
    for order in (shuffled, swapped):
        other, by_other = value_and_gradient(
            criterion, embeddings[order], labels[order], lineages[order]
        )
        torch.testing.assert_close(other, loss)
        torch.testing.assert_close(by_other, gradient[order])


def test_length_of_embeddings_and_names_of_labels_do_not_matter():
    embeddings, labels, lineages = batch(n_lineages=4, dtype=torch.float64)
    criterion = NTXentHCL()
    loss = criterion(embeddings, labels, lineages)
    lengths = torch.linspace(0.01, 100, 24, dtype=torch.float64)[:, None]
    renamed = (10**12 - 7 * labels).to(torch.int64)
    torch.testing.assert_close(criterion(embeddings * lengths, renamed, lineages - 2), loss)


def test_lineages_of_one_label_each_change_nothing():
    embeddings, labels, _ = batch()
    criterion = NTXentHCL()
    assert criterion(embeddings, labels, labels + 40) == criterion(embeddings, labels)


def test_relatives_are_neither_positive_nor_negative():
    embeddings, labels, _ = batch(n_rows=6, n_labels=3, dtype=torch.float64)
    lineages = torch.tensor([0, 0, 1, 0, 0, 1])  # labels 0 and 1 are relatives
    leaf = embeddings.detach().clone().requires_grad_()
    # Without label 2 nothing is left that could repel, and positives alone pull nobody.
    NTXentHCL()(leaf[[0, 1, 3, 4]], labels[[0, 1, 3, 4]], lineages[[0, 1, 3, 4]]).backward()
    assert (leaf.grad == 0).all()
    loss = NTXentHCL()(embeddings, labels, lineages)
    assert 0 < loss < NTXentHCL()(embeddings, labels)


def test_batch_without_negatives_gives_zero_and_no_nan():
    embeddings, labels, _ = batch(n_rows=6, n_labels=3)
    for args in ((torch.zeros(6, dtype=int),), (labels, torch.zeros(6, dtype=int))):
        for tau_plus in (0.0, 0.1):
            loss, gradient = value_and_gradient(NTXentHCL(tau_plus=tau_plus), embeddings, *args)
            assert loss == 0
            assert (gradient == 0).all()


@pytest.mark.parametrize("tau_plus", [0.0, 0.1])
def test_anchor_without_negatives_counts_as_zero(tau_plus):
    embeddings, _, _ = batch(n_rows=4, n_labels=2, dtype=torch.float64)
    # Row 0 is kin of rows 2 and 3, and row 1 its positive; row 1 is a stranger to 2 and 3.
    labels, lineages = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 0])
    options = {"temperature": 0.07, "beta": 0.5, "tau_plus": tau_plus}
    expected, by_expected = reference_and_gradient(embeddings, labels, lineages, **options)
    loss, gradient = value_and_gradient(NTXentHCL(**options), embeddings, labels, lineages)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, by_expected)
    assert loss > 0


def test_batch_without_positives_gives_zero_and_a_graph():
    embeddings, _, _ = batch(n_rows=5, n_labels=5)
    loss, gradient = value_and_gradient(NTXentHCL(tau_plus=0.1), embeddings, torch.arange(5))
    assert loss == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_hard_positive_at_low_temperature_keeps_its_gradient(dtype):
    # The positive points away, a negative lies on the anchor: s differs by 2 / T = 200.
    embeddings = torch.tensor([[1.0, 0.1], [-1.0, 0.1], [1.0, 0.12], [0.0, 1.0]], dtype=dtype)
    labels = torch.tensor([0, 0, 1, 1])
    loss, gradient = value_and_gradient(NTXentHCL(0.01, beta=0.0), embeddings, labels)
    assert loss > 50
    assert (gradient[:2].abs().sum(1) > 0.1).all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_within_rounding_of_float32(dtype):
    embeddings, labels, lineages = batch(64, 32, 8, dims=32)
    rounded = embeddings.to(dtype)
    criterion = NTXentHCL()
    loss, gradient = value_and_gradient(criterion, rounded, labels, lineages)
    expected, by_expected = value_and_gradient(criterion, rounded.float(), labels, lineages)
    assert loss.dtype == torch.float32
    assert gradient.dtype == dtype
    torch.testing.assert_close(loss, expected)
    tolerance = torch.finfo(dtype).eps
    torch.testing.assert_close(gradient.float(), by_expected, rtol=tolerance, atol=1e-6)


def test_autocast_changes_nothing():
    embeddings, labels, lineages = batch(64, 32, 8)
    criterion = NTXentHCL()
    expected = value_and_gradient(criterion, embeddings, labels, lineages)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = value_and_gradient(criterion, embeddings, labels, lineages)
    assert within[0] == expected[0]
    assert torch.equal(within[1], expected[1])


def test_same_input_gives_the_same_bits():
    embeddings, labels, lineages = batch(64, 20, 8)
    criterion = NTXentHCL(key_block=17)
    first = value_and_gradient(criterion, embeddings, labels, lineages)
    second = value_and_gradient(criterion, embeddings, labels, lineages)
    assert first[0] == second[0]
    assert torch.equal(first[1], second[1])


def test_schedule_can_set_temperature_and_beta():
    embeddings, labels, _ = batch()
    criterion = NTXentHCL(0.5, beta=0.0)
    criterion.temperature, criterion.beta = 0.1, 1.0
    assert criterion(embeddings, labels) == NTXentHCL(0.1, beta=1.0)(embeddings, labels)
    with pytest.raises(ValueError, match="temperature"):
        criterion.temperature = 0.0
    with pytest.raises(ValueError, match="beta"):
        criterion.beta = float("nan")


def test_no_gradient_is_computed_when_none_is_asked_for():
    embeddings, labels, _ = batch()
    with torch.no_grad():
        assert not NTXentHCL()(embeddings, labels).requires_grad


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"beta": -0.1}, "beta"),
        ({"tau_plus": 1.0}, "tau_plus"),
        ({"key_block": 0}, "key_block"),
        ({"averaged_gradients": True}, "gather"),
    ],
)
def test_wrong_parameters_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        NTXentHCL(**options)


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"embeddings": torch.zeros(4)}, ValueError, "embeddings"),
        ({"embeddings": torch.zeros(4, 2, dtype=int)}, TypeError, "embeddings"),
        ({"labels": torch.zeros(3, dtype=int)}, ValueError, "labels"),
        ({"labels": torch.zeros(4)}, TypeError, "labels"),
        ({"lineages": torch.zeros(4, 1, dtype=int)}, ValueError, "lineages"),
        ({"lineages": torch.zeros(4, dtype=bool)}, TypeError, "lineages"),
    ],
)
def test_wrong_inputs_are_named(change, error, named):
    arguments = {"embeddings": torch.ones(4, 2), "labels": torch.zeros(4, dtype=int)} | change
    with pytest.raises(error, match=named):
        NTXentHCL()(**arguments)


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["torch.arange(8192).repeat(2)", "torch.arange(16384) % 100"])
def test_large_batch_fits_where_the_mask_of_pairs_and_negatives_cannot(labels):
    script = f"""
        import resource, torch
        from dynaclr.losses import NTXentHCL
        torch.set_num_threads(1)
        z = torch.randn(16384, 128, requires_grad=True)
        labels = {labels}
        loss = NTXentHCL()(z, labels)
        loss.backward()
        assert loss.isfinite() and z.grad.isfinite().all() and (z.grad != 0).any()
        kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # What one float for each pair takes.
        assert kibibytes < 2**20, kibibytes
        print(kibibytes)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
