"""`python -m spd_cli` is `spd`."""

from spd_cli.app import main

if __name__ == "__main__":
    main()
