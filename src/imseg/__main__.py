"""``python -m imseg``: the command line, also of processes that it starts itself."""

from imseg.cli.main import main

if __name__ == "__main__":
    main()
