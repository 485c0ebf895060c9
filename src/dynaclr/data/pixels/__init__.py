"""From the chunks of a Zarr array to patches around observations.

A chunk that several patches of a batch touch is read and decoded once, and of a Blosc chunk only
the blocks that are needed. Read `patch_reader` first, then `chunk_reader`.
"""
