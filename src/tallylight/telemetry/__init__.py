"""Figures of the running server: what pages and monitoring read again and again, asked once for all of them."""
