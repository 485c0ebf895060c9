"""Names of variants."""

from dynaclr.config.variants import ordered_variants, parse_variant


def test_kinds_and_seeds_are_read_from_names():
    assert parse_variant("seed12") == ("seed12", "trained", 12)
    assert parse_variant("seed3-untrained") == ("seed3-untrained", "untrained", 3)
    assert parse_variant("pixels-pca") == ("pixels-pca", "pixels-pca", None)
    names = ["intensity", "pixels-pca", "seed10", "seed2-untrained", "seed2"]
    assert [v.name for v in ordered_variants(names)] == [
        *("seed2", "seed10", "seed2-untrained", "intensity", "pixels-pca")
    ]
