"""Losses as plain modules, most of them contrastive.

Those share one call, ``criterion(embeddings, labels, lineages=None)``, and return a scalar: rows
of equal label attract each other, rows of equal lineage but different label are left alone, all
others repel each other. `CrossModalInfoNCE` compares two modalities and takes embeddings of both,
`VariationalLoss` belongs to autoencoders.
Read `ntxent` (the equations) first.
"""

from dynaclr.losses.crossmodal import CrossModalInfoNCE
from dynaclr.losses.margin import CosineMarginLoss, TripletMarginLoss
from dynaclr.losses.ntxent import NTXentHCL
from dynaclr.losses.reconstruction import VariationalLoss
from dynaclr.losses.schedule import cosine_schedule

__all__ = [
    "CosineMarginLoss",
    "CrossModalInfoNCE",
    "NTXentHCL",
    "TripletMarginLoss",
    "VariationalLoss",
    "cosine_schedule",
]
