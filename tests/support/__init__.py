"""What the suites share: a real server, publishers and viewers that behave, and checkers that can say no.

Everything is asynchronous and runs on one event loop for the whole run (`loop_scope="session"`), so a browser, aiortc
peers and the server's log live side by side. Nothing waits for a time: `waiting.wait_until` waits for a condition.
"""
