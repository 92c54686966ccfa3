"""What problems with a softmax share: attention, its gradient, tensor and rotary attention, small transformers.

``rounding`` says what a kernel rounds on its way, ``masks`` which keys a query attends to, and ``weights`` what that
makes of scores and weights (proofs_notes/attention.md, TOL-0 to TOL-6).  None of them is a problem of its own.
"""
