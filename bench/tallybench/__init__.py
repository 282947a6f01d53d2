"""The parts of the bench: source, server, measuring programs and the figures drawn from them.

Data flow: `source` encodes a loop once and pushes it by RTMP; `server` runs `tallylight serve` on one core; `programs`
runs the load generator on the other and the floor on both, and reads their JSON; `figures` turns those into medians,
void reasons and verdicts.
"""
