"""What does `python -m maia_sync` do? The same as `maia-sync`."""

from maia_sync.cli.main import main

if __name__ == "__main__":
    main()
