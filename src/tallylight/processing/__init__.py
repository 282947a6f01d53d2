"""Python on every frame of a stream: a function gets NumPy pictures, and what it makes is a stream like any other.

```text
videoExpose ── source.Tap ──> demux, decode ──> FrameQueue ──> your function ──> Publication (H.264 by RTMP) ──> engine
   (HTTP)      reader thread                    newest first   working thread    sound passes as it came
                                                      └─ Ledger ── Reporter ──> /internal/processors/ID/ledger
```
A processor is a process of its own: a broken bitstream or a slow function harms no other. `Processor` runs the loop;
`command_line.main` is all that a program around one function needs. docs/processors.md is the guide.
"""

from tallylight.processing.frame import Frame
from tallylight.processing.processor import FrameFunction, Processor
from tallylight.processing.publication import Encoding
from tallylight.processing.server import Server, Target

__all__ = ["Encoding", "Frame", "FrameFunction", "Processor", "Server", "Target"]
