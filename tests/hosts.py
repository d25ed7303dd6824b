"""Hosts of the tests' own on this machine: network namespaces, linked to it by pairs of devices."""

import os
import shutil
import subprocess
from itertools import count

IP = shutil.which("ip") or "/usr/sbin/ip"
HOW = "It makes network namespaces: install iproute2 and run it as root, or in a container."
_numbers = count()


class Link:
    """A network between a host and this machine, which can be cut."""

    def __init__(self, host: str) -> None:
        number = next(_numbers)
        # 198.18.0.0/15 is set apart for tests of networks; what was killed may have left some.
        third = (4 * os.getpid() + number) % 256
        self.near, self.far = f"198.18.{third}.1", f"198.18.{third}.2"
        self._device, far = f"hr{os.getpid()}n{number}", f"hr{os.getpid()}f{number}"
        ip("link", "add", self._device, "type", "veth", "peer", "name", far, "netns", host)
        ip("address", "add", f"{self.near}/24", "dev", self._device)
        ip("link", "set", self._device, "up")
        ip("-n", host, "address", "add", f"{self.far}/24", "dev", far)
        ip("-n", host, "link", "set", far, "up")

    def cut(self) -> None:
        """Nothing goes through."""
        ip("link", "set", self._device, "down")

    def mend(self) -> None:
        """Everything does again."""
        ip("link", "set", self._device, "up")


class Host:
    """A namespace with a link for its clients, and another to the database."""

    def __init__(self) -> None:
        self.name = f"headrace-{os.getpid()}-{next(_numbers)}"
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")
        self.clients, self.database = Link(self.name), Link(self.name)

    @property
    def before(self) -> list[str]:
        """What a command is begun by, to run there."""
        return [IP, "netns", "exec", self.name]

    def remove(self) -> None:
        """Remove it, with its links."""
        ip("netns", "delete", self.name)


def ip(*arguments: str) -> None:
    """Run `ip`; what it says when it fails is in the error."""
    if not os.path.exists(IP) or os.geteuid() != 0:
        raise AssertionError(HOW)
    done = subprocess.run([IP, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()} {HOW}"
