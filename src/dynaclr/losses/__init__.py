"""Contrastive losses as plain modules.

All share one call, ``criterion(embeddings, labels, lineages=None)``, and return a scalar: rows
of equal label attract each other, rows of equal lineage but different label are left alone, all
others repel each other.
"""

from dynaclr.losses.margin import CosineMarginLoss, TripletMarginLoss
from dynaclr.losses.ntxent import NTXentHCL
from dynaclr.losses.schedule import cosine_schedule

__all__ = ["CosineMarginLoss", "NTXentHCL", "TripletMarginLoss", "cosine_schedule"]
