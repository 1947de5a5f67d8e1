"""The camera process, but it looks through its settings five times as often: a test of that need not wait for it."""

from __future__ import annotations

from inspector.acquire import process

if __name__ == "__main__":
    process.SETTINGS_CHECK_S /= 5
    process.main()
