"""Real proxies as child processes, each with the list of hosts to which it made a tunnel."""

import hashlib
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from sidecar import PATIENCE, free_port, poll

USER, PASSWORD = "me", "p@ss:w%rd"
IN_URL = "me:p%40ss%3Aw%25rd"
# The server of no test. A tunnel to it marks the end of the log of one flow.
MARKER = "www.googleapis.com"


class Proxy:
    """A proxy that writes a line with each host into `log`."""

    # The user and the password in the form of the header, if the proxy requires them.
    header = ""

    def __init__(self, folder, command):
        self.output = open(folder / "output", "w")
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output
        )
        self.read = 0
        try:
            poll(self.accepts)
        except TimeoutError:
            self.stop()
            raise RuntimeError((folder / "output").read_text()) from None

    def accepts(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.process.args} ended: {Path(self.output.name).read_text()}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def hosts(self):
        """The hosts since the last call. A proxy may log a tunnel when it ends, so all tunnels must have ended."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            connection.sendall(f"CONNECT {MARKER}:443 HTTP/1.1\r\n{self.header}\r\n".encode())
            assert b" 200 " in connection.recv(1000)

        def new():
            lines = self.log.read_text().splitlines()[self.read :]
            return lines if MARKER in lines else None

        lines = poll(new)
        self.read += len(lines)
        # squid writes "-" for a connection without a request.
        return sorted(set(lines) - {MARKER, "-"})

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.output.close()


class Squid(Proxy):
    """Debian's squid, which makes tunnels to port 443, and none to the host `refused`."""

    def __init__(self, folder, login=False, refused="oauth2.example.com"):
        # Squid gives up the rights of root before it opens its files.
        folder.chmod(0o777)
        self.port, self.log = free_port(), folder / "access.log"
        rules = ""
        if login:
            helper = next(Path("/usr").glob("lib*/squid/basic_ncsa_auth"))
            (folder / "users").write_text(f"{USER}:{hashlib.md5(PASSWORD.encode()).hexdigest()}\n")
            (folder / "users").chmod(0o644)
            rules = f"auth_param basic program {helper} {folder}/users\nacl known proxy_auth REQUIRED\n"
            rules += "http_access deny !known\n"
            self.header = "Proxy-Authorization: Basic bWU6cEBzczp3JXJk\r\n"
        (folder / "squid.conf").write_text(
            f"""
http_port 127.0.0.1:{self.port}
pid_filename {folder}/squid.pid
coredump_dir {folder}
cache_log {folder}/cache.log
logformat host %>rd
access_log stdio:{self.log} host
cache deny all
cache_mem 1 MB
pinger_enable off
shutdown_lifetime 0 seconds
acl tls port 443
acl refused dstdomain {refused}
http_access deny !tls
http_access deny refused
{rules}http_access allow all
"""
        )
        command = [shutil.which("squid") or "/usr/sbin/squid", "-N", "-f", folder / "squid.conf"]
        super().__init__(folder, command)

    def url(self, login=""):
        return f"http://{login}{'@' if login else ''}127.0.0.1:{self.port}"


class Mitmproxy(Proxy):
    """mitmproxy, which reads what goes through its tunnels with an authority of its own."""

    ADDON = """
import os

def http_connect(flow):
    write(os.environ["LOG"], flow.request.host)

def request(flow):
    write(os.environ["LOG"] + ".read", flow.request.pretty_host + flow.request.path.split("?")[0])

def write(path, line):
    with open(path, "a") as log:
        log.write(line + "\\n")
"""

    def __init__(self, folder, trusted):
        self.port, self.log = free_port(), folder / "hosts"
        self.authority = folder / "mitmproxy-ca-cert.pem"
        (folder / "addon.py").write_text(self.ADDON)
        self.log.touch()
        options = [f"confdir={folder}", f"ssl_verify_upstream_trusted_ca={trusted}", "termlog_verbosity=warn"]
        command = ["env", f"LOG={self.log}", Path(sys.executable).with_name("mitmdump"), "--quiet"]
        command += ["--listen-host", "127.0.0.1", "--listen-port", self.port, "--scripts", folder / "addon.py"]
        super().__init__(folder, command + [part for option in options for part in ("--set", option)])

    def has_read(self, text):
        """Whether it read a request to a host and path that contain the text."""
        return any(text in line for line in Path(f"{self.log}.read").read_text().splitlines())

    def url(self):
        return f"http://127.0.0.1:{self.port}"
