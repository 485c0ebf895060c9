"""What every room that touches the disk shares: plates, importers and products.

Read `artifacts` (products are written whole or not at all, with a digest beside them) and `plate`
(what an OME-Zarr plate holds, from its metadata) first.
"""

from dynaclr.io.disk_checks import check_all_on_disk
from dynaclr.io.plate import Plate, Position

__all__ = ["Plate", "Position", "check_all_on_disk"]
