"""Settings of a cluster."""

import pytest

from dynaclr.config import UserError
from dynaclr.config.site import load_site


def test_settings_come_from_file_or_environment(tmp_path):
    file = tmp_path / "site.yaml"
    assert load_site(file, {}) is None
    file.write_text("partition: short\naccount: lab\n")
    assert load_site(file, {}).partition == "short"
    other = tmp_path / "other.yaml"
    other.write_text("partition: long\n")
    assert load_site(file, {"DYNACLR_SITE": str(other)}).partition == "long"
    inline = load_site(file, {"DYNACLR_SITE": "{gpu_partition: gpus, gpu_model: a100}"})
    assert (inline.partition, inline.gpu_partition, inline.gpu_model) == (None, "gpus", "a100")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{partitoin: short}", r"DYNACLR_SITE: partitoin: unknown key. Did you mean 'partition'"),
        ("{cpus_per_gpu: 0}", r"cpus_per_gpu: input should be greater than or equal to 1"),
        ("missing.yaml", r"missing.yaml: no such file"),
    ],
)
def test_errors_name_the_setting(tmp_path, given, message):
    with pytest.raises(UserError, match=message):
        load_site(tmp_path / "site.yaml", {"DYNACLR_SITE": given})
