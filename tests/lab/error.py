# SPDX-License-Identifier: LGPL-2.1-or-later
"""What goes wrong in the lab, as opposed to in the product."""


class LabError(Exception):
    """One sentence for the reader of a test run."""


class CommandFailed(LabError):
    """A command on a pseudo host that had to succeed did not."""

    def __init__(self, argv, status, stdout, stderr):
        self.status, self.stdout, self.stderr = status, stdout, stderr
        super().__init__(f'{argv}: exit status {status}\n{stdout or ""}{stderr or ""}')


class GuestTimeout(LabError):
    """A command in a guest, or the guest's boot, took too long."""


class GuestRebooted(LabError):
    """The guest restarted while a command ran in it."""
