"""``python -m algorithms.cli``."""

from algorithms.cli.main import main

if __name__ == "__main__":
    main()
