"""Posters: a small still picture of each stream, made of its newest keyframe every ten seconds while it is on air.

Decoding bytes that strangers sent happens in a process of its own, `python -m tallylight.posters`: engine tap ->
`tap` (the first chunk) -> `picture` (keyframe to JPEG) -> `<data>/posters/NAME.jpg`, which the control plane hands out
(`store`). A picture that hangs or crashes the decoder takes nothing else along, and is not tried for ever (`strikes`).
"""

# What the supervisor runs.
MODULE = "tallylight.posters"
