"""The `gateway` command."""

import sys

STOPPED = 130


def main() -> None:
    try:
        # Here and not above, so that Ctrl-C while it loads shows no traceback either.
        from gateway.cli.main import run
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    run()


if __name__ == "__main__":
    main()
