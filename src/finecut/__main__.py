"""`python -m finecut`: the command line, where its script is not on the path."""

from finecut.cli.main import main

if __name__ == "__main__":
    main()
