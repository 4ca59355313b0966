"""`python -m testgrove`."""

from testgrove.cli.main import main

if __name__ == "__main__":
    main()
