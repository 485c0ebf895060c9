"""Fingerprints change with content and with nothing else."""

import os
import time

import pytest
from tests.unit.config.conftest import write_experiment

from dynaclr.config import ExperimentConfig
from dynaclr.io.artifacts import write_digest
from dynaclr.workflow import fingerprint as fp


@pytest.fixture
def entry(tmp_path):
    return ExperimentConfig.model_validate(
        write_experiment(tmp_path, "one"), context={"base": tmp_path}
    )


def test_tracks_fingerprint_follows_content(entry):
    before = fp.tracks_fingerprint(entry)
    table = entry.tracks_path / "A/1/0/tracks.csv"
    os.utime(table, (0, 0))
    assert fp.tracks_fingerprint(entry) == before
    table.write_text(table.read_text() + "2,0,3,3,-1\n")
    assert fp.tracks_fingerprint(entry) != before


def test_tracks_are_all_files_below_the_folder(entry):
    digest, megabytes = fp.tracks_fingerprint(entry), fp.tracks_megabytes(entry)
    chunk = entry.tracks_path / "B/1/0/tracks.geff/nodes/ids/c/0"
    chunk.parent.mkdir(parents=True)
    chunk.write_bytes(bytes(3_000_000))
    assert fp.tracks_megabytes(entry) == pytest.approx(megabytes + 3)
    assert fp.tracks_fingerprint(entry) != digest


def test_plate_fingerprint_follows_metadata(entry):
    before = fp.plate_fingerprint(entry)
    metadata = entry.data_path / "A/1/0/.zattrs"
    os.utime(metadata, (0, 0))
    assert fp.plate_fingerprint(entry) == before
    metadata.write_text(metadata.read_text().replace("GFP", "RFP"))
    assert fp.plate_fingerprint(entry) != before


def test_modified_product_is_noticed(tmp_path):
    product = tmp_path / "best.ckpt"
    assert fp.modified_digests(product) == "", "a product that is not made yet"
    product.write_bytes(b"weights")
    assert fp.modified_digests(product) == "", "a product without its digest"
    write_digest(product)
    assert fp.modified_digests(product) == ""
    later = time.time_ns() + 10**9
    os.utime(product, ns=(later, later))
    assert fp.modified_digests(product) == "", "touched, not changed"
    product.write_bytes(b"other weights")
    os.utime(product, ns=(later, later))
    assert len(fp.modified_digests(product)) == 64


def test_labels_count_by_column_and_not_by_order(entry, tmp_path):
    table = tmp_path / "labels.csv"
    entry = entry.model_copy(update={"annotations": table})
    asked = {"annotations": {"state", "fate", "absent"}, "truth": {"onset"}}
    table.write_text("fov,state,fate,other\nA/1/0,x,1,5\nA/1/1,y,2,6\n")
    first = fp.label_fingerprint(entry, asked)
    assert list(first) == ["annotations: fate", "annotations: state"]
    table.write_text("other,fov_name,fate,state\n7,/A/1/1,2,y\n8,/A/1/0,1,x\n")
    assert fp.label_fingerprint(entry, asked) == first
    table.write_text("fov,state,fate\nA/1/0,x,1\nA/1/1,z,2\n")
    changed = fp.label_fingerprint(entry, asked)
    assert changed["annotations: fate"] == first["annotations: fate"]
    assert changed["annotations: state"] != first["annotations: state"]
    assert fp.label_fingerprint(entry.model_copy(update={"simulation": object()}), asked) == {}
