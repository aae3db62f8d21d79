"""So that `python -m pipeline.cli` runs where nothing is installed."""

from pipeline.cli.main import main

if __name__ == "__main__":
    main()
