"""timm is imported only when it is needed, and imports in the pinned environment."""

import subprocess
import sys
import textwrap


def run(script):
    """Run a script in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True
    )


def test_small_encoder_needs_no_timm():
    done = run("""
        import sys
        from dynaclr.models import SmallEncoder
        SmallEncoder()
        assert not {"timm", "torchvision"} & set(sys.modules)
    """)
    assert done.returncode == 0, done.stderr


def test_installed_timm_builds_a_model():
    done = run("""
        import timm
        model = timm.create_model("convnext_atto", num_classes=0)
        assert model.num_features == 320
    """)
    assert done.returncode == 0, done.stderr
