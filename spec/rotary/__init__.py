"""What problems with a rotary embedding share: the embedding alone (``rope``) and attention with it.

``options`` declares a rotation, ``frequencies`` has every scaling of practice, ``turning`` the certified cosines and
sines, ``rounding`` what a kernel rounds on its way, and ``errors`` what frequencies and rotated pairs are off by that
(proofs_notes/rope_attention.md, ROT-1 to ROT-3).  None of them is a problem of its own.
"""
