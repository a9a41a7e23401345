"""What a container's runtime would do for a program that is started in namespaces of its own (network, mounts)."""

import fcntl
import os
import socket
import struct
import subprocess


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = bytearray(struct.pack("16sH22x", b"lo", 0))
        fcntl.ioctl(any_socket, 0x8913, request)  # SIOCGIFFLAGS
        flags = struct.unpack_from("H", request, 16)[0]
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH22x", b"lo", flags | 1))  # SIOCSIFFLAGS, IFF_UP


def devices(root):
    """What every container's runtime gives it: a static program reads random bytes there when it cannot find the call for them."""
    os.makedirs(os.path.join(root, "dev"), exist_ok=True)
    for name in ("null", "random", "urandom"):
        path = os.path.join(root, "dev", name)
        with open(path, "a", encoding="utf-8"):
            pass
        subprocess.run(["mount", "--bind", f"/dev/{name}", path], check=True, capture_output=True)


def address(ip):
    """A further address of this machine's, which is not loopback's: as a container has one beside it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sHH4s8x", b"lo:0", socket.AF_INET, 0, socket.inet_aton(ip))
        fcntl.ioctl(any_socket, 0x8916, request)  # SIOCSIFADDR


def may_change_users():
    """Whether others than root exist here: in a namespace of users that a user has made they do not."""
    with open("/proc/self/uid_map", encoding="utf-8") as file:
        return any(int(line.split()[2]) > 65532 for line in file)
