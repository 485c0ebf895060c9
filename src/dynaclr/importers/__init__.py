"""Movies in other forms to what every stage reads: a plate, tracking tables and a ready entry.

Read `movies` (what is written, and in which order things are checked) first; `fields` says which
files are which field of view, `stacks` and `ctc` read two forms, `tiff` their images. `new_project`
writes the project of a lab's own plates, imported or not.
"""

from dynaclr.importers.ctc import import_ctc
from dynaclr.importers.movies import ImportOptions
from dynaclr.importers.stacks import import_stacks

__all__ = ["ImportOptions", "import_ctc", "import_stacks"]
