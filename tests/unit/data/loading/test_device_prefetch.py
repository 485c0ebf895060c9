"""Batches copied ahead: the order of things here, the copies where there is a GPU."""

import pytest
import torch

from dynaclr.data.loading.device_prefetch import _one_ahead, prefetch_to_device

# Copies run beside computation only on a GPU, so that a machine with one tests those too.
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_the_next_item_is_begun_before_one_is_handed_out(n):
    events = []

    def begin(item):
        events.append(f"begin {item}")
        return item

    for item in _one_ahead(range(n), begin):
        events.append(f"use {item}")
    expected = []
    for item in range(n):
        expected += [f"begin {item}"] if item == 0 else []
        expected += [f"begin {item + 1}"] if item + 1 < n else []
        expected += [f"use {item}"]
    assert events == expected


def test_without_a_gpu_nothing_is_read_ahead():
    read = []
    batches = ({"row": torch.tensor(read.append(i) or i)} for i in range(4))
    handed_out = prefetch_to_device(batches, torch.device("cpu"))
    assert read == []
    for i, batch in enumerate(handed_out):
        assert batch["row"] == i
        assert read == list(range(i + 1))


@pytest.mark.parametrize("device", DEVICES)
def test_batches_are_whole_on_their_device_when_they_are_handed_out(device):
    patches = [torch.full((64, 2**16), float(i)) for i in range(9)]
    made = [{"anchor": {"patch": p.pin_memory() if device == "cuda" else p}} for p in patches]
    for i, batch in enumerate(prefetch_to_device(made, torch.device(device))):
        patch = batch["anchor"]["patch"]
        assert patch.device.type == device
        assert (patch @ patch.T == 2**16 * i * i).all()
