"""Which link of a stream's chain is broken? Facts are gathered at the edge, verdicts are pure.

```text
engine's ledgers ── sampler ──> LedgerWindow ┐
internal route ──── expose ───> ExposeFacts  ├─> StreamFacts ── links.diagnose() ──> Report: a lamp per link, one cause
processors ──────── processors ───> views    ┘                └─ chain.founding_chain() ──> the seven steps
```
`reports.Diagnosis` gathers the facts of one stream or of all, for `stream-status` and for the dashboard.
"""
